package workspace

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/sero-labs/sero-runtime/core/guest"
	"github.com/sero-labs/sero-runtime/internal/identity"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// exposed are the directories of the host that a sandbox shows: which one stood at
// each path when the sandbox got it. A sandbox goes on showing that one whatever
// the path leads to later.
type exposed map[string]identity.ID

// replaced returns a path that leads to another directory by now, or to none;
// empty when there is no such path. It asks the file system.
func (x exposed) replaced() string {
	for _, path := range slices.Sorted(maps.Keys(x)) {
		now, err := identity.Of(path)
		if err == nil && now != x[path] || errors.Is(err, fs.ErrNotExist) {
			return path
		}
	}
	return ""
}

// toVerify reports whether a sandbox that was ready has to be looked at before the
// next command: what it shows is not known, or not what its paths lead to.
// Its error says that a directory does not answer.
func (e *entry) toVerify() (bool, error) {
	e.mu.Lock()
	current := e.current
	e.mu.Unlock()
	if current == nil || current.choice.HostMode {
		return false, nil
	}
	if current.exposes == nil {
		return true, nil
	}
	path, err := within(e.looks, e.directory, func() (string, error) { return current.exposes.replaced(), nil })
	return path != "", e.forgettable(err)
}

// display is a directory of the host in a sandbox.
type display struct {
	target string // in the sandbox
	source *identity.Directory
}

// displays opens the directories that a sandbox shows, or is about to. What is not
// there is left out: the engine says so better.
func (a *attempt) displays(state driver.Sandbox) (open []display, err error) {
	add := func(source, target string) {
		if err != nil {
			return
		}
		dir, failed := identity.Open(source)
		switch {
		case failed == nil:
			open = append(open, display{target, dir})
		case !errors.Is(failed, fs.ErrNotExist):
			err = errReplaced(a.e, source, "it is not a directory that can be reached without a link any more")
		}
	}
	add(a.e.directory, state.WorkspaceDir)
	for _, mount := range state.Mounts {
		if mount.Target != state.WorkspaceDir && mount.Target != guest.MountTarget {
			add(mount.Source, mount.Target)
		}
	}
	if err != nil {
		closeDisplays(open)
		return nil, err
	}
	return open, nil
}

func closeDisplays(open []display) {
	for _, d := range open {
		d.source.Close()
	}
}

// compare looks into a sandbox that runs, and returns the path of a directory that
// it does not show though it should; empty when it shows all of them. Where the
// sandbox does not share the kernel of this machine, or has no helper, nothing can
// be compared, and the sandbox is believed.
func (a *attempt) compare(ctx context.Context, state driver.Sandbox, want []display) (path string, err error) {
	helper := slices.IndexFunc(state.Mounts, func(m driver.Mount) bool { return m.Target == guest.MountTarget })
	if helper < 0 {
		return "", nil
	}
	paths := []string{guest.MountTarget}
	for _, d := range want {
		paths = append(paths, d.target)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, prepareTimeout, fmt.Errorf("it took longer than %s", prepareTimeout))
	defer cancel()
	inside, err := guest.Identify(ctx, a.driver, state.ID, paths)
	if errors.Is(err, guest.ErrNotIdentified) {
		a.m.log.Info("what a sandbox shows cannot be compared", "workspace", a.e.id, "error", err)
		return "", nil
	}
	if err != nil {
		return "", err
	}
	// The helper's directory is sero's own, so it is the same one inside wherever
	// identities mean the same.
	if id, err := identity.Of(state.Mounts[helper].Source); err != nil || id != inside[0] {
		return "", nil //nolint:nilerr // nothing can be compared
	}
	for i, d := range want {
		if inside[i+1] != d.source.ID {
			return d.source.Path, nil
		}
	}
	return "", nil
}

// takeOver keeps what a sandbox shows.
func (a *attempt) takeOver(open []display) {
	a.exposes = exposed{}
	for _, d := range open {
		a.exposes[d.source.Path] = d.source.ID
	}
}

// confirm looks whether a sandbox that runs shows what its paths lead to, and if
// it does not, stops it for the caller to start it again. It reports whether it
// did. before is what was known of it, or nil.
func (a *attempt) confirm(ctx context.Context, state driver.Sandbox, before exposed) (stopped bool, err error) {
	if a.choice.HostMode {
		return false, nil
	}
	path := ""
	if before != nil {
		if path, err = within(a.e.looks, a.e.directory, func() (string, error) { return before.replaced(), nil }); err != nil {
			return false, err
		}
		a.exposes = before
	} else {
		open, err := a.displays(state)
		if err != nil {
			return false, err
		}
		defer closeDisplays(open)
		if path, err = a.compare(ctx, state, open); err != nil {
			return false, err
		}
		a.takeOver(open)
	}
	if path == "" {
		return false, nil
	}
	return true, a.stopStale(ctx, path)
}

// stopStale stops a sandbox that shows a directory which is not at its path any
// more, unless something runs in it.
func (a *attempt) stopStale(ctx context.Context, path string) error {
	a.e.mu.Lock()
	busy := len(a.e.commands) > 0
	a.e.mu.Unlock()
	if busy {
		return errReplaced(a.e, path, "the sandbox still shows the old one to what runs in it")
	}
	line := fmt.Sprintf("%s is another directory than the sandbox shows: the sandbox is started again to show it", shown(path))
	a.warnings = append(a.warnings, line)
	a.report(driver.Progress{Phase: "restart", Message: line})
	return a.m.stopSandbox(ctx, a.e, a.driver, a.choice.Actual, DefaultStopGrace)
}

func errReplaced(e *entry, path, why string) error {
	return driver.Errorf(driver.MountDenied, "the directory %s was replaced: %s", shown(path), why).About(path).
		Remedy("stop the workspace; the next command starts it with what is at the path then", "sero", "stop", "-w", e.id)
}

// errExchanged is about a directory that was replaced while the sandbox started.
func errExchanged(e *entry, path string) error {
	err := driver.Errorf(driver.MountDenied, "the directory %s was replaced while the sandbox of workspace %s started, which was stopped again", shown(path), e.id).About(path)
	err.Retryable = true
	return err.Remedy("find out what writes there: the sandbox of a workspace around it may")
}
