package registry_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/core/negotiate"
	"github.com/sero-labs/sero-runtime/core/registry"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// Each driver that cannot be used is one line with what to do; the rest works.
func TestB2MisbehaversDoNotStopTheOthers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "drivers")
	want := map[string]struct {
		reason driver.Reason // empty: usable
		text   string
	}{
		"wire-2":      {driver.DriverIncompatible, "speaks driver protocol 2, this sero speaks 1"},
		"wants-99":    {driver.DriverIncompatible, "version 1.2.3 needs sero >= 99, and this is sero 0.1.0-dev"},
		"garbage":     {driver.DriverFailed, "hello, I am a chatty driver"},
		"hang":        {driver.DriverFailed, "did not start within"},
		"exit":        {driver.DriverFailed, "no engine in sight"},
		"no-exec":     {driver.DriverFailed, "is not executable"},
		"no-health":   {driver.Timeout, "has not told its health"},
		"unwell":      {driver.EngineWedged, "the engine sleeps"},
		"future":      {driver.Internal, "a state that this sero does not know"},
		"stderr-json": {},
		"flood":       {},
		"good":        {},
	}
	for name := range want {
		install(t, dir, name, name)
	}
	if err := os.Chmod(filepath.Join(dir, registry.Prefix+"no-exec"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := open(t, registry.Config{UserDir: dir, StartTimeout: 1500 * time.Millisecond, HealthWait: 4 * time.Second})
	offers := r.Offers(t.Context())
	if len(offers) != len(want) {
		t.Fatalf("%d offers: %+v", len(offers), offers)
	}
	for _, o := range offers {
		t.Run(o.Name, func(t *testing.T) {
			why := negotiate.Unusable(o)
			if want[o.Name].reason == "" {
				if why != nil {
					t.Fatal(why)
				}
				if status, err := get(t, r, o.Name).Exec(t.Context(), driver.ExecSpec{SandboxID: "a", Argv: []string{"flood"}}, driver.ExecIO{}); err != nil || status.Code != 3 {
					t.Fatal(status, err)
				}
				return
			}
			if why == nil || why.Reason != want[o.Name].reason || !strings.Contains(why.Message, want[o.Name].text) || why.Driver != o.Name {
				t.Fatalf("got %v (%s)", why, driver.ReasonOf(why))
			}
			if strings.ContainsAny(why.Error(), "\n\x1b") {
				t.Errorf("not one line: %q", why)
			}
			if len(why.Remedies) == 0 && o.Name != "future" {
				t.Errorf("nothing to do about %v", why)
			}
		})
	}
	if e := entry(t, r, "no-health"); e.State != registry.StateRunning || e.Usable() || e.Health.Message == "" || len(e.Health.Remedies) == 0 {
		t.Errorf("%+v", e)
	}
	if e := entry(t, r, "wants-99"); e.State != registry.StateUnusable || e.PID != 0 || e.Usable() || e.Handshake.Info.Version != "1.2.3" {
		t.Errorf("%+v", e)
	}
	if e := entry(t, r, "good"); e.State != registry.StateRunning || e.PID == 0 || !e.Usable() || e.Handshake.Info.Version != "1.2.3" {
		t.Errorf("%+v", e)
	}
}

func TestWedgedDriverDelaysNobody(t *testing.T) {
	r := open(t, registry.Config{
		Bundled:    []registry.Bundled{bundled(t, "hang", "hang"), bundled(t, "good", "good")},
		HealthWait: time.Second, StartTimeout: time.Minute,
	})
	if state := entry(t, r, "hang").State; state != registry.StateIdle {
		t.Errorf("before anybody asked: %s", state)
	}
	start := time.Now()
	offers := r.Offers(t.Context())
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("took %s", took)
	}
	if offers[0].Name != "good" || offers[0].Problem != nil || offers[1].Problem == nil || offers[1].Problem.Reason != driver.Timeout {
		t.Errorf("%+v", offers)
	}
	if e := entry(t, r, "hang"); e.State != registry.StateStarting || e.Problem == nil || !strings.Contains(e.Problem.Message, "has not answered yet") || len(e.Problem.Remedies) == 0 {
		t.Errorf("%+v", e)
	}
	if _, ok := r.Started("hang"); ok {
		t.Error("a driver that hangs has started")
	}
}

