package egress

import (
	"encoding/json"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/sero-labs/sero-runtime/core/config"
	"github.com/sero-labs/sero-runtime/core/egress/policy"
	"github.com/sero-labs/sero-runtime/internal/durable"
	"github.com/sero-labs/sero-runtime/internal/ownpath"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// kept is what outlasts the daemon, in a file for each workspace that only the
// user can read.
type kept struct {
	Granted  []string `json:"granted,omitempty"`  // rules
	Observed []string `json:"observed,omitempty"` // host:port, sorted
	Life     *Life    `json:"life,omitempty"`     // of the sandbox that had a proxy last
}

func (s *Service) file(id string) string { return filepath.Join(s.dir, id+".json") }

// read gives what is kept. A file that makes no sense is as good as none: it
// grants nothing.
func (s *Service) read(id string) kept {
	text, err := ownpath.Read(s.file(id))
	if errors.Is(err, fs.ErrNotExist) {
		return kept{}
	}
	var k kept
	if err == nil {
		err = json.Unmarshal(text, &k)
	}
	if err == nil {
		_, err = policy.ParseRules(k.Granted)
	}
	if err == nil && k.Life != nil {
		_, err = listOf("sero.json", k.Life.Rules)
	}
	if err != nil {
		s.log.Warn("what was kept of a workspace's egress is left out", "workspace", id, "error", err)
		return kept{}
	}
	return k
}

func (s *Service) write(id string, k kept) error {
	text, err := json.MarshalIndent(k, "", "  ")
	if err == nil {
		err = durable.WriteFile(s.dir, id+".json", append(text, '\n'))
	}
	if err != nil {
		return stateError(s.file(id), err)
	}
	return nil
}

func stateError(path string, err error) error {
	return driver.Errorf(driver.Internal, "the state of egress cannot be kept: %w", err).About(path).
		Remedy("make the directory of sero's state writable")
}

// observed writes down what was reached.
func (s *Service) observed(w *workspace, t policy.Target) {
	s.writing.Lock()
	defer s.writing.Unlock()
	next, isNew := w.observed(t)
	if !isNew {
		return
	}
	if err := s.write(w.id, next); err != nil {
		s.log.Warn("what a workspace reached is not written down", "workspace", w.id, "error", err)
	}
}

// observed adds a target to what was reached, unless that is known or too much.
func (w *workspace) observed(t policy.Target) (now kept, isNew bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at, found := slices.BinarySearch(w.kept.Observed, t.Rule())
	if found || len(w.kept.Observed) >= maxObserved {
		return kept{}, false
	}
	w.kept.Observed = slices.Insert(slices.Clone(w.kept.Observed), at, t.Rule())
	return w.kept, true
}

// Status is what there is to say about one workspace's egress.
type Status struct {
	Mode    policy.Mode // the stricter one of the two files
	Asked   bool        // there are rules; without, nothing runs
	Machine config.Egress
	Rules   config.Egress // of sero.json, in force
	Changed bool          // sero.json says something else now: from the next start on
	Running bool          // the proxy serves
	// OnlyWayOut tells that the sandbox that is served has no network of its own.
	OnlyWayOut bool
	Granted    []string
	Observed   []string
	Refusals   []Entry
}

// Status describes a workspace's egress; file is what sero.json says now.
func (s *Service) Status(id string, file config.Egress) (Status, error) {
	w := s.workspace(id)
	if w == nil {
		return Status{}, errClosing
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	st := Status{
		Machine: s.options.Machine, Rules: file, Granted: slices.Clone(w.kept.Granted), Observed: slices.Clone(w.kept.Observed),
		Refusals: w.journal.list(),
	}
	if w.session != nil && w.session.alive() {
		st.Running, st.Rules, st.OnlyWayOut = true, w.session.life.Rules, w.session.isolated
		st.Changed = !same(st.Rules, file)
	}
	list := policy.List{Mode: st.Rules.Chosen()}
	st.Mode = policy.Policy{Machine: s.machine, Workspace: list}.Mode()
	st.Asked = st.Running || file.Asked() || st.Machine.Asked()
	return st, nil
}

// Changed tells whether a running sandbox keeps to other rules than sero.json has
// by now.
func (s *Service) Changed(id string, sandbox driver.Sandbox, file config.Egress) bool {
	w := s.workspace(id)
	if w == nil {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.kept.Life != nil && w.kept.Life.of(sandbox) && !same(w.kept.Life.Rules, file)
}

func same(a, b config.Egress) bool {
	return a.Chosen() == b.Chosen() && a.Enforce == b.Enforce && slices.Equal(a.Allow, b.Allow) && slices.Equal(a.Deny, b.Deny)
}
