package workspace

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sero-labs/sero-runtime/core/config"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// DirectoryUnresponsive is the reason of an error about a directory that does
// not answer.
const DirectoryUnresponsive driver.Reason = "DIRECTORY_UNRESPONSIVE"

// maxReading is how many may read in one directory at a time before others look
// first whether it answers. Each holds a thread until the file system does.
const maxReading = 16

// looks looks at directories that may not answer, as on a file server that is
// gone: at each of them once at a time, however many callers wait for that.
type looks struct {
	patience time.Duration // for an answer

	mu      sync.Mutex
	under   map[string]*look
	stuck   map[string]int // older looks that go on: what they asked may never answer
	reading map[string]int
}

// look is one look at a directory.
type look struct {
	began    time.Time
	done     chan struct{}
	resolved string // once done is closed
	err      error  // likewise: what it is instead of a directory
}

func newLooks(patience time.Duration) *looks {
	return &looks{patience: patience, under: map[string]*look{}, stuck: map[string]int{}, reading: map[string]int{}}
}

// check resolves a directory that must exist, with the error that says what it
// is instead, or that it does not answer.
func (l *looks) check(dir string) (string, error) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), l.patience, errNoPatience)
	defer cancel()
	look, joined := l.at(dir)
	if look = l.answer(ctx, dir, look, joined); !look.wait(ctx) {
		return "", silent(dir)
	}
	return look.resolved, look.err
}

var errNoPatience = errors.New("the directory had its time")

// answer returns the look that a caller goes by. One that it joined began before
// the caller asked, so what that found wrong may be mended by now: it is looked at
// again.
func (l *looks) answer(ctx context.Context, dir string, look *look, joined bool) *look {
	if joined && look.wait(ctx) && look.err != nil {
		look, _ = l.at(dir)
	}
	return look
}

func silent(dir string) *driver.Error {
	err := driver.Errorf(DirectoryUnresponsive, "the directory %s does not answer, as on a file server that is gone", shown(dir)).About(dir)
	err.Retryable = true
	return err.Remedy("look after the file server, or unmount it by force")
}

// at begins to look at a directory, or joins a look that is under way. One that has
// waited for long is not joined: it may wait for a file system that is not there
// any more.
func (l *looks) at(dir string) (now *look, joined bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if under := l.under[dir]; under != nil {
		// Ever less often: each holds a thread.
		if time.Since(under.began) < l.patience*time.Duration(1+l.stuck[dir]) {
			return under, true
		}
		l.stuck[dir]++
	}
	now = &look{began: time.Now(), done: make(chan struct{})}
	l.under[dir] = now
	go func() { // ends when the file system answers; nobody can end it before
		now.resolved, now.err = resolve(dir)
		l.ended(dir, now)
		close(now.done)
	}()
	return now, false
}

func (l *looks) ended(dir string, look *look) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.under[dir] == look {
		delete(l.under, dir)
	} else if l.stuck[dir]--; l.stuck[dir] == 0 {
		delete(l.stuck, dir)
	}
}

// read counts who reads in a directory, and gives how many did.
func (l *looks) read(dir string, delta int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.reading[dir]
	if l.reading[dir] = before + delta; l.reading[dir] == 0 {
		delete(l.reading, dir)
	}
	return before
}

// within runs f, which reads in a directory. It fails with DirectoryUnresponsive
// when that does not answer; then it is one look that waits for it, not each of
// those who read.
func within[T any](l *looks, dir string, f func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	if l.read(dir, 1) >= maxReading {
		if _, err := l.check(dir); driver.ReasonOf(err) == DirectoryUnresponsive {
			l.read(dir, -1)
			return result{}.value, err
		}
	}
	answer := make(chan result, 1)
	go func() {
		defer l.read(dir, -1)
		value, err := f()
		answer <- result{value, err}
	}()
	patience := time.NewTimer(l.patience)
	defer patience.Stop()
	select {
	case r := <-answer:
		return r.value, r.err
	case <-patience.C:
		return result{}.value, silent(dir)
	}
}

// wait waits for the end of the look; it is false when ctx ends before.
func (l *look) wait(ctx context.Context) bool {
	select {
	case <-l.done:
		return true
	default:
	}
	select {
	case <-l.done:
		return true
	case <-ctx.Done():
		return false
	}
}

// gone tells, after the look, that there is no such directory.
func (l *look) gone() bool {
	reason := driver.ReasonOf(l.err)
	return reason == driver.NotFound || reason == driver.InvalidArgument
}

// lost tells, after the look, that what the directory was on is not there.
func (l *look) lost() bool { return driver.ReasonOf(l.err) == DirectoryUnresponsive }

// config reads the sero.json of the workspace's directory, for commands. It
// fails with DirectoryUnresponsive when the directory does not answer.
func (e *entry) config() (config.Workspace, error) {
	file, err := within(e.looks, e.directory, func() (config.Workspace, error) { return e.file.LoadWorkspace(e.directory) })
	return file, e.forgettable(err)
}

// DevServerEntries are the dev servers that a workspace's sero.json names; nobody
// may change them. It fails with DirectoryUnresponsive when the directory does not
// answer, and with the cause of ctx when that ends before.
func (m *Manager) DevServerEntries(ctx context.Context, workspaceID string) (map[string]config.DevServer, error) {
	e := m.named(workspaceID)
	if e == nil {
		return nil, errUnknown(workspaceID)
	}
	type answer struct {
		file config.Workspace
		err  error
	}
	read := make(chan answer, 1)
	go func() { // ends with the patience for the directory
		file, err := e.config()
		read <- answer{file, err}
	}()
	select {
	case a := <-read:
		return a.file.DevServers, a.err
	case <-ctx.Done():
		return nil, driver.AsError(context.Cause(ctx))
	}
}

// checked is what config.LoadWorkspace gives.
type checked struct {
	file     config.Workspace
	warnings []config.Warning
}

// checkedConfig is config with the warnings.
func (e *entry) checkedConfig() (checked, error) {
	c, err := loadChecked(e.looks, e.directory)
	return c, e.forgettable(err)
}

func loadChecked(l *looks, dir string) (checked, error) {
	return within(l, dir, func() (c checked, err error) {
		c.file, c.warnings, err = config.LoadWorkspace(dir)
		return c, err
	})
}

// forgettable adds to a silent directory's error that the workspace can be
// forgotten.
func (e *entry) forgettable(err error) error {
	if driver.ReasonOf(err) != DirectoryUnresponsive {
		return err
	}
	return driver.AsError(err).Remedy("forget the workspace", "sero", "rm", "-w", e.id)
}