func TestMendedDriverIsTriedAgain(t *testing.T) {
	dir := t.TempDir()
	path := install(t, dir, "toy", "good")
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	r := open(t, registry.Config{UserDir: dir, Policy: registry.Policy{MinDelay: time.Hour, MaxDelay: time.Hour}})
	for range 2 {
		if _, err := r.Driver(t.Context(), "toy"); driver.ReasonOf(err) != driver.DriverFailed {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(path, 0o700); err != nil {
		t.Fatal(err)
	}
	get(t, r, "toy")
}

func TestDiscovery(t *testing.T) {
	base := t.TempDir()
	pathDir, userDir, beside := filepath.Join(base, "path"), filepath.Join(base, "user"), filepath.Join(base, "beside")
	install(t, pathDir, "one", "good")
	install(t, userDir, "one", "exit")
	two := install(t, userDir, "two", "good")
	install(t, beside, "two", "exit")
	install(t, beside, "docker", "good")
	for _, hostile := range []string{"Evil", "..", "a b", "x.sha256", "-rf", strings.Repeat("x", 33), "é"} {
		if err := os.WriteFile(filepath.Join(userDir, registry.Prefix+hostile), nil, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	r := open(t, registry.Config{
		Path: []string{"relative", filepath.Join(base, "absent"), pathDir}, UserDir: userDir, Beside: beside,
		Bundled: []registry.Bundled{bundled(t, "docker", "exit"), bundled(t, "host", "host"), bundled(t, "../x", "good")},
	})
	var names []string
	for _, e := range r.Entries() {
		names = append(names, e.Name)
	}
	if got := strings.Join(names, " "); got != "docker one two host" {
		t.Fatalf("found %s", got)
	}
	for name, want := range map[string]struct {
		origin          registry.Origin
		path, overrides string
	}{
		"one":    {registry.OriginPath, filepath.Join(pathDir, "sero-driver-one"), filepath.Join(userDir, "sero-driver-one")},
		"two":    {registry.OriginUser, two, filepath.Join(beside, "sero-driver-two")},
		"docker": {registry.OriginBeside, filepath.Join(beside, "sero-driver-docker"), "bundled"},
		"host":   {registry.OriginBundled, "", ""},
	} {
		if e := entry(t, r, name); e.Origin != want.origin || e.Path != want.path || e.Overrides != want.overrides {
			t.Errorf("%s: %+v", name, e)
		}
	}
	get(t, r, "one")
	get(t, r, "two")

	install(t, userDir, "later", "good")
	get(t, r, "later")
	if err := os.Remove(two); err != nil {
		t.Fatal(err)
	}
	r.Rescan()
	get(t, r, "two") // it runs already
	_, err := r.Driver(t.Context(), "lated")
	if driver.ReasonOf(err) != driver.DriverNotFound || !strings.Contains(err.Error(), "did you mean later?") {
		t.Error(err)
	}
}

func TestB9OnlyTrustedFilesRun(t *testing.T) {
	tests := map[string]struct {
		change func(t *testing.T, dir, path string)
		reason driver.Reason
		text   string
	}{
		"file writable by others":      {func(t *testing.T, _, path string) { chmod(t, path, 0o722) }, driver.DriverUntrusted, "can be written by other users"},
		"file writable by the group":   {func(t *testing.T, _, path string) { chmod(t, path, 0o770) }, driver.DriverUntrusted, "can be written by other users"},
		"directory writable by others": {func(t *testing.T, dir, _ string) { chmod(t, dir, 0o777) }, driver.DriverUntrusted, "can be written by other users"},
		"sticky directory":             {func(t *testing.T, dir, _ string) { chmod(t, dir, 0o777|os.ModeSticky) }, driver.DriverUntrusted, "can be written by other users"},
		"link into an open directory": {func(t *testing.T, dir, path string) {
			open := filepath.Join(dir, "open")
			target := install(t, open, "real", "good")
			chmod(t, open, 0o777)
			link(t, target, path)
		}, driver.DriverUntrusted, "open can be written by other users"},
		"link to a directory": {func(t *testing.T, dir, path string) { link(t, dir, path) }, driver.DriverUntrusted, "not a regular file"},
		"link to nothing":     {func(t *testing.T, dir, path string) { link(t, filepath.Join(dir, "gone"), path) }, driver.DriverFailed, "cannot be found"},
		"link to a good place": {func(t *testing.T, dir, path string) {
			link(t, install(t, filepath.Join(dir, "good"), "real", "good toy #"), path)
		}, "", ""},
		"named pipe": {func(t *testing.T, _, path string) {
			if err := errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o700)); err != nil {
				t.Fatal(err)
			}
		}, driver.DriverUntrusted, "not a regular file"},
		"another user's": {func(t *testing.T, _, path string) {
			if err := os.Chown(path, 12345, -1); err != nil {
				t.Log("only root can give a file away; nothing to see here")
				chmod(t, path, 0o722)
			}
		}, driver.DriverUntrusted, "other"},
		"untouched": {func(*testing.T, string, string) {}, "", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "drivers")
			path := install(t, dir, "toy", "good")
			test.change(t, dir, path)
			r := open(t, registry.Config{UserDir: dir})
			shown := entry(t, r, "toy").Problem
			_, err := r.Driver(t.Context(), "toy")
			if driver.ReasonOf(err) != test.reason {
				t.Fatalf("%v (%s)", err, driver.ReasonOf(err))
			}
			if test.reason == "" {
				return
			}
			if shown == nil || shown.Reason != test.reason {
				t.Errorf("before it is started, the entry shows %v", shown)
			}
			if e := driver.AsError(err); !strings.Contains(e.Message, test.text) || len(e.Remedies) == 0 || e.Driver != "toy" {
				t.Errorf("%#v", e)
			}
		})
	}
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, target, path string) {
	t.Helper()
	if err := errors.Join(os.Remove(path), os.Symlink(target, path)); err != nil {
		t.Fatal(err)
	}
}

