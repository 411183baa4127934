package workspace

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"sync"
)

// looks looks at directories that may not answer, as on a file server that is
// gone: at each of them once at a time, however many callers wait for that.
type looks struct {
	mu    sync.Mutex
	under map[string]*look
}

// look is one look at a directory.
type look struct {
	done chan struct{}
	gone bool // once done is closed
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
		info, err := os.Stat(dir)
		now.gone = errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir()
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
