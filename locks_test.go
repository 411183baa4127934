package sero_test

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// mayWait are packages whose functions and methods may wait for something outside
// of the process.
var mayWait = []string{"os", "os/exec", "os/user", "net", "net/http", "syscall", "golang.org/x/sys/unix", "path/filepath", "io", "io/fs", "crypto/tls"}

// neverWait are those of them that wait for nothing.
var neverWait = map[string][]string{
	"os": {
		"Getenv", "LookupEnv", "Environ", "Getpid", "Getppid", "Getuid", "Geteuid", "Getgid", "Getegid", "IsNotExist", "IsExist",
		"IsPermission", "NewFile", "Fd", "Name", "Error", "Is", "Mode", "IsRegular", "IsDir", "Perm", "Signal", "Kill", "Pid",
		"SetDeadline", "SetReadDeadline", "SetWriteDeadline", "Exit", "TempDir", "String",
	},
	"net": {
		"ParseIP", "JoinHostPort", "SplitHostPort", "ParseCIDR", "ParseMAC", "IPv4", "CIDRMask", "Pipe", "Addr", "LocalAddr",
		"RemoteAddr", "SetDeadline", "SetReadDeadline", "SetWriteDeadline", "Close", "String", "Error", "Network", "Timeout",
		"Equal", "To4", "To16", "IsLoopback", "Contains", "Unwrap",
	},
	"net/http":              {"Set", "Get", "Add", "Del", "Header", "WithContext", "Context", "StatusText", "CloseIdleConnections", "Clone"},
	"path/filepath":         {"Join", "Base", "Dir", "Clean", "Ext", "IsAbs", "IsLocal", "Rel", "Split", "SplitList", "ToSlash", "FromSlash", "Match", "VolumeName"},
	"io":                    {"Pipe", "MultiReader", "MultiWriter", "LimitReader", "TeeReader", "NopCloser", "NewSectionReader", "Close", "CloseWithError"},
	"io/fs":                 {"ValidPath", "FormatFileInfo", "Mode", "IsDir", "IsRegular", "Perm", "Name", "Size", "ModTime", "Sys", "Type", "Error", "String", "Unwrap", "Timeout"},
	"syscall":               {"Unix", "Error", "Is", "Getpid", "Getuid", "Geteuid", "Kill", "Signal", "Signaled", "Exited", "ExitStatus", "String", "Temporary", "Timeout", "RawSyscall", "RawSyscall6"},
	"golang.org/x/sys/unix": {"Unix", "Getpid", "Kill", "SignalName", "ErrnoName", "Major", "Minor", "Getpgid", "Getsid", "ByteSliceToString", "RawSyscall", "RawSyscall6"},
	"os/exec":               {"Command", "CommandContext", "Error", "Unwrap", "String", "ExitCode"},
}

// TestNothingWaitsWithAMutexHeld holds a rule: between Lock and Unlock no call
// does I/O, and none leaves the package through an interface of this module or a
// function that somebody handed over. Such a call may take for ever or come back
// for the same mutex. A function whose comment says "mu must be held" counts as one
// that holds it. A mutex named writing is there to order writes to a file, and who
// only reads the state takes another.
func TestNothingWaitsWithAMutexHeld(t *testing.T) {
	program := typed(t)
	used := map[string]bool{}
	for _, f := range program.functions {
		for _, call := range f.locked {
			why := program.waits(call.target)
			if why == "" {
				why = call.leaves
			}
			if why == "" {
				continue
			}
			if reason := waitsOnPurpose[f.name]; reason != "" {
				used[f.name] = true
				continue
			}
			t.Errorf("%s: %s holds a mutex and calls %s: copy what is needed, unlock, then call", call.at, f.name, why)
		}
	}
	for name := range waitsOnPurpose {
		if !used[name] {
			t.Errorf("%s is an exception without need", name)
		}
	}
	if len(program.functions) < 1000 {
		t.Errorf("only %d functions were looked at", len(program.functions))
	}
}

// waitsOnPurpose are functions whose mutex is there to order just these calls, and
// what makes that safe.
var waitsOnPurpose = map[string]string{
	"core/devserver.Supervisor.lead": "forward.Open listens on a port of this machine, which waits for nothing",
	"core/guest/mux.Stream.push":     "what is called is bound not to wait, and has to be called before the frame is taken",
	"core/registry.supervisor.entry": "it looks at a driver's own file, in the directories that drivers come from",
}

// calls is the functions of this module and what they call.
type calls struct {
	functions map[*types.Func]*function
	memo      map[*types.Func]string
}

type function struct {
	name   string
	calls  []heldCall // all but those of goroutines and function values
	locked []heldCall // those of them that are made with a mutex held
}

type heldCall struct {
	at     string
	target *types.Func // nil: not known
	leaves string      // how it leaves the package; empty: it does not
}

