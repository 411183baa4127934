// The rules of this repository as tests: who may import whom (arch_test.go),
// what the source may look like (house_test.go), and that the documents say
// what the code says (docs_test.go).
package sero_test

import (
	"encoding/json"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/sero-labs/sero-runtime"

// rule says what packages must never import. Names are of this module where
// they have no dot in their first part.
type rule struct {
	from   string   // package, or "dir/..." for all below it
	except []string // packages that from covers and the rule does not
	never  []string // packages, "dir/...", or "std" for none but the standard library
	direct bool     // only what the package itself imports; else whatever it links
	why    string
}

var rules = []rule{
	{
		from: "sdk/driver", never: []string{"not std"},
		why: "it is the vocabulary of every driver, in this repository or not",
	},
	{
		from:  "sdk/...",
		never: []string{"core/...", "plugins/...", "cmd/..."},
		why:   "outside authors build on the SDK without the daemon",
	},
	{
		from:  "sdk/...",
		never: []string{"connectrpc.com/...", "github.com/spf13/...", "github.com/moby/...", "github.com/docker/...", "github.com/shirou/..."},
		why:   "an outside driver inherits whatever the SDK links",
	},
	{
		from: "sdk/internal/driverpb", never: []string{module + "/..."},
		why: "it is generated",
	},
	{
		from: "plugins/...", never: []string{"core/...", "cmd/...", "internal/..."}, direct: true,
		except: []string{"plugins/apple-container/internal/standintest"}, // for tests
		why:    "a bundled driver gets no more than an outside one",
	},
	{
		from: "plugins/...", never: []string{"core/...", "cmd/..."},
		why: "a bundled driver gets no more than an outside one",
	},
	{
		from:  "core/...",
		never: []string{"plugins/...", "cmd/...", "sdk/conformance/...", "sdk/fake/...", "github.com/spf13/..."},
		why:   "drivers are reached over the wire, and the daemon does not know the CLI",
	},
	{
		from:  "core/...",
		never: []string{"github.com/hashicorp/go-plugin/...", "github.com/hashicorp/go-hclog/...", "google.golang.org/grpc/..."}, direct: true,
		why: "package launch owns the driver process and the wire",
	},
	{
		from: "core/negotiate", never: []string{"core/...", "os", "net", "net/...", "os/...", "sdk/launch"}, direct: true,
		why: "choosing a driver is a pure function",
	},
	{
		from: "core/event", never: []string{"core/..."},
		why: "it is a leaf",
	},
	{
		from: "core/...", except: []string{"core/daemon", "core/api/..."}, never: []string{"core/api/..."},
		why: "only the handlers and the daemon know the API's messages",
	},
	{
		from: "./...", except: []string{"cmd/...", "core/daemon"}, never: []string{"core/daemon"},
		why: "it puts everything together; only a program may use it",
	},
	{
		from: "./...", except: []string{"cmd/..."}, never: []string{"cmd/..."},
		why: "programs are not libraries",
	},
	{
		from: "./...", except: []string{"sdk/internal/wire", "sdk/conformance/...", "sdk/fake/..."},
		never: []string{"sdk/internal/driverpb"}, direct: true,
		why: "package wire turns the messages into Go; only what looks at the wire itself, or breaks it, knows them too",
	},
	{
		from:  "internal/...",
		never: []string{"core/...", "plugins/...", "cmd/..."},
		why:   "what everybody may import imports nobody",
	},
	{
		from:  "cmd/sero/internal/command",
		never: []string{"core/daemon", "plugins/...", "sdk/conformance/...", "sdk/launch", "google.golang.org/grpc/..."},
		why:   "the command line starts fast because it links nothing of the daemon's",
	},
	{
		from:  "cmd/sero-guest/...",
		never: []string{"sdk/serve", "sdk/launch", "google.golang.org/grpc/...", "net/http"},
		why:   "it is carried in sero and runs in every sandbox: a driver's or a server's libraries would make it three times as big",
	},
	{
		from: "cmd/...", never: []string{"internal/testutil"},
		why: "it is for tests",
	},
}

func TestImports(t *testing.T) {
	for _, goos := range systems {
		for _, r := range rules {
			for _, broken := range r.broken(listed(t, goos)) {
				t.Errorf("GOOS=%s: %s: %s", goos, broken, r.why)
			}
		}
	}
}

// TestImportRulesBite keeps the rules from standing for nothing: a package of
// ours that a rule names must exist.
func TestImportRulesBite(t *testing.T) {
	all := listed(t, systems[0])
	for _, r := range rules {
		for _, pattern := range slices.Concat([]string{r.from}, r.except, r.never) {
			if pattern == "not std" || pattern == "./..." || !strings.HasPrefix(full(pattern), module) {
				continue
			}
			if !slices.ContainsFunc(all, func(p listedPackage) bool { return matches(p.ImportPath, pattern) }) {
				t.Errorf("the rule for %s names %s, which no longer exists", r.from, pattern)
			}
		}
	}
	// And they must be able to fail.
	invented := []listedPackage{
		{ImportPath: module + "/sdk/serve", Deps: []string{module + "/core/registry"}},
		{ImportPath: module + "/sdk/driver", Deps: []string{"io", "golang.org/x/sys/unix"}},
		{ImportPath: module + "/core/api", Imports: []string{"google.golang.org/grpc/codes"}},
	}
	for _, p := range invented {
		if !slices.ContainsFunc(rules, func(r rule) bool { return len(r.broken([]listedPackage{p})) > 0 }) {
			t.Errorf("no rule refuses %s with %v", p.ImportPath, slices.Concat(p.Deps, p.Imports))
		}
	}
}

// broken lists the breaches of a rule, "importer → imported".
func (r rule) broken(packages []listedPackage) []string {
	var found []string
	for _, p := range packages {
		if !matches(p.ImportPath, r.from) || anyMatches(p.ImportPath, r.except) {
			continue
		}
		reached := p.Deps
		if r.direct {
			reached = p.Imports
		}
		for _, dep := range reached {
			if r.forbids(p.ImportPath, dep) {
				found = append(found, short(p.ImportPath)+" → "+short(dep))
			}
		}
	}
	return found
}

func (r rule) forbids(importer, imported string) bool {
	if slices.Contains(r.never, "not std") {
		return strings.Contains(strings.Split(imported, "/")[0], ".")
	}
	// Below one directory packages may use each other.
	return anyMatches(imported, r.never) && imported != importer
}

func anyMatches(importPath string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(importPath, p) })
}

