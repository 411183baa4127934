package workspace

import (
	"context"
	"errors"
	"fmt"

	"github.com/sero-labs/sero-runtime/core/negotiate"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// List describes every known workspace, ordered by id, those included that are
// known by their sandboxes' labels only. It waits a second at most for drivers
// and directories; a workspace of one that does not answer is unknown, with the
// reason.
func (m *Manager) List(ctx context.Context) []Workspace {
	m.adopt()
	return m.observe(ctx, m.entries())
}

// Get describes one workspace, as List does, and tells what of its sandbox is not
// as it would be made now. For one that was not used yet it also tells which
// driver would be chosen.
func (m *Manager) Get(ctx context.Context, ref Ref) (Workspace, error) {
	e, _, err := m.find(ref)
	if err != nil {
		return Workspace{}, err
	}
	w := m.observe(ctx, []*entry{e})[0]
	if w.silent {
		return w, nil
	}
	if w.Choice.Reason == "" {
		m.foresee(ctx, e, &w)
	}
	m.lookAtDrift(ctx, e, &w)
	if w.sandbox != nil {
		m.warnOfHelper(&w, *w.sandbox)
	}
	m.askedUser(e, &w)
	return w, nil
}

// Choice is the driver that a known workspace has now or had last, as far as that
// is known without asking anybody.
func (m *Manager) Choice(id string) negotiate.Choice {
	if e := m.named(id); e != nil {
		return e.snapshot().Choice
	}
	return negotiate.Choice{}
}

// foresee fills in the choice that the next action would make.
func (m *Manager) foresee(ctx context.Context, e *entry, w *Workspace) {
	read, err := e.checkedConfig()
	if err != nil {
		if w.State != StateDirectoryMissing {
			w.Warnings = append(w.Warnings, driver.AsError(err).Message)
		}
		return
	}
	if w.Warnings == nil {
		for _, warning := range read.warnings {
			w.Warnings = append(w.Warnings, warning.String())
		}
	}
	request, _ := m.request(e, "", read.file)
	ctx, cancel := context.WithTimeoutCause(ctx, m.options.ListTimeout, errors.New("the choice of a driver takes too long"))
	defer cancel()
	choice, err := m.options.Chooser.Choose(ctx, request)
	if err != nil {
		w.Warnings = append(w.Warnings, "no driver could be chosen now: "+driver.AsError(err).Message)
		return
	}
	w.Choice = choice
}

// report is what one driver says of our sandboxes.
type report struct {
	driver    string
	sandboxes map[string]driver.Sandbox
	caps      []driver.Capability
	err       error
}

func (m *Manager) observe(ctx context.Context, entries []*entry) []Workspace {
	workspaces := make([]Workspace, len(entries))
	asked := map[string]bool{}
	directories := make([]*look, len(entries))
	joined := make([]bool, len(entries))
	ctx, cancel := context.WithTimeoutCause(ctx, m.options.ListTimeout, errors.New("drivers and directories had their second"))
	defer cancel()
	for i, e := range entries {
		directories[i], joined[i] = m.looks.at(e.directory)
		workspaces[i] = e.snapshot()
		if name := workspaces[i].Choice.Actual; name != "" {
			asked[name] = true
		}
	}
	reports := m.ask(ctx, asked)
	for i, e := range entries {
		directories[i] = m.looks.answer(ctx, e.directory, directories[i], joined[i])
		workspaces[i].silent = !directories[i].wait(ctx) || directories[i].lost()
		m.settle(e, &workspaces[i], reports, directories[i])
	}
	return workspaces
}

// ask lists our sandboxes in every given driver that runs, all at the same time,
// until ctx ends.
func (m *Manager) ask(ctx context.Context, names map[string]bool) map[string]report {
	answers := make(chan report, len(names))
	waiting := 0
	reports := map[string]report{}
	for name := range names {
		d, ok := m.options.Drivers.Started(name)
		if !ok {
			continue
		}
		late := driver.Errorf(driver.Timeout, "driver %s did not answer in %s", name, m.options.ListTimeout)
		reports[name] = report{driver: name, err: late}
		if m.begin(func() { answers <- m.askOne(ctx, name, d) }) {
			waiting++
		}
	}
	for ; waiting > 0; waiting-- {
		select {
		case r := <-answers:
			if ctx.Err() == nil || r.err == nil {
				reports[r.driver] = r
			}
		case <-ctx.Done():
			return reports
		}
	}
	return reports
}

func (m *Manager) askOne(ctx context.Context, name string, d driver.Driver) report {
	r := report{driver: name, sandboxes: map[string]driver.Sandbox{}, caps: driver.Capabilities(d)}
	list, err := d.List(ctx, map[string]string{
		driver.LabelManaged: "true", driver.LabelInstallation: m.options.Installation,
	})
	r.err = err
	for _, s := range list {
		r.sandboxes[s.ID] = s
	}
	return r
}

// settle works out a workspace's state from what its driver says.
func (m *Manager) settle(e *entry, w *Workspace, reports map[string]report, directory *look) {
	if w.State == StateStarting || w.State == StateStopping {
		return
	}
	if w.silent {
		w.State, w.StateMessage = StateUnknown, "the directory does not answer, as on a file server that is gone"
		return
	}
	if directory.gone() {
		w.State, w.StateMessage = StateDirectoryMissing, "the directory is gone"
		return
	}
	name := w.Choice.Actual
	r, asked := reports[name]
	switch {
	case name == "", !asked && w.Choice.HostMode: // with its driver all of it ended
		w.State = StateStopped
	case !asked:
		w.State, w.StateMessage = StateUnknown, fmt.Sprintf("driver %s does not run now", name)
	case r.err != nil:
		w.State, w.StateMessage = StateUnknown, driver.AsError(r.err).Message
	default:
		s, exists := r.sandboxes[w.SandboxID]
		if !exists || !m.owns(e, s) {
			w.State = StateStopped
			return
		}
		w.State, w.Capabilities = stateOf(s.State), r.caps
		w.describe(s)
		w.sandbox = &s
		switch w.State {
		case StateRunning:
			w.StateMessage = ""
		case StatePaused:
			w.StateMessage = "what runs in it is suspended; the next action lets it go on"
		default:
		}
	}
}