// waits says what a function may wait for; empty: nothing.
func (p *calls) waits(f *types.Func) string {
	if f == nil || f.Pkg() == nil {
		return ""
	}
	f = f.Origin()
	if why, known := p.memo[f]; known {
		return why
	}
	p.memo[f] = "" // for those that call themselves
	why := ""
	path, name := f.Pkg().Path(), f.Name()
	switch own := p.functions[f]; {
	case path == "time" && name == "Sleep", strings.HasSuffix(f.FullName(), "sync.WaitGroup).Wait"):
		why = path + "." + name
	case slices.Contains(mayWait, path) && !slices.Contains(neverWait[path], name):
		why = path + "." + name
	case own != nil:
		for _, call := range own.calls {
			if inner := p.waits(call.target); inner != "" {
				why = own.name + ", which calls " + inner
				break
			}
		}
	}
	p.memo[f] = why
	return why
}

// typed reads the packages of this module with their types.
func typed(t *testing.T) *calls {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", "list", "-export", "-deps", "-json=ImportPath,Dir,GoFiles,Export,Module", "./...")
	command.Stderr = os.Stderr
	output, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	type listing struct {
		ImportPath, Dir, Export string
		GoFiles                 []string
		Module                  *struct{ Path string }
	}
	exports := map[string]string{}
	var own []listing
	for decoder := json.NewDecoder(strings.NewReader(string(output))); ; {
		var p listing
		if err := decoder.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		exports[p.ImportPath] = p.Export
		if p.Module != nil && p.Module.Path == module {
			own = append(own, p)
		}
	}
	set := token.NewFileSet()
	outside := importer.ForCompiler(set, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	checked := map[string]*types.Package{}
	p := &calls{functions: map[*types.Func]*function{}, memo: map[*types.Func]string{}}
	for _, listed := range own { // each after those that it imports
		var files []*ast.File
		for _, name := range listed.GoFiles {
			file, err := parser.ParseFile(set, filepath.Join(listed.Dir, name), nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, file)
		}
		info := &types.Info{Uses: map[*ast.Ident]types.Object{}, Defs: map[*ast.Ident]types.Object{}, Selections: map[*ast.SelectorExpr]*types.Selection{}, Types: map[ast.Expr]types.TypeAndValue{}}
		config := types.Config{Importer: importerFunc(func(path string) (*types.Package, error) {
			if p := checked[path]; p != nil {
				return p, nil
			}
			return outside.Import(path)
		})}
		checked[listed.ImportPath], err = config.Check(listed.ImportPath, set, files, info)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if ast.IsGenerated(file) {
				continue
			}
			for _, decl := range file.Decls {
				if d, ok := decl.(*ast.FuncDecl); ok && d.Body != nil {
					object := info.Defs[d.Name].(*types.Func)
					w := &walker{info: info, set: set, held: map[string]bool{}, own: &function{name: short(listed.ImportPath) + "." + receiver(d) + d.Name.Name}}
					if comment := strings.Join(strings.Fields(d.Doc.Text()), " "); strings.HasSuffix(d.Name.Name, "Locked") || heldComment.MatchString(comment) {
						w.held = map[string]bool{"its caller's": true}
					}
					w.block(d.Body.List)
					p.functions[object] = w.own
				}
			}
		}
	}
	return p
}

// heldComment is in the comment of a function that is called with a mutex held.
var heldComment = regexp.MustCompile(`\bmu (must be |is )?held\b`)

func isOf(f *types.Func, path string) bool { return f.Pkg() != nil && f.Pkg().Path() == path }

type importerFunc func(path string) (*types.Package, error)

func (f importerFunc) Import(path string) (*types.Package, error) { return f(path) }

func receiver(d *ast.FuncDecl) string {
	if d.Recv == nil {
		return ""
	}
	return strings.TrimPrefix(types.ExprString(d.Recv.List[0].Type), "*") + "."
}

// walker goes through a function's statements in their order, and knows which
// mutexes are held.
type walker struct {
	info *types.Info
	set  *token.FileSet
	own  *function
	held map[string]bool
}

// block walks statements and reports whether the last of them leaves the block.
func (w *walker) block(list []ast.Stmt) (leaves bool) {
	for _, s := range list {
		leaves = w.statement(s)
	}
	return leaves
}

// branches walks ways of which one is gone. After them a mutex is held that is held
// after any way that goes on.
func (w *walker) branches(bodies ...[]ast.Stmt) {
	before := maps.Clone(w.held)
	after := map[string]bool{}
	for _, body := range bodies {
		w.held = maps.Clone(before)
		if !w.block(body) {
			maps.Copy(after, w.held)
		}
	}
	w.held = after
}

