package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// report follows the runs of go test and remembers what a reader wants at the
// end.
type report struct {
	out      io.Writer
	passed   int
	failed   []string            // tests and packages
	skips    map[string][]string // why → tests
	unsteady []string            // failed at first, and passed when run again alone
	lacking  []string            // of the machine, not of one test
	packages int
	broken   bool // something failed that is no test
}

// event is one line of go test -json.
type event struct {
	Action     string
	Package    string
	ImportPath string // of build output
	Test       string
	Output     string
	Elapsed    float64
}

// test is one test of one package while it runs.
type test struct {
	output []string
	ended  bool
	failed bool
}

func newReport(out io.Writer) *report {
	return &report{out: out, skips: map[string][]string{}}
}

// lack notes something that the whole run goes without.
func (r *report) lack(what, why string) {
	if demanded(what) {
		fmt.Fprintf(r.out, "FAIL\tmissing %s, which is demanded here: %s\n", what, why)
		r.failed = append(r.failed, what)
		return
	}
	r.lacking = append(r.lacking, why)
}

// module runs the tests of one module and prints a line for each package.
func (r *report) module(ctx context.Context, dir string, flags, patterns []string) {
	args := slices.Concat([]string{"test", "-json"}, flags, patterns)
	if dir != "." {
		fmt.Fprintf(r.out, "\nmodule %s\n", dir)
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Stderr = os.Stderr
	// An interrupt reaches go test by itself; killing it would leave its tests.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		fmt.Fprintf(r.out, "FAIL\t%s: %v\n", dir, err)
		r.broken = true
		return
	}
	before := len(r.failed)
	r.read(stdout)
	if err := cmd.Wait(); err != nil && len(r.failed) == before {
		fmt.Fprintf(r.out, "FAIL\t%s: go test: %v\n", dir, err)
		r.broken = true
	}
}

// mostAgain is how many packages may fail and be run again; more are no accident.
const mostAgain = 6

// again runs the packages of a module that failed once more, each alone: many
// tests wait for engines, browsers and processes, and beside other packages a busy
// machine keeps them waiting for too long. What passes now is told apart, not
// hidden.
func (r *report) again(ctx context.Context, dir string, flags []string, before int) {
	var packages []string
	for _, name := range r.failed[before:] {
		pkg, _, _ := strings.Cut(name, " ")
		if !slices.Contains(packages, pkg) {
			packages = append(packages, pkg)
		}
	}
	if r.broken || len(packages) > mostAgain {
		return
	}
	for _, pkg := range packages {
		fmt.Fprintf(r.out, "again\t%s\n", pkg)
		second := newReport(r.out)
		second.module(ctx, dir, flags, []string{pkg})
		if second.exitCode() != 0 || ctx.Err() != nil {
			continue
		}
		r.failed = slices.DeleteFunc(r.failed, func(name string) bool {
			if name != pkg && !strings.HasPrefix(name, pkg+" ") {
				return false
			}
			r.unsteady = append(r.unsteady, name)
			return true
		})
	}
}

func (r *report) read(stream io.Reader) {
	lines := bufio.NewScanner(stream)
	lines.Buffer(nil, 16<<20)
	packages := map[string]map[string]*test{}
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil || e.Action == "" {
			fmt.Fprintln(r.out, lines.Text())
			continue
		}
		if e.Action == "build-output" {
			fmt.Fprint(r.out, e.Output)
			continue
		}
		if e.Package == "" {
			continue
		}
		tests := packages[e.Package]
		if tests == nil {
			tests = map[string]*test{}
			packages[e.Package] = tests
		}
		r.take(e, tests)
	}
	if err := lines.Err(); err != nil {
		fmt.Fprintln(r.out, "FAIL\treading go test:", err)
		r.broken = true
	}
}

