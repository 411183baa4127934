package workspace_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/core/config"
	"github.com/sero-labs/sero-runtime/core/negotiate"
	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/fake"
)

// losses are the ways in which a record goes, or cannot be read any more.
func losses(t *testing.T) map[string]func(dir, name string) error {
	t.Helper()
	text := func(s string) func(dir, name string) error {
		return func(dir, name string) error { return os.WriteFile(filepath.Join(dir, name), []byte(s), 0o600) }
	}
	instead := func(put func(path string) error) func(dir, name string) error {
		return func(dir, name string) error {
			path := filepath.Join(dir, name)
			if err := os.Remove(path); err != nil {
				return err
			}
			return put(path)
		}
	}
	cut := func(size int64) func(dir, name string) error {
		return func(dir, name string) error { return os.Truncate(filepath.Join(dir, name), size) }
	}
	return map[string]func(dir, name string) error{
		"removed":           instead(func(string) error { return nil }),
		"all removed":       func(dir, _ string) error { return os.RemoveAll(dir) },
		"renamed":           func(dir, name string) error { return os.Rename(filepath.Join(dir, name), filepath.Join(dir, name+"~")) },
		"empty":             text(""),
		"cut to one byte":   cut(1),
		"cut in the middle": cut(40),
		"null":              text("null"),
		"zeros":             text(strings.Repeat("\x00", 300)),
		"random":            text("\x8f\x01\xfe{{{"),
		"too large":         text(strings.Repeat(" ", 1<<20)),
		"no version":        text(`{"id": "shop"}`),
		"another's":         text(`{"version": 1, "id": "other", "directory": "/x"}`),
		"not absolute":      text(`{"version": 1, "id": "shop", "directory": "x"}`),
		"a directory":       instead(func(path string) error { return os.Mkdir(path, 0o700) }),
		"a link":            instead(func(path string) error { return os.Symlink("/dev/null", path) }),
		"a pipe":            instead(func(path string) error { return syscall.Mkfifo(path, 0o600) }),
		"others' to write":  func(dir, name string) error { return os.Chmod(filepath.Join(dir, name), 0o666) },
	}
}

// A2: a workspace that has had a sandbox that isolates does not become a new one,
// whose commands run on the host, when its record is lost or cannot be read and its
// engine is down: in its directory, below it, and by its id.
func TestA2ALostRecordDoesNotLeadToTheHost(t *testing.T) {
	tried, onHost := 0, 0
	for what, lose := range losses(t) {
		p := &policy{}
		p.set(hostOffer, boxOffer)
		w := newWorld(t, fake.Script{}, lasting, func(_ *world, o *workspace.Options) { o.Chooser = p })
		dir := w.dir("shop", "")
		below := w.dir("shop/src/deep", "")
		w.upDir(dir)
		if _, _, err := w.Stop(t.Context(), workspace.Ref{ID: "shop"}, time.Second); err != nil {
			t.Fatal(err)
		}
		w.Close()
		p.set(hostOffer, refused(driver.EngineNotRunning))
		w.stopDriver("box", true)
		if err := lose(w.records(), "shop.json"); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		for range 2 { // and at the start after that
			for _, ref := range []workspace.Ref{{Dir: dir}, {Dir: below}, {ID: "shop"}} {
				m := w.manager(lasting, func(_ *world, o *workspace.Options) { o.Chooser = p })
				_, err := m.Exec(t.Context(), workspace.ExecOptions{Ref: ref, Argv: []string{"true"}}, driver.ExecIO{}, nil, nil)
				tried++
				if driver.ReasonOf(err) != driver.EngineNotRunning || w.host.Calls("Exec") > 0 || w.host.Calls("CreateSandbox") > 0 {
					onHost++
					t.Errorf("%s, %+v: %v", what, ref, err)
				}
				m.Close()
			}
		}
		p.set(hostOffer, boxOffer) // the engine is back
		w.stopDriver("box", false)
		m := w.manager(lasting, func(_ *world, o *workspace.Options) { o.Chooser = p })
		if got, err := m.Up(t.Context(), workspace.UpOptions{Ref: workspace.Ref{Dir: below}}, nil); err != nil || got.ID != "shop" || w.box.Calls("CreateSandbox") != 1 {
			t.Errorf("%s: %s %v", what, got.ID, err)
		}
	}
	t.Logf("%d tried, %d on the host", tried, onHost)
}

