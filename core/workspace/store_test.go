package workspace_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/fake"
)

func (w *world) records() string { return filepath.Join(w.state, "workspaces") }

func TestRecordsOutlastTheManager(t *testing.T) {
	w := newWorld(t, fake.Script{})
	dir := w.dir("shop", "")
	first := w.upDir(dir)
	got, err := w.manager().Get(t.Context(), workspace.Ref{ID: "shop"})
	if err != nil || got.Directory != dir || !got.Created.Equal(first.Created) || got.Choice.Actual != "box" {
		t.Errorf("%+v %v", got, err)
	}
	info, err := os.Stat(filepath.Join(w.records(), "shop.json"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info, err)
	}
	if names, _ := filepath.Glob(filepath.Join(w.records(), ".*")); len(names) > 0 {
		t.Error(names)
	}
}

func TestBrokenRecordsArePutAside(t *testing.T) {
	w := newWorld(t, fake.Script{})
	w.upDir(w.dir("good", ""))
	w.up(workspace.UpOptions{Ref: workspace.Ref{Dir: w.dir("shop", "")}, Driver: "host"}) // one that has no copy
	whole, err := os.ReadFile(filepath.Join(w.records(), "shop.json"))
	if err != nil {
		t.Fatal(err)
	}
	texts := []string{"null", "[]", "{}", "\x00\x00", strings.Repeat(" ", 1<<20), `{"version":1,"id":"other","directory":"/x"}`, `{"version":1,"id":"shop","directory":"x"}`}
	for cut := range len(whole) - 1 { // a write that was cut off anywhere
		texts = append(texts, string(whole[:cut]))
	}
	for i, text := range texts {
		w.write(filepath.Join(w.records(), "shop.json"), text)
		m := w.manager()
		list := m.List(t.Context())
		if len(list) == 2 && strings.TrimSpace(text) == strings.TrimSpace(string(whole)) {
			continue // only the last newline was missing
		}
		if len(list) != 1 || list[0].ID != "good" || len(m.Notices()) != 1 {
			t.Fatalf("%d %q: %v, notices %v", i, text, states(list), m.Notices())
		}
		kept, err := os.ReadFile(filepath.Join(w.records(), fmt.Sprintf("shop.json.corrupt-%d", i+1)))
		if err != nil || string(kept) != text {
			t.Fatalf("%d: what was broken is not kept: %v", i, err)
		}
	}
	if got := w.manager().List(t.Context()); len(got) != 1 {
		t.Error(states(got))
	}
}

func TestNewerRecordsAreLeftAlone(t *testing.T) {
	w := newWorld(t, fake.Script{})
	dir := w.dir("shop", "")
	if err := os.MkdirAll(w.records(), 0o700); err != nil {
		t.Fatal(err)
	}
	text := `{"version": 2, "id": "shop", "place": {"directory": "/x"}}`
	w.write(filepath.Join(w.records(), "shop.json"), text)
	m := w.manager()
	if len(m.List(t.Context())) != 0 || len(m.Notices()) != 1 || !strings.Contains(m.Notices()[0], "newer") {
		t.Error(m.Notices())
	}
	_, err := m.Up(t.Context(), workspace.UpOptions{Ref: workspace.Ref{Dir: dir}, NewID: "shop"}, nil)
	wantReason(t, err, driver.AlreadyExists)
	if got, err := m.Up(t.Context(), workspace.UpOptions{Ref: workspace.Ref{Dir: dir}}, nil); err != nil || got.ID == "shop" {
		t.Error(got.ID, err)
	}
	if kept, _ := os.ReadFile(filepath.Join(w.records(), "shop.json")); string(kept) != text {
		t.Errorf("%s", kept)
	}
}

func TestTwoRecordsOfOneDirectory(t *testing.T) {
	w := newWorld(t, fake.Script{})
	dir := w.dir("shop", "")
	w.upDir(dir)
	w.write(filepath.Join(w.records(), "zwei.json"), `{"version":1,"id":"zwei","directory":"`+dir+`"}`)
	m := w.manager()
	if got := states(m.List(t.Context())); got != "shop:running" || len(m.Notices()) != 1 {
		t.Error(got, m.Notices())
	}
}

func TestStateThatCannotBeWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := workspace.NewManager(workspace.Options{StateDir: file})
	if err == nil || len(driver.AsError(err).Remedies) == 0 {
		t.Error(err)
	}
}