func (r *report) take(e event, tests map[string]*test) {
	one := tests[e.Test]
	if one == nil {
		one = &test{}
		tests[e.Test] = one
	}
	switch e.Action {
	case "output":
		one.output = append(one.output, e.Output)
		return
	case "pass", "fail", "skip":
	default:
		return
	}
	if e.Test == "" {
		r.endPackage(e, tests)
		return
	}
	one.ended, one.failed = true, e.Action == "fail"
	switch e.Action {
	case "pass":
		r.passed++
		one.output = nil
	case "fail":
		r.failed = append(r.failed, e.Package+" "+e.Test)
	case "skip":
		why := skipReason(one.output)
		r.skips[why] = append(r.skips[why], short(e.Package)+" "+e.Test)
	}
}

func (r *report) endPackage(e event, tests map[string]*test) {
	switch e.Action {
	case "skip": // no test files
		return
	case "pass":
		r.packages++
		fmt.Fprintf(r.out, "ok  \t%s\t%.1fs\n", e.Package, e.Elapsed)
		return
	}
	r.packages++
	names := []string{}
	for name, one := range tests {
		if name == "" || one.failed || !one.ended {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	slices.Reverse(names) // the package's own output last
	for _, name := range names {
		fmt.Fprint(r.out, strings.Join(tests[name].output, ""))
	}
	if len(names) == 1 { // no test of it failed: it did not build, or died
		r.failed = append(r.failed, e.Package)
	}
}

func (r *report) summary(took time.Duration) {
	count := 0
	if len(r.skips)+len(r.lacking) > 0 {
		fmt.Fprintln(r.out, "\nSkipped, and why:")
	}
	for _, why := range r.lacking {
		fmt.Fprintf(r.out, "  %s\n", why)
	}
	reasons := make([]string, 0, len(r.skips))
	for why := range r.skips {
		reasons = append(reasons, why)
	}
	slices.Sort(reasons)
	for _, why := range reasons {
		tests := r.skips[why]
		count += len(tests)
		fmt.Fprintf(r.out, "  %s\n", why)
		for _, name := range tests[:min(len(tests), 5)] {
			fmt.Fprintf(r.out, "      %s\n", name)
		}
		if more := len(tests) - 5; more > 0 {
			fmt.Fprintf(r.out, "      and %d more\n", more)
		}
	}
	if len(r.unsteady) > 0 {
		fmt.Fprintln(r.out, "\nFailed at first, and passed when run again alone:")
		for _, name := range r.unsteady {
			fmt.Fprintf(r.out, "  %s\n", name)
		}
	}
	if len(r.failed) > 0 {
		fmt.Fprintln(r.out, "\nFailed:")
		for _, name := range r.failed {
			fmt.Fprintf(r.out, "  %s\n", name)
		}
	}
	verdict := "ok"
	if r.exitCode() != 0 {
		verdict = "FAIL"
	}
	fmt.Fprintf(r.out, "\n%s: %d tests passed, %d failed, %d skipped, in %d packages and %.0f s\n",
		verdict, r.passed, len(r.failed), count, r.packages, took.Seconds())
}

// againVariable names a file for the number of tests that failed at first and
// passed when run again. CI prints it.
const againVariable = "SERO_TEST_AGAIN"

// writeAgain writes the number where it is wanted.
func (r *report) writeAgain() error {
	path := os.Getenv(againVariable)
	if path == "" {
		return nil
	}
	return os.WriteFile(path, fmt.Appendln(nil, len(r.unsteady)), 0o600)
}

func (r *report) exitCode() int {
	if r.broken || len(r.failed) > 0 {
		return 1
	}
	return 0
}

var position = regexp.MustCompile(`^\s+\S+\.go:\d+: `)

// skipReason is the last line that a skipped test wrote.
func skipReason(output []string) string {
	for _, line := range slices.Backward(output) {
		if position.MatchString(line) {
			return strings.TrimSpace(position.ReplaceAllString(line, ""))
		}
	}
	return "no reason given"
}

func short(pkg string) string { return filepath.Base(pkg) }
