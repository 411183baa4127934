package conformance

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
)

// recorder is the T of one case.
type recorder struct {
	mu       sync.Mutex
	failed   bool
	skipped  bool
	lines    []string
	cleanups []func()
}

// Helper does nothing: evidence names no lines.
func (r *recorder) Helper() {}

// Logf adds evidence.
func (r *recorder) Logf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	line := fmt.Sprintf(format, args...)
	if len(line) > 2000 {
		line = line[:2000] + "…"
	}
	if len(r.lines) < 50 {
		r.lines = append(r.lines, line)
	}
}

// Errorf marks the case as failed.
func (r *recorder) Errorf(format string, args ...any) {
	r.Logf(format, args...)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = true
}

// Fatalf marks the case as failed and ends it.
func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

// Skipf ends the case without a verdict on the driver.
func (r *recorder) Skipf(format string, args ...any) {
	r.Logf(format, args...)
	r.mu.Lock()
	r.skipped = true
	r.mu.Unlock()
	runtime.Goexit()
}

// Cleanup runs f at the end.
func (r *recorder) Cleanup(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cleanups = append(r.cleanups, f)
}

// run runs a case and its clean-up, and closes done.
func (r *recorder) run(c Case, s *Session, done chan<- struct{}) {
	defer close(done)
	defer r.cleanUp()
	defer func() {
		if p := recover(); p != nil {
			r.Errorf("the case panicked: %v\n%s", p, debug.Stack())
		}
	}()
	c.Run(r, s)
}

func (r *recorder) cleanUp() {
	for {
		r.mu.Lock()
		n := len(r.cleanups)
		if n == 0 {
			r.mu.Unlock()
			return
		}
		f := r.cleanups[n-1]
		r.cleanups = r.cleanups[:n-1]
		r.mu.Unlock()
		f()
	}
}

func (r *recorder) outcome() (Verdict, string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	evidence := strings.Join(r.lines, "\n")
	switch {
	case r.failed:
		return Fail, evidence
	case r.skipped:
		return SkipEnvironment, evidence
	default:
		return Pass, evidence
	}
}
