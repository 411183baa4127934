// Package version tells which sero this is.
package version

import (
	"runtime/debug"
	"strings"
)

// Version is the semantic version of this build, without a leading "v". A
// release build sets it with
//
//	-ldflags "-X github.com/sero-labs/sero-runtime/internal/version.Version=1.2.3"
//
// and `go install …@v1.2.3` has it from the module; anything else is a
// development build.
var Version = development

// Commit is the revision that this build was made from, with "-dirty" added
// when the tree had changes; empty when that is not known.
var Commit string

const development = "0.1.0-dev"

func init() {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return
	}
	Version = resolve(Version, info.Main.Version)
	Commit = commit(info.Settings)
}

// resolve prefers what the linker set, then the module's own release. The
// pseudo-version that go gives a build from a checkout ("v0.0.0-…") sorts below
// every release, so a constraint such as ">= 0.1" would refuse it: the
// development version stands in for it.
func resolve(linked, module string) string {
	module, tagged := strings.CutPrefix(module, "v")
	if linked != development || !tagged || strings.HasPrefix(module, "0.0.0-") || strings.Contains(module, "+") {
		return linked
	}
	return module
}

func commit(settings []debug.BuildSetting) string {
	var revision, dirty string
	for _, s := range settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "-dirty"
		}
	}
	if revision == "" {
		return ""
	}
	return revision[:min(len(revision), 12)] + dirty
}
