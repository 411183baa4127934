package workspace_test

import (
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/internal/testutil"
	"github.com/sero-labs/sero-runtime/sdk/fake"
)

// What needs the directory fails, what does not works, and neither keeps more
// than a few waiting for it.
func TestUseOfADirectoryThatDoesNotAnswer(t *testing.T) {
	w := newWorld(t, fake.Script{}, func(_ *world, o *workspace.Options) { o.LookPatience = 250 * time.Millisecond })
	w.upDir(w.dir("shop", ""))
	gone := w.dir("gone", "")
	below := filepath.Join(gone, "below")
	id := w.upDir(gone).ID
	inGone := workspace.ExecOptions{Ref: workspace.Ref{ID: id}, Argv: []string{"true"}}
	answer := testutil.Hang(t, gone)
	for range 30 {
		_, _, err := w.exec(inGone)
		if e := wantReason(t, err, workspace.DirectoryUnresponsive); !e.Retryable || len(e.Remedies) != 2 {
			t.Fatalf("the error is %+v", e)
		}
	}
	for _, dir := range []string{gone, below} {
		_, err := w.Up(t.Context(), workspace.UpOptions{Ref: workspace.Ref{Dir: dir}}, nil)
		wantReason(t, err, workspace.DirectoryUnresponsive)
	}
	if out := w.sh(workspace.ExecOptions{Ref: workspace.Ref{ID: "shop"}}, "echo on"); out != "on" {
		t.Errorf("the other workspace says %q", out)
	}
	waiting := func() int {
		stacks := make([]byte, 4<<20)
		text := string(stacks[:runtime.Stack(stacks, true)])
		return strings.Count(text, "(*looks).at.func1(") + strings.Count(text, "(*entry).config.func1(")
	}
	if n := waiting(); n == 0 || n > 60 {
		t.Errorf("%d wait for the directory", n)
	}
	if _, _, err := w.Stop(t.Context(), workspace.Ref{ID: id}, 0); err != nil {
		t.Errorf("stop: %v", err)
	}
	// Mounted anew, or not at all, it is used, whoever waits for the old one still.
	if err := unix.Unmount(gone, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	eventually(t, "what is there now is used", func() bool {
		_, _, err := w.exec(inGone)
		return err == nil
	})
	if waiting() == 0 {
		t.Error("nobody waits for the old one, so this shows nothing")
	}
	answer()
	eventually(t, "nobody waits", func() bool { return waiting() == 0 })
}

// A file server that was lost is not taken for a directory that is gone: it may
// come back.
func TestDirectoryOfALostFileServer(t *testing.T) {
	w := newWorld(t, fake.Script{})
	dir := w.dir("lost", "")
	ref := workspace.Ref{ID: w.upDir(dir).ID}
	back := testutil.Lose(t, dir)
	if list := w.List(t.Context()); len(list) != 1 || list[0].State != workspace.StateUnknown {
		t.Errorf("listed are %+v", list)
	}
	_, err := w.Up(t.Context(), workspace.UpOptions{Ref: ref}, nil)
	wantReason(t, err, workspace.DirectoryUnresponsive)
	back()
	if _, err := w.Up(t.Context(), workspace.UpOptions{Ref: ref}, nil); err != nil {
		t.Errorf("once it is back: %v", err)
	}
}

// However often workspaces are listed, nobody but one waits for a directory that
// does not answer.
func TestOneLookAtADirectoryThatDoesNotAnswer(t *testing.T) {
	w := newWorld(t, fake.Script{})
	w.upDir(w.dir("shop", ""))
	gone := w.dir("gone", "")
	w.upDir(gone)
	answer := testutil.Hang(t, gone)
	states := func() (shop, other workspace.State) {
		for _, ws := range w.List(t.Context()) {
			if ws.ID == "shop" {
				shop = ws.State
			} else {
				other = ws.State
			}
		}
		return shop, other
	}
	looking := func() int {
		stacks := make([]byte, 1<<20)
		return strings.Count(string(stacks[:runtime.Stack(stacks, true)]), "(*looks).at.func1(")
	}
	for range 5 {
		if shop, other := states(); shop != workspace.StateRunning || other != workspace.StateUnknown {
			t.Errorf("shop is %s, the other one %s", shop, other)
		}
	}
	if n := looking(); n != 1 {
		t.Errorf("%d wait for the directory", n)
	}
	answer()
	eventually(t, "nobody waits", func() bool { return looking() == 0 })
	if shop, other := states(); shop != workspace.StateRunning || other != workspace.StateRunning {
		t.Errorf("shop is %s, the other one %s", shop, other)
	}
}
