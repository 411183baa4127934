package workspace_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/fake"
)

func TestB12IDsOfNewWorkspaces(t *testing.T) {
	w := newWorld(t, fake.Script{})
	if got := w.upDir(w.dir("a/My Shop", "")); got.ID != "my-shop" {
		t.Error(got.ID)
	}
	other := w.upDir(w.dir("b/my-shop", ""))
	if other.ID == "my-shop" || !strings.HasPrefix(other.ID, "my-shop-") || workspace.ValidateID(other.ID) != nil {
		t.Error(other.ID)
	}
	if got := w.upDir(w.dir("c", `{"id": "from-file"}`)); got.ID != "from-file" {
		t.Error(got.ID)
	}
	if got := w.up(workspace.UpOptions{Ref: workspace.Ref{Dir: w.dir("d", `{"id": "unused"}`)}, NewID: "given"}); got.ID != "given" || len(got.Warnings) != 1 {
		t.Error(got.ID, got.Warnings)
	}
	long := w.upDir(w.dir(strings.Repeat("x", 200), ""))
	again := w.upDir(w.dir("e/"+strings.Repeat("x", 200), ""))
	if len(long.ID) != 58 || len(again.ID) > 58 || long.ID == again.ID {
		t.Error(long.ID, again.ID)
	}
	for name, c := range map[string]struct {
		options workspace.UpOptions
		reason  driver.Reason
	}{
		"taken by option":   {workspace.UpOptions{Ref: workspace.Ref{Dir: w.dir("f", "")}, NewID: "given"}, driver.AlreadyExists},
		"taken by file":     {workspace.UpOptions{Ref: workspace.Ref{Dir: w.dir("g", `{"id": "given"}`)}}, driver.AlreadyExists},
		"has another":       {workspace.UpOptions{Ref: workspace.Ref{Dir: w.dir("c", "")}, NewID: "new"}, driver.AlreadyExists},
		"hostile":           {workspace.UpOptions{Ref: workspace.Ref{Dir: w.dir("h", "")}, NewID: "../x"}, driver.NameInvalid},
		"hostile reference": {workspace.UpOptions{Ref: workspace.Ref{ID: "-rf"}}, driver.NameInvalid},
		"unknown":           {workspace.UpOptions{Ref: workspace.Ref{ID: "nosuch"}}, driver.NotFound},
	} {
		_, err := w.Up(t.Context(), c.options, nil)
		if e := driver.AsError(err); driver.ReasonOf(err) != c.reason || len(e.Remedies) == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := len(w.List(t.Context())); n != 6 {
		t.Errorf("failures left something behind: %d workspaces", n)
	}
}

func TestResolveGoesUp(t *testing.T) {
	w := newWorld(t, fake.Script{})
	shop := w.dir("shop", "")
	w.upDir(shop)
	deep := w.dir("shop/web/src", "")
	if got := w.upDir(deep); got.ID != "shop" {
		t.Error(got.ID)
	}
	if got := w.upDir(w.dir("mono/pkg/a", "")); got.ID != "a" {
		t.Error(got.ID)
	}
	w.dir("repo", "{}")
	if got := w.upDir(w.dir("repo/x/y", "")); got.ID != "repo" || got.Directory != filepath.Join(w.root, "repo") {
		t.Error(got.ID)
	}
	w.dir("shop/admin", "{}")
	if got := w.upDir(w.dir("shop/admin/src", "")); got.ID != "admin" {
		t.Error("the nearest sero.json is not taken:", got.ID)
	}
	if got := w.up(workspace.UpOptions{Ref: workspace.Ref{Dir: deep}, NewID: "inner"}); got.ID != "inner" || got.Directory != deep {
		t.Error(got.ID, got.Directory)
	}
	link := filepath.Join(w.root, "link")
	if err := os.Symlink(shop, link); err != nil {
		t.Fatal(err)
	}
	if got := w.upDir(filepath.Join(link, "web")); got.ID != "shop" || got.Directory != shop {
		t.Error(got.ID, got.Directory)
	}
	if id, err := w.ID(workspace.Ref{Dir: filepath.Join(link, "web")}); err != nil || id != "shop" {
		t.Error(id, err)
	}
	_, err := w.Get(t.Context(), workspace.Ref{Dir: w.dir("fresh", "")})
	if e := wantReason(t, err, driver.NotFound); e.Remedies[0].Command[1] != "up" {
		t.Error(e.Remedies)
	}
}

func TestDirectoriesThatCannotBe(t *testing.T) {
	w := newWorld(t, fake.Script{})
	home := w.dir("home/me", "")
	file := filepath.Join(w.root, "file")
	w.write(file, "")
	pipe := filepath.Join(w.root, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	dangling := filepath.Join(w.root, "dangling")
	if err := os.Symlink("nowhere", dangling); err != nil {
		t.Fatal(err)
	}
	homeLink := filepath.Join(w.root, "home-link")
	if err := os.Symlink(home, homeLink); err != nil {
		t.Fatal(err)
	}
	newline, notText := w.dir("new\nline", ""), ""
	if runtime.GOOS == "linux" { // others allow only UTF-8 in names
		notText = w.dir("\xff", "")
	}
	unprintable := filepath.Join(w.root, "plain")
	if err := os.Symlink(newline, unprintable); err != nil {
		t.Fatal(err)
	}
	for dir, c := range map[string]struct {
		reason driver.Reason
		says   string
	}{
		newline:                               {driver.InvalidArgument, "control"},
		unprintable:                           {driver.InvalidArgument, "control"},
		"":                                    {driver.InvalidArgument, "no workspace"},
		"relative":                            {driver.InvalidArgument, "absolute"},
		"/a\x00b":                             {driver.InvalidArgument, `\x00`},
		"/" + strings.Repeat("a", 10_000):     {driver.InvalidArgument, "not a path"},
		filepath.Join(w.root, "missing"):      {driver.NotFound, "no directory"},
		file:                                  {driver.InvalidArgument, "is a file, not a directory"},
		filepath.Join(file, "below"):          {driver.InvalidArgument, "not a directory"},
		pipe:                                  {driver.InvalidArgument, "is a pipe"},
		dangling:                              {driver.NotFound, "no directory"},
		"/":                                   {driver.InvalidArgument, "too broad"},
		home:                                  {driver.InvalidArgument, "too broad"},
		homeLink:                              {driver.InvalidArgument, "too broad"},
		filepath.Dir(home):                    {driver.InvalidArgument, "too broad"},
		"/\x1b[31m" + strings.Repeat("b", 99): {driver.NotFound, `\x1b`},
	} {
		_, err := w.Up(t.Context(), workspace.UpOptions{Ref: workspace.Ref{Dir: dir}}, nil)
		e := driver.AsError(err)
		if driver.ReasonOf(err) != c.reason || !strings.Contains(e.Message, c.says) || len(e.Remedies) == 0 ||
			strings.ContainsAny(e.Message, "\x00\x1b\n") || len(e.Message) > 500 {
			t.Errorf("%.60q: %v", dir, err)
		}
	}
	if notText != "" {
		_, err := w.Up(t.Context(), workspace.UpOptions{Ref: workspace.Ref{Dir: notText}}, nil)
		wantReason(t, err, driver.InvalidArgument)
	}
	// Below the home is fine, also when the home has a sero.json.
	w.write(filepath.Join(home, "sero.json"), "{}")
	if got := w.upDir(w.dir("home/me/code", "")); got.ID != "code" {
		t.Error(got.ID)
	}
	if n := len(w.List(t.Context())); n != 1 {
		t.Errorf("%d workspaces", n)
	}
}

// TestDirectoryThatLeadsElsewhere: what may write above a workspace's directory
// puts a link in its place.
func TestDirectoryThatLeadsElsewhere(t *testing.T) {
	w := newWorld(t, fake.Script{})
	dir, private := w.dir("shop", ""), w.dir("private", "")
	w.upDir(dir)
	if _, _, err := w.Stop(t.Context(), workspace.Ref{ID: "shop"}, time.Second); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(dir), os.Symlink(private, dir)); err != nil {
		t.Fatal(err)
	}
	starts := w.box.Calls("StartSandbox")
	_, err := w.Up(t.Context(), workspace.UpOptions{Ref: workspace.Ref{ID: "shop"}}, nil)
	if e := wantReason(t, err, driver.NotFound); !strings.Contains(e.Message, "leads to") || len(e.Remedies) == 0 {
		t.Error(e)
	}
	_, err = w.Recreate(t.Context(), workspace.RecreateOptions{Ref: workspace.Ref{ID: "shop"}}, nil)
	wantReason(t, err, driver.NotFound)
	if w.box.Calls("StartSandbox") != starts {
		t.Error("its sandbox was started")
	}
	if _, _, err := w.Remove(t.Context(), workspace.Ref{ID: "shop"}); err != nil {
		t.Error(err)
	}
}

func TestBrokenConfigurationStopsUp(t *testing.T) {
	w := newWorld(t, fake.Script{})
	dir := w.dir("shop", "<<<<<<< HEAD\n{}")
	_, err := w.Up(t.Context(), workspace.UpOptions{Ref: workspace.Ref{Dir: dir}}, nil)
	if e := wantReason(t, err, driver.ConfigInvalid); !strings.Contains(e.Message, "sero.json:1:1:") {
		t.Error(e)
	}
	w.write(filepath.Join(dir, "sero.json"), `{"imagee": "x"}`)
	if got := w.upDir(dir); len(got.Warnings) != 1 || !strings.Contains(got.Warnings[0], `did you mean "image"?`) {
		t.Error(got.Warnings)
	}
}