// matches tells whether a package is meant by a pattern.
func matches(importPath, pattern string) bool {
	if pattern == "./..." {
		return strings.HasPrefix(importPath, module)
	}
	pattern = full(pattern)
	if dir, all := strings.CutSuffix(pattern, "/..."); all {
		return importPath == dir || strings.HasPrefix(importPath, dir+"/")
	}
	return importPath == pattern
}

// full completes a pattern of this module: one that begins with a directory of
// it. "net/..." and "github.com/x" are left alone.
func full(pattern string) string {
	first, _, _ := strings.Cut(pattern, "/")
	if slices.Contains([]string{"sdk", "core", "plugins", "cmd", "internal", "scripts"}, first) {
		return path.Join(module, pattern)
	}
	return pattern
}

func short(importPath string) string {
	return strings.TrimPrefix(importPath, module+"/")
}

// systems are the ones that sero runs on.
var systems = []string{"linux", "darwin"}

// listedPackage is what go list tells of one package.
type listedPackage struct {
	ImportPath   string
	Dir          string
	Name         string
	Doc          string
	GoFiles      []string
	Imports      []string
	TestImports  []string
	XTestImports []string
	Deps         []string
}

var lists = struct {
	sync.Mutex
	of map[string][]listedPackage
}{of: map[string][]listedPackage{}}

// listed asks go list once for each system for every package of the module.
func listed(t *testing.T, goos string) []listedPackage {
	t.Helper()
	lists.Lock()
	defer lists.Unlock()
	if packages := lists.of[goos]; packages != nil {
		return packages
	}
	const fields = "-json=ImportPath,Dir,Name,Doc,GoFiles,Imports,TestImports,XTestImports,Deps"
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", fields, "./...") // what does not build is not our business
	cmd.Env = append(os.Environ(), "GOOS="+goos, "GOARCH=arm64", "CGO_ENABLED=0")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	byPath := map[string]listedPackage{}
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listedPackage
		if err := decoder.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		byPath[p.ImportPath] = p
	}
	packages := slices.SortedFunc(maps.Values(byPath), func(a, b listedPackage) int {
		return strings.Compare(a.ImportPath, b.ImportPath)
	})
	lists.of[goos] = packages
	return packages
}
