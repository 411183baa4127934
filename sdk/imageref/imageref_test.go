package imageref_test

import (
	"strings"
	"testing"

	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/imageref"
)

// A10: what could be a path, a query or an option is no reference.
func TestA10OnlyReferencesAreReferences(t *testing.T) {
	bad := []string{
		"", "a/../../containers/x", "../x", "a/..", "a/./b", "./a", "/a", "a//b", "a/", "a?b=c", "a#b", "a%2f..%2fb", "a b", "a\nb", "a\x00b", "-a", "--help",
		"a:", "a@", "a:b:c", "a@sha256:1", "a@b", "A/B", "Node:22", ":latest", "@sha256:" + strings.Repeat("a", 64), "a\\b", "a/..:b", "..", ".",
		strings.Repeat("a/", 300) + "a", "http://x/y", "a:" + strings.Repeat("t", 129), "é", "a;b", "$(x)", "a/_b", "sha256:../x",
	}
	for _, text := range bad {
		for what, check := range map[string]func(string, string) error{"Check": imageref.Check, "CheckName": imageref.CheckName} {
			e := driver.AsError(check("image", text))
			if e == nil || e.Reason != driver.InvalidArgument || e.Field != "image" || len(e.Remedies) == 0 {
				t.Errorf("%s(%q): %+v", what, text, e)
			}
		}
	}
	digest := "sha256:" + strings.Repeat("0a", 32)
	good := []string{"node", "node:22", "debian:bookworm-slim", "ghcr.io/owner/name:1.2", "localhost:5000/a/b:c", "localhost/a_b-c__d:V1.2", "[::1]:5000/a", "docker.io/library/node:22"}
	for _, text := range append(good, "node@"+digest, "node:22@"+digest, digest, digest[7:]) {
		if err := imageref.Check("image", text); err != nil {
			t.Error(err)
		}
	}
	for _, text := range good {
		if err := imageref.CheckName("image", text); err != nil {
			t.Error(err)
		}
	}
}
