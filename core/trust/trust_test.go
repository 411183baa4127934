package trust_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sero-labs/sero-runtime/core/config"
	"github.com/sero-labs/sero-runtime/core/trust"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

func TestItems(t *testing.T) {
	got := trust.Items(config.Workspace{
		Mounts:  []config.Mount{{Source: "/srv/a", Target: "/a"}, {Source: "/srv/b\x1b", ReadOnly: true}},
		Roots:   []string{"/srv/c"},
		Secrets: map[string]string{"T": "env:TOKEN", "K": "file:~/key"},
		Env:     map[string]string{"A": "env:TOKEN"}, Image: "x", User: "app",
		Resources: config.Resources{Processes: 20000},
	})
	if diff := cmp.Diff([]trust.Item{
		{Field: "user", Kind: "user", Text: `commands run as "app" in the sandbox, and may leave files of that user in the workspace, also such as run with that user's rights`},
		{Field: "resources.processes", Kind: "limit", Text: "commands in the sandbox may have 20000 processes at once, where 16384 is the usual limit; the machine has one number for all"},
		{Field: "mounts[0]", Kind: "mount", Text: `commands in the sandbox may read and change "/srv/a", as "/a"`},
		{Field: "mounts[1]", Kind: "mount", Text: `commands in the sandbox may read "/srv/b\x1b"`},
		{Field: "roots[0]", Kind: "mount", Text: `commands in the sandbox may read and change "/srv/c"`},
		{Field: "secrets.K", Kind: "secret", Text: `commands get what is in the file "~/key" as K`},
		{Field: "secrets.T", Kind: "secret", Text: `commands get the daemon's variable TOKEN as T`},
	}, got); diff != "" {
		t.Error(diff)
	}
}

func TestItemsOfTheHost(t *testing.T) {
	for field, file := range map[string]config.Workspace{"mode": {Mode: "host", Driver: "host"}, "driver": {Driver: "host"}, "fallback": {Fallback: "host"}} {
		if got := trust.Items(file); len(got) != 1 || got[0].Field != field || got[0].Kind != "host" || got[0].Text == "" {
			t.Errorf("%+v: %+v", file, got)
		}
	}
}

func TestStore(t *testing.T) {
	dir := t.TempDir()
	open := func() *trust.Store {
		return trust.Open(dir, func(problem string) { t.Error(problem) })
	}
	s := open()
	if s.Trusted("/ws", "h1") || s.Trusted("/ws", "") {
		t.Error("trusted before it was")
	}
	if err := s.Trust("/ws", "h1"); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*trust.Store{s, open()} { // it lasts
		if !s.Trusted("/ws", "h1") || s.Trusted("/ws", "h2") || s.Trusted("/other", "h1") {
			t.Error("trust is not bound to the directory and the file's text")
		}
	}
	if err := s.Revoke("/ws"); err != nil || s.Trusted("/ws", "h1") || open().Trusted("/ws", "h1") {
		t.Error("it cannot be taken back", err)
	}
	var group sync.WaitGroup
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		group.Go(func() {
			if err := s.Trust("/"+name, name); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if again := open(); !again.Trusted("/a", "a") || !again.Trusted("/e", "e") {
		t.Error("one was lost")
	}
}

func TestBrokenStore(t *testing.T) {
	dir := t.TempDir()
	for _, text := range []string{`{"/ws": {"hash": "h`, "null"} {
		if err := os.WriteFile(filepath.Join(dir, "trust.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		told := 0
		s := trust.Open(dir, func(string) { told++ })
		if s.Trusted("/ws", "h") || told != 1 {
			t.Error("a broken file counts", told)
		}
		if err := s.Trust("/ws", "h"); err != nil || !s.Trusted("/ws", "h") {
			t.Error(err)
		}
	}
	gone := trust.Open(filepath.Join(dir, "gone"), func(string) {})
	if err := gone.Trust("/ws", "h"); driver.ReasonOf(err) != driver.Internal || gone.Trusted("/ws", "h") {
		t.Error("it is trusted although that cannot be kept", err)
	}
}