func TestB9Pin(t *testing.T) {
	dir := t.TempDir()
	path := install(t, dir, "toy", "good")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(text)
	pin := hex.EncodeToString(sum[:])
	r := open(t, registry.Config{UserDir: dir, Pins: map[string]string{"toy": pin}})
	get(t, r, "toy")

	if err := os.WriteFile(path, append(text, "# changed\n"...), 0o700); err != nil {
		t.Fatal(err)
	}
	r = open(t, registry.Config{UserDir: dir, Pins: map[string]string{"toy": pin}})
	_, err = r.Driver(t.Context(), "toy")
	changed := sha256.Sum256(append(text, "# changed\n"...))
	if driver.ReasonOf(err) != driver.DriverUntrusted || !strings.Contains(err.Error(), pin) || !strings.Contains(err.Error(), hex.EncodeToString(changed[:])) {
		t.Error(err)
	}
}

func TestSettings(t *testing.T) {
	r := open(t, registry.Config{
		Bundled:  []registry.Bundled{bundled(t, "toy", "good")},
		Settings: map[string][]byte{"toy": []byte(`{"bad":true}`)},
	})
	_, err := r.Driver(t.Context(), "toy")
	if e := driver.AsError(err); e == nil || e.Reason != driver.ConfigInvalid || e.Field != "bad" || e.Driver != "toy" {
		t.Errorf("%#v", e)
	}
}

