// Command testall runs every test of every module here that this machine can
// run, with the race detector where there is a C compiler for it, and ends with
// what was skipped and why. Its arguments are package patterns of the main
// module; with any but ./... the other modules are left out.
package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/sero-labs/sero-runtime/internal/testutil"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

func run(ctx context.Context, patterns []string) int {
	begin := time.Now()
	if len(patterns) == 0 {
		patterns = []string{"./..."}
	}
	flags := []string{"-timeout", "40m"}
	report := newReport(os.Stdout)
	if why := noRace(ctx); why == "" {
		flags = append(flags, "-race")
	} else {
		report.lack("race", "the race detector: "+why)
	}
	if err := hurryExits(); err != nil {
		fmt.Fprintln(os.Stderr, "testall:", err)
		return 1
	}
	modules := []string{"."}
	if slices.Equal(patterns, []string{"./..."}) {
		modules = allModules()
	}
	for _, dir := range modules {
		if ctx.Err() != nil {
			break
		}
		before := len(report.failed)
		report.module(ctx, dir, flags, ordered(dir, patterns))
		report.again(ctx, dir, flags, before)
	}
	report.summary(time.Since(begin))
	if err := report.writeAgain(); err != nil {
		fmt.Fprintln(os.Stderr, "testall:", err)
		return 1
	}
	if ctx.Err() != nil {
		fmt.Println("interrupted")
		return 1
	}
	return report.exitCode()
}

// hurryExits has programs with the race detector end at once. By default each of
// them sleeps for a second before it exits, and tests start thousands.
func hurryExits() error {
	const variable, option = "GORACE", "atexit_sleep_ms"
	given := os.Getenv(variable)
	if strings.Contains(given, option+"=") {
		return nil
	}
	return os.Setenv(variable, strings.TrimSpace(given+" "+option+"=10"))
}

// longest are the packages of the main module that take minutes.
var longest = []string{"./cmd/sero", "./plugins/apple-container/...", "./sdk/conformance", "./test/lifecycle", "./test/preview", "./test/egress"}

// ordered has what takes longest begin first, so that at the end nothing is waited
// for alone. What is named twice runs once.
func ordered(dir string, patterns []string) []string {
	if dir != "." || !slices.Equal(patterns, []string{"./..."}) {
		return patterns
	}
	return slices.Concat(longest, patterns)
}

// noRace is why the race detector cannot be used, or empty.
func noRace(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "go", "env", "CGO_ENABLED", "CC").Output()
	if err != nil {
		return "go env: " + err.Error()
	}
	enabled, compiler, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if enabled != "1" {
		return "cgo is off (CGO_ENABLED is 0, or there is no C compiler)"
	}
	if fields := strings.Fields(compiler); len(fields) > 0 {
		if _, err := exec.LookPath(fields[0]); err != nil {
			return "there is no C compiler (" + fields[0] + ")"
		}
	}
	return ""
}

// allModules lists the directories with a go.mod, the main one first.
func allModules() []string {
	var dirs []string
	walk := func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != "." && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "testdata" || entry.Name() == "node_modules"):
			return filepath.SkipDir
		case entry.Name() == "go.mod":
			dirs = append(dirs, filepath.Dir(path))
		}
		return nil
	}
	if err := filepath.WalkDir(".", walk); err != nil {
		fmt.Fprintln(os.Stderr, "testall:", err)
		return []string{"."}
	}
	slices.Sort(dirs)
	return dirs
}

// demanded tells whether a missing thing is a failure here.
func demanded(what string) bool {
	list := strings.Split(os.Getenv(testutil.RequireVariable), ",")
	return slices.ContainsFunc(list, func(word string) bool {
		word = strings.TrimSpace(word)
		return word == what || word == "all"
	})
}
