package workspace

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/sero-labs/sero-runtime/core/mount"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// attached is a directory of the host that a person added to a workspace. It is
// no file's wish, and so needs no trust.
type attached struct {
	Source   string `json:"source"` // absolute
	Target   string `json:"target"` // absolute; empty: Source
	ReadOnly bool   `json:"readOnly,omitempty"`
}

func (a attached) target() string {
	if a.Target == "" {
		return a.Source
	}
	return a.Target
}

// mostAttached bounds what is kept of one workspace.
const mostAttached = 100

// MountState is where a mount of a workspace stands.
type MountState struct {
	driver.Mount
	Attached bool   // a person added it; else sero.json asks for it
	State    string // "shown", "waiting" for the sandbox to be made anew, or "left out"
	Why      string // it waits or is left out
}

// Mounts are all that a workspace's sandbox shows of the host, or should.
func (m *Manager) Mounts(ctx context.Context, ref Ref) ([]MountState, error) {
	e, _, err := m.open(ref, "")
	if err != nil {
		return nil, err
	}
	file, err := e.config()
	if err != nil {
		return nil, err
	}
	w, err := m.Get(ctx, Ref{ID: e.id})
	if err != nil {
		return nil, err
	}
	planned, skipped, err := m.mounts(e, file)
	if err != nil {
		return nil, err
	}
	byPerson := map[string]bool{}
	for _, a := range e.attachments() {
		byPerson[filepath.Clean(a.target())] = true
	}
	var states []MountState
	for _, p := range planned {
		state := MountState{Mount: p, Attached: byPerson[p.Target], State: "shown"}
		switch {
		case w.Choice.HostMode:
			state.State, state.Why = "left out", "host mode has no mounts"
		case w.sandbox == nil:
			state.State, state.Why = "waiting", "there is no sandbox yet"
		case !slices.Contains(w.sandbox.Mounts, p):
			state.State, state.Why = "waiting", "the sandbox needs recreation"
		}
		states = append(states, state)
	}
	for _, s := range skipped {
		left := driver.Mount{Source: s.Source, Target: s.Target, ReadOnly: s.ReadOnly}
		states = append(states, MountState{Mount: left, Attached: byPerson[filepath.Clean(s.Target)], State: "left out", Why: s.Why})
	}
	return states, nil
}

// Attach adds a directory of the host to a workspace; it is there once the
// sandbox is made anew. The same one again replaces the first.
//
// Errors: MountDenied as of package mount, NotFound for a directory that is not
// there.
func (m *Manager) Attach(ref Ref, source, target string, readOnly bool) error {
	e, _, err := m.open(ref, "")
	if err != nil {
		return err
	}
	file, err := e.config()
	if err != nil {
		return err
	}
	added := attached{Source: source, Target: target, ReadOnly: readOnly}
	return m.reattach(e, func(list []attached) ([]attached, error) {
		list = slices.DeleteFunc(slices.Clone(list), func(a attached) bool { return a.target() == added.target() })
		if len(list) == mostAttached {
			return nil, argument("source", "the workspace has %d directories already", mostAttached).Remedy("attach one that holds several")
		}
		list = append(list, added)
		_, skipped, err := m.mountPolicy(e).Plan(append(m.fileAsks(e, file), attachedAsks(list)...))
		if err != nil {
			return nil, err
		}
		for _, s := range skipped {
			if s.Field == attachedField(len(list)-1) {
				return nil, driver.Errorf(driver.NotFound, "there is no directory %s", shown(source)).About(source).
					Remedy("make it first", "mkdir", "-p", source)
			}
		}
		return list, nil
	})
}

// Detach takes a directory away that was attached: the one with that source or
// target. NotFound if there is none.
func (m *Manager) Detach(ref Ref, path string) error {
	e, _, err := m.open(ref, "")
	if err != nil {
		return err
	}
	return m.reattach(e, func(list []attached) ([]attached, error) {
		left := slices.DeleteFunc(slices.Clone(list), func(a attached) bool { return a.Source == path || a.target() == path })
		if len(left) == len(list) {
			return nil, driver.Errorf(driver.NotFound, "%s was not attached to workspace %s", shown(path), e.id).About(path).
				Remedy("see what is", "sero", "mount", "ls", "-w", e.id)
		}
		return left, nil
	})
}

// reattach changes what is attached, and keeps it. The change may look at the
// file system, which may take long; nobody waits for that.
func (m *Manager) reattach(e *entry, change func([]attached) ([]attached, error)) error {
	for {
		before := e.attachments()
		list, err := change(before)
		if err != nil {
			return err
		}
		if done, err := m.keepAttached(e, before, list); done || err != nil {
			return err
		}
	}
}

// keepAttached puts one list in the place of another, unless that is not the
// present one any more.
func (m *Manager) keepAttached(e *entry, before, list []attached) (done bool, err error) {
	if m.named(e.id) != e {
		return false, errUnknown(e.id)
	}
	err = m.rewrite(e, func(r *record) {
		if done = slices.Equal(r.Mounts, before); done {
			r.Mounts = list
		}
	})
	return done, err
}

// record is what is kept of an entry. mu must be held.
func (e *entry) record() record {
	return record{ID: e.id, Directory: e.directory, Created: e.created, Driver: e.wish, Last: e.last, Before: e.before, Mounts: e.attached}
}

func (e *entry) attachments() []attached {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.attached
}

func attachedField(i int) string { return fmt.Sprintf("attached[%d]", i) }

func attachedAsks(list []attached) []mount.Ask {
	var asks []mount.Ask
	for i, a := range list {
		asks = append(asks, mount.Ask{Field: attachedField(i), Source: a.Source, Target: a.Target, ReadOnly: a.ReadOnly})
	}
	return asks
}
