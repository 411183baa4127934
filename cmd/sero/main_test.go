package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sero-labs/sero-runtime/internal/paths"
)

// The test binary is sero where a script calls it so, with the daemon and the
// bundled drivers that this sero starts; and npm, for a project to develop.
func TestMain(m *testing.M) {
	testscript.Main(tests{m}, standIns)
}

// standIns are the programs that the test binary is under another name.
var standIns = map[string]func(){"sero": main, "npm": npm}

// tests also remove what they built.
type tests struct{ *testing.M }

func (m tests) Run() int {
	defer func() { _ = os.RemoveAll(built) }()
	return m.M.Run()
}

// npm stands for a package manager whose "run dev" serves a page on PORT, or on
// a free port, whatever else it is told, whose "test" passes, and whose "run
// broken" ends at once.
func npm() {
	switch strings.Join(os.Args[1:min(3, len(os.Args))], " ") {
	case "run dev":
	case "test":
		fmt.Fprintln(os.Stdout, "all tests pass")
		return
	default:
		fmt.Fprintln(os.Stderr, "npm error: missing script")
		os.Exit(1) //nolint:forbidigo // it is a program's main function
	}
	l, err := net.Listen("tcp", "127.0.0.1:"+os.Getenv("PORT"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) //nolint:forbidigo // it is a program's main function
	}
	fmt.Fprintln(os.Stderr, "ready on http://"+l.Addr().String())
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "the page")
	})}
	_ = server.Serve(l)
}

// isolate gives a script a home and a run directory of its own, so that it meets
// no daemon but its own.
func isolate(env *testscript.Env) error {
	run, err := os.MkdirTemp("/tmp", "sero-t") // short: sockets live in it
	if err != nil {
		return err
	}
	env.Defer(func() { _ = os.RemoveAll(run) })
	env.Vars = append(env.Vars,
		"HOME="+env.WorkDir,
		paths.HomeVariable+"="+filepath.Join(env.WorkDir, ".sero-home"),
		paths.RunVariable+"="+run,
		"XDG_RUNTIME_DIR=",
		noEngine(env.WorkDir),
		"SERO_COMPLETION_TIMEOUT=20s", // a busy machine must not lose what is offered
	)
	return nil
}

// noEngine keeps the docker driver from the engine that this machine may have:
// what a test sees is the same on every machine.
func noEngine(dir string) string { return "DOCKER_HOST=unix://" + filepath.Join(dir, "no-engine.sock") }

// isolateAndEnd also ends the daemon when the script is over, and finds what it
// left behind.
func isolateAndEnd(env *testscript.Env) error {
	if err := isolate(env); err != nil {
		return err
	}
	dir := env.WorkDir
	env.Defer(func() {
		stop := exec.Command("sero", "daemon", "stop")
		stop.Env = env.Vars
		if out, err := stop.CombinedOutput(); err != nil {
			env.T().Log(fmt.Sprintf("daemon stop: %v: %s", err, out))
			env.T().FailNow()
		}
		if left := leftIn(dir); len(left) > 0 {
			env.T().Log("processes left behind: " + strings.Join(left, "; "))
			env.T().FailNow()
		}
	})
	return nil
}

// leftIn lists the processes that work below dir, or have their home there, after
// half a minute for them to end. Where there is no /proc it finds none.
func leftIn(dir string) (left []string) {
	for range 600 {
		left = nil
		processes, _ := filepath.Glob("/proc/[0-9]*")
		for _, process := range processes {
			cwd, err := os.Readlink(filepath.Join(process, "cwd"))
			environ, _ := os.ReadFile(filepath.Join(process, "environ"))
			home := "\x00" + paths.HomeVariable + "=" + dir
			if err == nil && strings.HasPrefix(cwd, dir) || strings.Contains("\x00"+string(environ), home) {
				args, _ := os.ReadFile(filepath.Join(process, "cmdline"))
				left = append(left, process+" "+strings.ReplaceAll(string(args), "\x00", " "))
			}
		}
		if left == nil {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return left
}

// commands are what scripts can do besides what testscript has.
var commands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	// exits CODE PROGRAM [ARG...] runs a program that must end with the code.
	"exits": func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) < 2 {
			ts.Fatalf("usage: exits CODE PROGRAM [ARG...]")
		}
		want, err := strconv.Atoi(args[0])
		ts.Check(err)
		code := 0
		if err := ts.Exec(args[1], args[2:]...); err != nil {
			e, ok := errors.AsType[*exec.ExitError](err)
			if !ok {
				ts.Fatalf("%v", err)
			}
			code = e.ExitCode()
		}
		if code != want {
			ts.Fatalf("exit code %d, want %d", code, want)
		}
	},
	// gone ARGS waits until no process has the arguments.
	"gone": func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 1 {
			ts.Fatalf("usage: gone ARGS")
		}
		if !awaitGone(args[0]) {
			ts.Fatalf("%q still runs", args[0])
		}
	},
	// fetch gets the first URL in the last standard output.
	"fetch": func(ts *testscript.TestScript, neg bool, args []string) {
		out := ts.ReadFile("stdout")
		_, rest, found := strings.Cut(out, "http://")
		if !found {
			ts.Fatalf("there is no URL")
		}
		url := "http://" + strings.FieldsFunc(rest, func(r rune) bool { return strings.ContainsRune("\" \n,", r) })[0]
		client := http.Client{Timeout: 10 * time.Second}
		r, err := client.Get(url)
		if err == nil {
			_ = r.Body.Close()
		}
		if (err == nil) == neg {
			ts.Fatalf("GET %s: %v", url, err)
		}
	},
}

// sleeps is a command that no other run of these tests has at the same time.
func sleeps(seconds int) string { return fmt.Sprint("sleep ", seconds, os.Getpid()) }

// awaitRuns waits, at most half a minute, until a process has exactly these
// arguments.
func awaitRuns(t *testing.T, args string) {
	t.Helper()
	for range 600 {
		if runs(args) {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("%s does not run", args)
}

// awaitGone waits, at most half a minute, until no process has exactly these
// arguments.
func awaitGone(args string) bool {
	for range 600 {
		if !runs(args) {
			return true
		}
		time.Sleep(50 * time.Millisecond)
	}
	return false
}

// runs tells whether a process has exactly these arguments.
func runs(args string) bool {
	out, err := exec.Command("ps", "-eo", "args=").Output()
	if err != nil {
		return true
	}
	for line := range strings.Lines(string(out)) {
		if strings.TrimSpace(line) == args {
			return true
		}
	}
	return false
}