func (w *walker) statement(s ast.Stmt) (leaves bool) {
	switch s := s.(type) {
	case nil:
	case *ast.ReturnStmt:
		w.expressions(s)
		return true
	case *ast.BranchStmt:
		return s.Tok != token.FALLTHROUGH
	case *ast.BlockStmt:
		return w.block(s.List)
	case *ast.LabeledStmt:
		return w.statement(s.Stmt)
	case *ast.IfStmt:
		w.statement(s.Init)
		w.expressions(s.Cond)
		var other []ast.Stmt
		if s.Else != nil {
			other = []ast.Stmt{s.Else}
		}
		w.branches(s.Body.List, other)
	case *ast.ForStmt:
		w.statement(s.Init)
		w.expressions(s.Cond)
		w.branches(append(slices.Clone(s.Body.List), s.Post), nil)
	case *ast.RangeStmt:
		w.expressions(s.X)
		w.branches(s.Body.List, nil)
	case *ast.SwitchStmt:
		w.statement(s.Init)
		w.expressions(s.Tag)
		w.cases(s.Body)
	case *ast.TypeSwitchStmt:
		w.statement(s.Init)
		w.statement(s.Assign)
		w.cases(s.Body)
	case *ast.SelectStmt:
		w.cases(s.Body)
	case *ast.GoStmt:
		for _, argument := range s.Call.Args {
			w.expressions(argument)
		}
	case *ast.DeferStmt: // what it unlocks is held until the end
		for _, argument := range s.Call.Args {
			w.expressions(argument)
		}
	default:
		w.expressions(s)
	}
	return false
}

func (w *walker) cases(body *ast.BlockStmt) {
	var bodies [][]ast.Stmt
	whole := false
	for _, clause := range body.List {
		switch c := clause.(type) {
		case *ast.CaseClause:
			whole = whole || c.List == nil
			for _, e := range c.List {
				w.expressions(e)
			}
			bodies = append(bodies, c.Body)
		case *ast.CommClause:
			whole = true
			bodies = append(bodies, append([]ast.Stmt{c.Comm}, c.Body...))
		}
	}
	if !whole {
		bodies = append(bodies, nil)
	}
	w.branches(bodies...)
}

// expressions notes the calls of an expression or a plain statement. What is in a
// function value runs at another time, unless it is called at once.
func (w *walker) expressions(node ast.Node) {
	if node == nil {
		return
	}
	ast.Inspect(node, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncLit:
			inner := &walker{info: w.info, set: w.set, held: map[string]bool{}, own: &function{name: w.own.name}}
			inner.block(n.Body.List)
			w.own.locked = append(w.own.locked, inner.own.locked...)
			return false
		case *ast.CallExpr:
			w.call(n)
		}
		return true
	})
}

func (w *walker) call(c *ast.CallExpr) {
	target, leaves := w.target(c)
	if s, ok := c.Fun.(*ast.SelectorExpr); ok && target != nil && (isOf(target, "sync") || target.Name() == "unlock") {
		mutex := types.ExprString(s.X)
		switch target.Name() {
		case "Lock", "RLock":
			if !strings.HasSuffix(mutex, ".writing") {
				w.held[mutex] = true
			}
		case "Unlock", "RUnlock":
			delete(w.held, mutex)
			delete(w.held, "its caller's")
		case "unlock": // of what has more to do then
			clear(w.held)
		}
	}
	position := w.set.Position(c.Pos())
	root, _ := os.Getwd()
	name, _ := filepath.Rel(root, position.Filename)
	call := heldCall{at: fmt.Sprintf("%s:%d", filepath.ToSlash(name), position.Line), target: target, leaves: leaves}
	w.own.calls = append(w.own.calls, call)
	if len(w.held) > 0 {
		w.own.locked = append(w.own.locked, call)
	}
}

// target is the function that a call calls, or how it leaves the package to one
// that is not known.
func (w *walker) target(c *ast.CallExpr) (f *types.Func, leaves string) {
	fun := ast.Unparen(c.Fun)
	if index, ok := fun.(*ast.IndexExpr); ok {
		fun = index.X
	}
	var object types.Object
	switch e := fun.(type) {
	case *ast.Ident:
		object = w.info.Uses[e]
	case *ast.SelectorExpr:
		object = w.info.Uses[e.Sel]
		if s := w.info.Selections[e]; s != nil && s.Kind() == types.MethodVal && types.IsInterface(s.Recv()) {
			if named, ok := types.Unalias(s.Recv()).(*types.Named); ok && named.Obj().Pkg() != nil && strings.HasPrefix(named.Obj().Pkg().Path(), module) {
				return nil, types.ExprString(e) + " of an interface"
			}
		}
	default:
		return nil, ""
	}
	switch o := object.(type) {
	case *types.Func:
		return o, ""
	case *types.Var:
		if o.IsField() && !isCancel(o.Type()) {
			return nil, types.ExprString(fun) + ", a function in a field"
		}
	}
	return nil, ""
}

// isCancel reports whether a type is that of a function that ends a context, which
// waits for nothing.
func isCancel(t types.Type) bool {
	named, ok := types.Unalias(t).(*types.Named)
	return ok && named.Obj().Pkg() != nil && named.Obj().Pkg().Path() == "context"
}
