package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const stream = `{"Action":"start","Package":"x/a"}
{"Action":"run","Package":"x/a","Test":"TestGood"}
{"Action":"pass","Package":"x/a","Test":"TestGood"}
{"Action":"run","Package":"x/a","Test":"TestAbsent"}
{"Action":"output","Package":"x/a","Test":"TestAbsent","Output":"    a_test.go:9: missing docker: no engine answers\n"}
{"Action":"output","Package":"x/a","Test":"TestAbsent","Output":"--- SKIP: TestAbsent (0.00s)\n"}
{"Action":"skip","Package":"x/a","Test":"TestAbsent"}
{"Action":"pass","Package":"x/a","Elapsed":1.25}
{"Action":"skip","Package":"x/none","Elapsed":0}
`

const failing = `{"Action":"run","Package":"x/b","Test":"TestBad"}
{"Action":"output","Package":"x/b","Test":"TestBad","Output":"    b_test.go:3: got 1, want 2\n"}
{"Action":"fail","Package":"x/b","Test":"TestBad"}
{"Action":"run","Package":"x/b","Test":"TestDied"}
{"Action":"output","Package":"x/b","Test":"TestDied","Output":"panic: last words\n"}
{"Action":"fail","Package":"x/b","Elapsed":0.5}
{"ImportPath":"x/c","Action":"build-output","Output":"c.go:1: undefined: y\n"}
{"Action":"fail","Package":"x/c","FailedBuild":"x/c"}
`

func TestReport(t *testing.T) {
	var out strings.Builder
	r := newReport(&out)
	r.read(strings.NewReader(stream))
	r.summary(2 * time.Second)
	if code := r.exitCode(); code != 0 {
		t.Errorf("exit code %d with nothing failed", code)
	}
	contains(t, out.String(), "ok  \tx/a\t1.2s\n", "missing docker: no engine answers\n      a TestAbsent\n",
		"ok: 1 tests passed, 0 failed, 1 skipped, in 1 packages and 2 s\n")

	r.read(strings.NewReader(failing))
	r.summary(3 * time.Second)
	if code := r.exitCode(); code != 1 {
		t.Errorf("exit code %d with failed tests", code)
	}
	contains(t, out.String(), "b_test.go:3: got 1, want 2\n", "panic: last words\n", "c.go:1: undefined: y\n",
		"  x/b TestBad\n", "  x/c\n", "FAIL: 1 tests passed, 2 failed,")
}

// A package that passes when it is run again is told apart; one that does not has
// failed.
func TestAgain(t *testing.T) {
	var out strings.Builder
	r := newReport(&out)
	const steady = module + "/internal/version"
	r.failed = []string{"race", steady + " TestX", steady, "x/gone TestY"}
	r.again(t.Context(), "../..", []string{"-count=1"}, 1)
	r.summary(time.Second)
	if r.exitCode() != 1 || len(r.failed) != 2 || len(r.unsteady) != 2 {
		t.Errorf("failed %v, unsteady %v", r.failed, r.unsteady)
	}
	contains(t, out.String(), "again\t"+steady, "passed when run again alone:\n  "+steady+" TestX\n", "Failed:\n  race\n  x/gone TestY\n")
	count := filepath.Join(t.TempDir(), "again")
	t.Setenv(againVariable, count)
	if err := r.writeAgain(); err != nil {
		t.Error(err)
	}
	if got, err := os.ReadFile(count); string(got) != "2\n" {
		t.Errorf("the number of tests is %q (%v), not 2", got, err)
	}
}

// .ci/run ends with that number and its verdict, also when a step fails. Issue 6,
// row F.
func TestFCIPrintsAgain(t *testing.T) {
	script, err := os.ReadFile("../../.ci/run")
	if err != nil {
		t.Fatal(err)
	}
	frame, _, found := strings.Cut(string(script), "\nstep \"Packages\"")
	_, end, ends := strings.Cut(string(script), "\nstep \"Leftovers\" leftovers\n")
	if !found || !ends {
		t.Fatal(".ci/run has other steps")
	}
	for _, c := range []struct{ step, last string }{
		{"true", ".ci/run: ok, 1 steps in "}, {"false", ".ci/run: FAILED in \"Tests\" (exit code 1), after "},
	} {
		t.Run(c.step, func(t *testing.T) {
			root := t.TempDir()
			if err := os.Mkdir(filepath.Join(root, ".ci"), 0o700); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(root, ".ci", "run")
			text := frame + "\ntests() { echo 3 >\"$SERO_TEST_AGAIN\"; " + c.step + "; }\nstep \"Tests\" tests\n" + end
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			out, _ := exec.CommandContext(t.Context(), "bash", path).Output()
			lines := strings.Split(strings.TrimSpace(string(out)), "\n")
			if len(lines) < 2 || lines[len(lines)-2] != ".ci/run: again: 3 tests failed once and passed the second time" ||
				!strings.HasPrefix(lines[len(lines)-1], c.last) {
				t.Errorf("it ends with %q", lines)
			}
		})
	}
}

// What is said about the race detector stays; only the second is taken away.
func TestHurryExits(t *testing.T) {
	for given, want := range map[string]string{
		"":                                    "atexit_sleep_ms=10",
		"halt_on_error=1":                     "halt_on_error=1 atexit_sleep_ms=10",
		"atexit_sleep_ms=500 halt_on_error=1": "atexit_sleep_ms=500 halt_on_error=1",
	} {
		t.Setenv("GORACE", given)
		if err := hurryExits(); err != nil || os.Getenv("GORACE") != want {
			t.Errorf("%q becomes %q, %v, not %q", given, os.Getenv("GORACE"), err, want)
		}
	}
}

// All packages of the module run, and those that take longest begin first.
func TestOrdered(t *testing.T) {
	list := func(patterns ...string) []string {
		cmd := exec.CommandContext(t.Context(), "go", append([]string{"list"}, patterns...)...)
		cmd.Dir = "../.."
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.Fields(string(out))
	}
	all, got := list("./..."), list(ordered(".", []string{"./..."})...)
	if first := list(longest...); !slices.Equal(got[:len(first)], first) || first[0] != module+"/cmd/sero" {
		t.Errorf("first are %v, not %v", got[:len(first)], first)
	}
	slices.Sort(all)
	slices.Sort(got)
	if !slices.Equal(got, all) {
		t.Errorf("of %d packages run %d:\n%v\n%v", len(all), len(got), all, got)
	}
	if got := ordered(".", []string{"./core/..."}); !slices.Equal(got, []string{"./core/..."}) {
		t.Errorf("asked for one, %v run", got)
	}
}

const module = "github.com/sero-labs/sero-runtime"

func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("the output lacks %q:\n%s", part, text)
		}
	}
}
