package sero_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

const (
	maxFileLines     = 500
	maxFunctionLines = 60
	maxSeroMain      = 20
	maxDriverMain    = 15
)

func TestPackagesAreDocumented(t *testing.T) {
	for _, goos := range systems {
		for _, p := range listed(t, goos) {
			switch {
			case len(p.GoFiles) == 0, strings.HasSuffix(p.ImportPath, "pb"), strings.HasSuffix(p.ImportPath, "pbconnect"):
			case p.Doc == "":
				t.Errorf("%s has no package comment", short(p.ImportPath))
			case p.Name != "main" && !strings.HasPrefix(p.Doc, "Package "+p.Name+" "):
				t.Errorf("%s: the package comment does not begin with %q: %q", short(p.ImportPath), "Package "+p.Name, p.Doc)
			}
		}
	}
}

func TestSizes(t *testing.T) {
	for _, f := range sources(t) {
		if f.test {
			continue
		}
		if f.lines > maxFileLines {
			t.Errorf("%s has %d lines; more than %d are hard to keep in mind", f.path, f.lines, maxFileLines)
		}
		for _, decl := range f.syntax.Decls {
			function, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if lines := f.line(function.End()) - f.line(function.Pos()) + 1; lines > maxFunctionLines {
				t.Errorf("%s: %s has %d lines, at most %d", f.at(function), function.Name.Name, lines, maxFunctionLines)
			}
		}
		limit := 0
		switch ok, _ := path.Match("cmd/sero-driver-*/main.go", f.path); {
		case ok, f.path == "examples/driver-hello/main.go":
			limit = maxDriverMain
		case f.path == "cmd/sero/main.go":
			limit = maxSeroMain
		}
		if limit > 0 && f.lines > limit {
			t.Errorf("%s has %d lines, at most %d: what it does belongs into a package", f.path, f.lines, limit)
		}
	}
}

// byText are functions that decide something from a string.
var byText = regexp.MustCompile(`^(strings|bytes|regexp)\.(Contains|HasPrefix|HasSuffix|EqualFold|Index|Count|MatchString)`)

func TestErrorsAreNotReadAsText(t *testing.T) {
	const rule = "decide on the reason, or with errors.Is and errors.AsType"
	for _, f := range sources(t) {
		if f.test {
			continue
		}
		ast.Inspect(f.syntax, func(node ast.Node) bool {
			switch n := node.(type) {
			case *ast.BinaryExpr:
				if (n.Op == token.EQL || n.Op == token.NEQ) && (isErrorText(n.X) || isErrorText(n.Y)) {
					t.Errorf("%s compares the text of an error: %s", f.at(n), rule)
				}
			case *ast.SwitchStmt:
				if n.Tag != nil && isErrorText(n.Tag) {
					t.Errorf("%s switches on the text of an error: %s", f.at(n), rule)
				}
			case *ast.CallExpr:
				if byText.MatchString(selector(n.Fun)) && slices.ContainsFunc(n.Args, isErrorText) {
					t.Errorf("%s searches the text of an error: %s", f.at(n), rule)
				}
			}
			return true
		})
	}
}

// isErrorText tells whether an expression is a call of Error().
func isErrorText(e ast.Expr) bool {
	call, ok := e.(*ast.CallExpr)
	if !ok || len(call.Args) != 0 {
		return false
	}
	method, ok := call.Fun.(*ast.SelectorExpr)
	return ok && method.Sel.Name == "Error"
}

// TestOneDialect keeps the question "can this driver do it?" in one place: the
// declared capabilities, asked through package driver.
func TestOneDialect(t *testing.T) {
	parts := driverInterfaces(t)
	for _, f := range sources(t) {
		wire := strings.HasPrefix(f.path, "sdk/internal/wire/")
		vocabulary := strings.HasPrefix(f.path, "sdk/driver/")
		ast.Inspect(f.syntax, func(node ast.Node) bool {
			switch n := node.(type) {
			case *ast.SelectorExpr:
				if !wire && !f.test && selector(n) == "codes.Unimplemented" {
					t.Errorf("%s uses codes.Unimplemented: a missing capability is driver.Unsupported", f.at(n))
				}
			case *ast.TypeAssertExpr:
				if n.Type != nil && !wire && !vocabulary && slices.Contains(parts, selector(n.Type)) {
					t.Errorf("%s asserts %s: ask with driver.…Of, a remote driver has every method", f.at(n), selector(n.Type))
				}
			case *ast.CaseClause:
				for _, e := range n.List {
					if !wire && !vocabulary && slices.Contains(parts, selector(e)) {
						t.Errorf("%s switches on %s: ask with driver.…Of, a remote driver has every method", f.at(n), selector(e))
					}
				}
			}
			return true
		})
	}
}