func TestB5ChooseStartsOnlyWhatItNeeds(t *testing.T) {
	r := open(t, registry.Config{Bundled: []registry.Bundled{
		bundled(t, "host", "host"), bundled(t, "fake", "good"), bundled(t, "docker", "unwell"),
	}})
	choice, err := r.Choose(t.Context(), negotiate.Request{Mode: negotiate.ModeHost})
	if err != nil || choice.Actual != "host" || entry(t, r, "docker").PID != 0 {
		t.Fatalf("%+v, %v", choice, err)
	}
	choice, err = r.Choose(t.Context(), negotiate.Request{})
	if err != nil || choice.Actual != "host" || !choice.HostMode || !strings.Contains(choice.Reason, "docker: the engine sleeps") || choice.Remedies[0].Text != "wake it" {
		t.Fatalf("%+v, %v", choice, err)
	}
	if entry(t, r, "fake").PID != 0 {
		t.Error("the fake was started for nothing")
	}
	if choice, err = r.Choose(t.Context(), negotiate.Request{Driver: "fake"}); err != nil || choice.Actual != "fake" {
		t.Fatalf("%+v, %v", choice, err)
	}
	if _, err = r.Choose(t.Context(), negotiate.Request{Driver: "dockr"}); driver.ReasonOf(err) != driver.DriverNotFound || !strings.Contains(err.Error(), "did you mean docker?") {
		t.Error(err)
	}
}

// TestA10TheFakeIsNotOffered asks for every driver, and for one whose name is
// nearly that of the driver for tests.
func TestA10TheFakeIsNotOffered(t *testing.T) {
	for _, shown := range []string{"", "0", "true", "1"} {
		t.Setenv(negotiate.FakeVariable, shown)
		r := open(t, registry.Config{Bundled: []registry.Bundled{bundled(t, "host", "host"), bundled(t, "fake", "good")}})
		offered := slices.ContainsFunc(r.Offers(t.Context()), func(o negotiate.Offer) bool { return o.Name == "fake" })
		started := entry(t, r, "fake").PID != 0
		_, chosen := r.Choose(t.Context(), negotiate.Request{Driver: "fakr"})
		_, got := r.Driver(t.Context(), "faek")
		suggested := strings.Contains(chosen.Error(), "mean fake") || strings.Contains(got.Error(), "mean fake")
		if want := shown == "1"; offered != want || started != want || suggested != want {
			t.Errorf("%s=%q: offered %t, started %t, suggested %t", negotiate.FakeVariable, shown, offered, started, suggested)
		}
		if offers := r.Offers(t.Context(), "fake"); len(offers) != 1 || entry(t, r, "fake").PID == 0 {
			t.Errorf("named it is not offered: %+v", offers)
		}
	}
}

func TestSweep(t *testing.T) {
	dir, err := os.MkdirTemp("", "sr") //nolint:usetesting // short: sockets live below it
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	at := func(name string) string { return filepath.Join(dir, "d", name) }
	for _, name := range []string{"plugin-dir1", "plugin-dir2", "plugin-dir3", "plugin-dir4", "other"} {
		if err := os.MkdirAll(at(name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	old := time.Now().Add(-time.Hour)
	if err := errors.Join(os.Chtimes(at("plugin-dir3"), old, old), os.Chtimes(at("other"), old, old)); err != nil {
		t.Fatal(err)
	}
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: at("plugin-dir1/p"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	_ = dead.Close()
	alive, err := net.ListenUnix("unix", &net.UnixAddr{Name: at("plugin-dir2/p"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = alive.Close() }()
	r := registry.New(registry.Config{RunDir: dir, HostVersion: "0.1.0"})
	defer func() { _ = r.Close(t.Context()) }()
	for name, stays := range map[string]bool{"plugin-dir1": false, "plugin-dir2": true, "plugin-dir3": false, "plugin-dir4": true, "other": true} {
		if _, err := os.Stat(at(name)); (err == nil) != stays {
			t.Errorf("%s: %v", name, err)
		}
	}
}