// A2, the benign twins: a workspace of the host, one that was removed and one that a
// person takes to the host run there, whatever was lost.
func TestA2ALostRecordOfTheHostLeadsThere(t *testing.T) {
	ran := 0
	for what, before := range map[string]func(w *world, dir string) error{
		"never isolated": func(w *world, dir string) error {
			_, err := w.Up(t.Context(), workspace.UpOptions{Ref: workspace.Ref{Dir: dir}, Driver: "host"}, nil)
			return err
		},
		"removed": func(w *world, dir string) error {
			w.upDir(dir)
			_, _, err := w.Remove(t.Context(), workspace.Ref{Dir: dir})
			return err
		},
		"not opened": func(*world, string) error { return nil },
	} {
		for _, lost := range []bool{false, true} {
			p := &policy{}
			p.set(hostOffer, boxOffer)
			w := newWorld(t, fake.Script{}, func(_ *world, o *workspace.Options) { o.Chooser = p })
			dir := w.dir("shop", "")
			if err := before(w, dir); err != nil {
				t.Fatal(err)
			}
			w.Close()
			if lost {
				if err := os.RemoveAll(w.records()); err != nil {
					t.Fatal(err)
				}
			}
			p.set(hostOffer, refused(driver.EngineNotRunning))
			m := w.manager(func(_ *world, o *workspace.Options) { o.Chooser = p })
			got, err := m.Up(t.Context(), workspace.UpOptions{Ref: workspace.Ref{Dir: dir}}, nil)
			if err != nil || !got.Choice.HostMode {
				t.Errorf("%s: %+v %v", what, got.Choice, err)
			} else {
				ran++
			}
		}
	}
	t.Logf("%d benign twins ran on the host", ran)
}

// A2: a copy that is lost or broken is written again from its record, also where the
// record was written before there were copies.
func TestA2TheCopyOfARecordIsMended(t *testing.T) {
	for what, lose := range losses(t) {
		w := newWorld(t, fake.Script{})
		w.upDir(w.dir("shop", ""))
		whole, err := os.ReadFile(filepath.Join(w.records(), "shop.json"))
		if err != nil {
			t.Fatal(err)
		}
		copies := w.records() + ".copy"
		if err := lose(copies, "shop.json"); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		m := w.manager()
		info, err := os.Lstat(filepath.Join(copies, "shop.json"))
		if what == "a directory" { // nothing can take its place; what it holds may be a person's
			if len(m.List(t.Context())) != 1 || len(m.Notices()) != 1 {
				t.Errorf("%s: %v", what, m.Notices())
			}
			continue
		}
		if err != nil || !info.Mode().IsRegular() {
			t.Fatalf("%s: %v %v", what, info, err)
		}
		if text, err := os.ReadFile(filepath.Join(copies, "shop.json")); err != nil || string(text) != string(whole) || len(m.Notices()) != 0 {
			t.Errorf("%s: %s %v %v", what, text, err, m.Notices())
		}
	}
}

// A2: the machine's settings hold for a workspace that is known from its copy.
func TestA2TheCopyHoldsTheWish(t *testing.T) {
	p := &policy{}
	p.set(hostOffer, boxOffer)
	w := newWorld(t, fake.Script{}, func(_ *world, o *workspace.Options) { o.Chooser = p })
	dir := w.dir("shop", "")
	w.up(workspace.UpOptions{Ref: workspace.Ref{Dir: dir}, Driver: "box"})
	if err := os.RemoveAll(w.records()); err != nil {
		t.Fatal(err)
	}
	m := w.manager(func(_ *world, o *workspace.Options) { o.Chooser, o.Machine = p, config.Machine{Mode: config.ModeHost} })
	if got, err := m.Get(t.Context(), workspace.Ref{Dir: dir}); err != nil || got.Choice.Desired != "box" {
		t.Errorf("%+v %v", got.Choice, err)
	}
	p.set(hostOffer, negotiate.Offer{Name: "other", Info: boxOffer.Info, Health: boxOffer.Health})
	if got, err := m.Up(t.Context(), workspace.UpOptions{Ref: workspace.Ref{Dir: dir}}, nil); err == nil {
		t.Errorf("%+v", got.Choice)
	}
}
