package sero_test

import (
	"encoding/json"
	"go/ast"
	"go/token"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestErrorsDocument holds docs/errors.md and the constants of package driver
// together: every reason and every capability has a row, and every row is one.
func TestErrorsDocument(t *testing.T) {
	text := read(t, "docs/errors.md")
	for _, kind := range []struct {
		typeName string
		row      *regexp.Regexp
	}{
		{"Reason", regexp.MustCompile("(?m)^\\| `([A-Z][A-Z_]+)` \\|")},
		{"Capability", regexp.MustCompile("(?m)^\\| `([a-z.]+@[0-9]+)` \\|")},
	} {
		var rows []string
		for _, match := range kind.row.FindAllStringSubmatch(text, -1) {
			rows = append(rows, match[1])
		}
		slices.Sort(rows)
		compare(t, "docs/errors.md", rows, constants(t, kind.typeName))
	}
}

// constants are the string values of the constants of a type of package driver,
// wherever they are declared.
func constants(t *testing.T, typeName string) []string {
	t.Helper()
	var values []string
	for _, f := range sources(t) {
		if f.test {
			continue
		}
		vocabulary := strings.HasPrefix(f.path, "sdk/driver/")
		ast.Inspect(f.syntax, func(node ast.Node) bool {
			spec, ok := node.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 {
				return true
			}
			name, inside := spec.Type.(*ast.Ident)
			if inside = inside && vocabulary && name.Name == typeName; !inside && selector(spec.Type) != "driver."+typeName {
				return true
			}
			if literal, ok := spec.Values[0].(*ast.BasicLit); ok && literal.Kind == token.STRING {
				if value, err := strconv.Unquote(literal.Value); err == nil {
					values = append(values, value)
				}
			}
			return true
		})
	}
	if len(values) < 10 {
		t.Fatalf("found only the constants %v of type %s", values, typeName)
	}
	slices.Sort(values)
	return values
}

// TestDependenciesDocument holds docs/dependencies.md and what the module's own
// packages import together.
func TestDependenciesDocument(t *testing.T) {
	var rows []string
	for _, match := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(read(t, "docs/dependencies.md"), -1) {
		rows = append(rows, match[1])
	}
	slices.Sort(rows)
	compare(t, "docs/dependencies.md", rows, directModules(t))
}

// directModules are the modules that packages of this one import, tests and
// tools included, on any system.
func directModules(t *testing.T) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "mod", "edit", "-json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var mod struct{ Require, Tool []struct{ Path string } }
	if err := json.Unmarshal(out, &mod); err != nil {
		t.Fatal(err)
	}
	direct := map[string]bool{}
	add := func(importPath string) {
		best := ""
		for _, r := range mod.Require {
			if m := r.Path; len(m) > len(best) && (importPath == m || strings.HasPrefix(importPath, m+"/")) {
				best = m
			}
		}
		if best != "" {
			direct[best] = true
		}
	}
	for _, goos := range systems {
		for _, p := range listed(t, goos) {
			for _, importPath := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
				add(importPath)
			}
		}
	}
	for _, tool := range mod.Tool {
		add(tool.Path)
	}
	return slices.Sorted(maps.Keys(direct))
}

// TestReadmeCommands holds the README's first screen to what CI runs.
func TestReadmeCommands(t *testing.T) {
	readme, ci := read(t, "README.md"), read(t, ".ci/run")
	for _, command := range []string{"make demo", "make test"} {
		if !strings.Contains(readme, command) || !strings.Contains(ci, command) {
			t.Errorf("%q must stand in README.md and in .ci/run", command)
		}
	}
}

// TestLinks follows the relative links of the documents, and the paths of this
// repository that they name.
func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:\s]+)(#[^)]*)?\)`)
	named := regexp.MustCompile("`((?:core|sdk|cmd|plugins|internal|examples|scripts|docs|proto)/[A-Za-z0-9_./-]+)`")
	for _, name := range files(t) {
		if !strings.HasSuffix(name, ".md") {
			continue
		}
		for _, match := range named.FindAllStringSubmatch(read(t, name), -1) {
			if _, err := os.Stat(match[1]); err != nil {
				t.Errorf("%s names %s: %v", name, match[1], err)
			}
		}
		for _, match := range link.FindAllStringSubmatch(read(t, name), -1) {
			target := match[1]
			if dir := name[:strings.LastIndex(name, "/")+1]; !strings.HasPrefix(target, "/") {
				target = dir + target
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s: %v", name, match[1], err)
			}
		}
	}
}

func compare(t *testing.T, document string, rows, want []string) {
	t.Helper()
	for _, value := range want {
		if !slices.Contains(rows, value) {
			t.Errorf("%s has no row for %s", document, value)
		}
	}
	for i, value := range rows {
		if !slices.Contains(want, value) {
			t.Errorf("%s has a row for %s, which is not in the code", document, value)
		}
		if i > 0 && rows[i-1] == value {
			t.Errorf("%s has two rows for %s", document, value)
		}
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