// driverInterfaces are the interfaces of package driver that give a capability,
// and Remote. Configurer and Shutdowner give none: package serve asks them of the
// driver in its own process.
func driverInterfaces(t *testing.T) []string {
	t.Helper()
	notParts := []string{"Driver", "Configurer", "Shutdowner"}
	var names []string
	for _, f := range sources(t) {
		if !strings.HasPrefix(f.path, "sdk/driver/") || f.test {
			continue
		}
		ast.Inspect(f.syntax, func(node ast.Node) bool {
			if spec, ok := node.(*ast.TypeSpec); ok && !slices.Contains(notParts, spec.Name.Name) {
				if _, ok := spec.Type.(*ast.InterfaceType); ok {
					names = append(names, "driver."+spec.Name.Name)
				}
			}
			return true
		})
	}
	if len(names) < 10 {
		t.Fatalf("found only the interfaces %v in sdk/driver", names)
	}
	return names
}

// TestSkipsSayWhatIsMissing keeps SERO_TEST_REQUIRE honest: a test that is
// skipped in another way cannot be demanded. What -short leaves out is the
// caller's own wish.
func TestSkipsSayWhatIsMissing(t *testing.T) {
	for _, f := range sources(t) {
		if !f.test {
			continue
		}
		ast.Inspect(f.syntax, func(node ast.Node) bool {
			if branch, ok := node.(*ast.IfStmt); ok {
				if call, ok := branch.Cond.(*ast.CallExpr); ok && selector(call.Fun) == "testing.Short" {
					return false
				}
			}
			if call, ok := node.(*ast.CallExpr); ok {
				if name := selector(call.Fun); name == "t.Skip" || name == "t.Skipf" || name == "t.SkipNow" {
					t.Errorf("%s: %s: use testutil.Missing, which says what is missing", f.at(call), name)
				}
			}
			return true
		})
	}
}

// TestNoWorkplace refuses paths of somebody's own machine.
func TestNoWorkplace(t *testing.T) {
	paths := regexp.MustCompile(`(^|[^A-Za-z0-9_.])/(wo` + `rk|ro` + `ot|fa` + `rm|Us` + `ers/[a-z]+)/`)
	for _, name := range files(t) {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains(text[:min(len(text), 8000)], 0) {
			continue // not text
		}
		for number, line := range strings.Split(string(text), "\n") {
			if found := paths.FindString(line); found != "" {
				t.Errorf("%s:%d: a path of one machine: %q", name, number+1, found)
			}
		}
	}
}

// source is one hand-written Go file.
type source struct {
	path   string // with slashes, below the root
	test   bool
	lines  int
	syntax *ast.File
	set    *token.FileSet
}

func (f source) line(pos token.Pos) int { return f.set.Position(pos).Line }

func (f source) at(n ast.Node) string { return fmt.Sprintf("%s:%d", f.path, f.line(n.Pos())) }

// selector is "a.b" for that expression, behind a * too, and empty for others.
func selector(e ast.Expr) string {
	if star, ok := e.(*ast.StarExpr); ok {
		e = star.X
	}
	s, ok := e.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	x, ok := s.X.(*ast.Ident)
	if !ok {
		return ""
	}
	return x.Name + "." + s.Sel.Name
}

var parsed = sync.OnceValues(func() ([]source, error) {
	var all []source
	names, err := repositoryFiles()
	for _, name := range names {
		if !strings.HasSuffix(name, ".go") {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		set := token.NewFileSet()
		syntax, err := parser.ParseFile(set, name, text, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		if ast.IsGenerated(syntax) {
			continue
		}
		all = append(all, source{
			path: name, test: strings.HasSuffix(name, "_test.go"), set: set, syntax: syntax,
			lines: strings.Count(string(text), "\n"),
		})
	}
	return all, err
})

// sources are the hand-written Go files, of every module here.
func sources(t *testing.T) []source {
	t.Helper()
	all, err := parsed()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 20 {
		t.Fatalf("found only %d Go files", len(all))
	}
	return all
}

func files(t *testing.T) []string {
	t.Helper()
	names, err := repositoryFiles()
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// repositoryFiles are all files but git's, tools and what was built.
var repositoryFiles = sync.OnceValues(func() ([]string, error) {
	var names []string
	err := filepath.WalkDir(".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && slices.Contains([]string{".git", ".tmp", "bin", "node_modules"}, name):
			return filepath.SkipDir
		case name == ".git": // a file in a worktree
		case entry.Type().IsRegular():
			names = append(names, filepath.ToSlash(name))
		}
		return nil
	})
	return names, err
})
