package workspace

import (
	"context"
	"sync"
	"time"

	"github.com/sero-labs/sero-runtime/core/config"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// DirectoryUnresponsive is the reason of an error about a directory that does
// not answer.
const DirectoryUnresponsive driver.Reason = "DIRECTORY_UNRESPONSIVE"

// maxReading is how many may wait for the answer of one directory at a time
// before others look first. Each holds a thread until the file system answers.
const maxReading = 16

// looks looks at directories that may not answer, as on a file server that is
// gone: at each of them once at a time, however many callers wait for that.
type looks struct {
	patience time.Duration // that check has

	mu    sync.Mutex
	under map[string]*look
}

// look is one look at a directory.
type look struct {
	done     chan struct{}
	resolved string // once done is closed
	err      error  // likewise: what it is instead of a directory
}

// check resolves a directory that must exist, with the error that says what it
// is instead, or that it does not answer.
func (l *looks) check(dir string) (string, error) {
	patience := time.NewTimer(l.patience)
	defer patience.Stop()
	look := l.at(dir)
	select {
	case <-look.done:
		return look.resolved, look.err
	case <-patience.C:
		return "", silent(dir)
	}
}

func silent(dir string) *driver.Error {
	err := driver.Errorf(DirectoryUnresponsive, "the directory %s does not answer, as on a file server that is gone", shown(dir)).About(dir)
	err.Retryable = true
	return err.Remedy("look after the file server, or unmount it", "umount", "-l", dir)
}

// at begins to look at a directory.
func (l *looks) at(dir string) *look {
	l.mu.Lock()
	defer l.mu.Unlock()
	if under := l.under[dir]; under != nil {
		return under
	}
	if l.under == nil {
		l.under = map[string]*look{}
	}
	now := &look{done: make(chan struct{})}
	l.under[dir] = now
	go func() { // ends when the file system answers; nobody can end it before
		now.resolved, now.err = resolve(dir)
		l.mu.Lock()
		delete(l.under, dir)
		l.mu.Unlock()
		close(now.done)
	}()
	return now
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

// config reads the sero.json of the workspace's directory. It fails with
// DirectoryUnresponsive when the directory does not answer; then it is one look
// that waits for it, not each of those who ask.
func (e *entry) config() (config.Workspace, error) {
	if e.reading.Load() > maxReading {
		if err := e.checkDirectory(); err != nil {
			return config.Workspace{}, err
		}
	}
	type result struct {
		file config.Workspace
		err  error
	}
	read := make(chan result, 1)
	e.reading.Add(1)
	go func() {
		defer e.reading.Add(-1)
		file, err := e.file.LoadWorkspace(e.directory)
		read <- result{file, err}
	}()
	patience := time.NewTimer(e.looks.patience)
	defer patience.Stop()
	select {
	case r := <-read:
		return r.file, r.err
	case <-patience.C:
		return config.Workspace{}, silent(e.directory).Remedy("forget the workspace", "sero", "rm", "-w", e.id)
	}
}
