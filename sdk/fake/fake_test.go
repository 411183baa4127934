package fake_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/fake"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// running is a fake with one sandbox that runs.
func running(t *testing.T, script fake.Script) *fake.Driver {
	t.Helper()
	d := fake.New(script)
	t.Cleanup(d.Close)
	if _, err := d.Create(t.Context(), driver.SandboxSpec{ID: "sero-a", WorkspaceDir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Start(t.Context(), "sero-a"); err != nil {
		t.Fatal(err)
	}
	return d
}

func sh(ctx context.Context, d driver.Driver, script string, stdin io.Reader) (out, errs string, status driver.ExitStatus, err error) {
	var o, e bytes.Buffer
	status, err = d.Exec(ctx, driver.ExecSpec{SandboxID: "sero-a", Argv: []string{"sh", "-c", script}}, driver.ExecIO{Stdin: stdin, Stdout: &o, Stderr: &e})
	return o.String(), e.String(), status, err
}

func TestShell(t *testing.T) {
	d := running(t, fake.Script{})
	for _, c := range []struct {
		script, stdin, out, errs string
		code                     int
	}{
		{script: "echo a b; echo c", out: "a b\nc\n"},
		{script: "true && echo yes || echo no; false && echo yes || echo no", out: "yes\nno\n"},
		{script: "exit 7; echo no", code: 7},
		{script: "false", code: 1},
		{script: `x='a  b'; echo "$x" '$x' $x; y=$x; echo \$y"\$"`, out: "a  b $x a  b\n$y$\n"},
		{script: `printf '%s|' a '' "b c"; printf '\101\n%%'`, out: "a||b c|A\n%"},
		{script: "echo out; echo err >&2", out: "out\n", errs: "err\n"},
		{script: "echo err >&2 2>&1; echo x 2>&1 >&2", out: "x\n", errs: "err\n"},
		{script: "echo one >f; echo two >>f; cat f; cat <f", out: "one\ntwo\none\ntwo\n"},
		{script: "cat nothing", errs: "cat: nothing: No such file or directory\n", code: 1},
		{script: "cat; echo end", stdin: "in", out: "inend\n"},
		{script: "while read x; do echo [$x]; done", stdin: "a\nb\n", out: "[a]\n[b]\n"},
		{script: "wc -c; head -c 3 /dev/zero | x", stdin: "", code: 2, errs: "sh: syntax error near \"| x\"\n"},
		{script: "mkdir -p /d/e; cd /d/e; pwd; test -d /d/e && [ -e /d ] && echo ok", out: "/d/e\nok\n"},
		{script: "test -n '' || test -z '' && test a = a && test a != b && echo ok", out: "ok\n"},
		{script: "trap 'echo got; exit 3' TERM; kill -s TERM $$; echo no", out: "got\n", code: 3},
		{script: "trap '' TERM; kill $$; echo still", out: "still\n"},
		{script: "sleep 60 & kill $!; wait; echo waited", out: "waited\n"},
		{script: "false; echo $?; no-such; echo $?", out: "1\n127\n", errs: "sh: no-such: not found\n"},
		{script: "exec echo last; echo no", out: "last\n"},
		{script: "uname; id -u; command -v cat || echo no; command -v nothing || echo no", out: "Linux\n0\ncat\nno\n"},
		{script: "echo 'open", code: 2, errs: "sh: syntax error: unclosed quote\n"},
		{script: "fake-clock advance 1s", code: 1, errs: "fake-clock: fake-clock advance DURATION, with a manual clock\n"},
	} {
		out, errs, status, err := sh(t.Context(), d, c.script, strings.NewReader(c.stdin))
		if err != nil || out != c.out || errs != c.errs || status.Code != c.code || status.Signal != "" {
			t.Errorf("%s\n got %q, %q, %+v, %v\nwant %q, %q, %d", c.script, out, errs, status, err, c.out, c.errs, c.code)
		}
	}
}

func TestManualClock(t *testing.T) {
	d := running(t, fake.Script{Clock: "manual"})
	done := make(chan string, 1)
	go func() {
		out, _, _, _ := sh(t.Context(), d, "sleep 3600; echo an hour later", nil)
		done <- out
	}()
	for deadline := time.Now().Add(20 * time.Second); d.Clock().Waiting() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nobody waits for the clock")
		}
	}
	d.Clock().Advance(time.Hour - time.Second)
	if d.Clock().Waiting() != 1 {
		t.Error("it woke too early")
	}
	if _, errs, status, err := sh(t.Context(), d, "fake-clock advance 1s", nil); err != nil || status.Code != 0 {
		t.Errorf("advancing from a command: %v %s", err, errs)
	}
	if out := <-done; out != "an hour later\n" {
		t.Errorf("it said %q", out)
	}
	if now := d.Clock().Now(); !now.Equal(fake.Epoch.Add(time.Hour)) {
		t.Errorf("it is %s", now)
	}
}

// TestRules injects faults into calls (B7).
func TestRules(t *testing.T) {
	state := 99
	for _, c := range []struct {
		name string
		rule fake.Rule
		want []driver.Reason // of Get, call by call; empty: success
	}{
		{"error", fake.Rule{Call: "GetSandbox", Error: &fake.Failure{Reason: driver.EngineWedged}}, []driver.Reason{"ENGINE_WEDGED", "ENGINE_WEDGED"}},
		{"any call", fake.Rule{Call: "*", Error: &fake.Failure{Reason: driver.OutOfDisk}}, []driver.Reason{"OUT_OF_DISK"}},
		{"second call", fake.Rule{Call: "GetSandbox", Nth: 2, Times: 1, Error: &fake.Failure{Reason: driver.Corrupt}}, []driver.Reason{"", "CORRUPT", ""}},
		{"other sandbox", fake.Rule{Call: "GetSandbox", Sandbox: "sero-b", Error: &fake.Failure{Reason: driver.Corrupt}}, []driver.Reason{""}},
		{"hang", fake.Rule{Call: "GetSandbox", Hang: true, Times: 1}, []driver.Reason{"TIMEOUT", ""}},
		{"delay", fake.Rule{Call: "GetSandbox", Delay: fake.Duration(time.Minute), Times: 1}, []driver.Reason{"TIMEOUT", ""}},
		{"crash before", fake.Rule{Call: "GetSandbox", Crash: "before"}, []driver.Reason{"DRIVER_CRASHED", "DRIVER_CRASHED"}},
		{"crash after", fake.Rule{Call: "GetSandbox", Crash: "after"}, []driver.Reason{"", "DRIVER_CRASHED"}},
		{"future state", fake.Rule{Call: "GetSandbox", State: &state}, []driver.Reason{""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := running(t, fake.Script{})
				settings, err := json.Marshal(fake.Script{Rules: []fake.Rule{c.rule}})
				if err != nil {
					t.Fatal(err)
				}
				before, _ := d.List(t.Context(), nil)
				if err := d.Configure(t.Context(), settings, false); err != nil {
					t.Fatal(err)
				}
				for i, want := range c.want {
					ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, context.DeadlineExceeded)
					sb, err := d.Get(ctx, "sero-a")
					cancel()
					if got := driver.ReasonOf(err); got != want {
						t.Errorf("call %d: %s (%v), want %q", i+1, got, err, want)
					}
					if c.rule.State != nil && sb.State != driver.SandboxState(state) {
						t.Errorf("the state is %d", sb.State)
					}
				}
				if len(before) != 1 {
					t.Errorf("there were %d sandboxes", len(before))
				}
			})
		})
	}
}

func TestDroppedStream(t *testing.T) {
	drop := int64(5)
	d := running(t, fake.Script{Rules: []fake.Rule{{Call: "Exec", Times: 1, Drop: &drop}}})
	out, _, _, err := sh(t.Context(), d, "echo 123456789; sleep 60", nil)
	if out != "12345" || driver.ReasonOf(err) != driver.DriverCrashed {
		t.Errorf("the output is %q, the error %v", out, err)
	}
	if out, _, _, err := sh(t.Context(), d, "echo again", nil); out != "again\n" || err != nil {
		t.Errorf("then the output is %q, the error %v", out, err)
	}
}

func TestProgressScript(t *testing.T) {
	want := []driver.Progress{{Phase: "pull", Current: 1, Total: 9}, {Phase: "unpack"}}
	d := fake.New(fake.Script{Remote: []string{"r/x:1"}, Rules: []fake.Rule{{Call: "EnsureImage", Progress: want}}})
	var got []driver.Progress
	image, err := d.EnsureImage(t.Context(), "r/x:1", driver.PullMissing, func(p driver.Progress) { got = append(got, p) })
	if err != nil || image.Reference != "r/x:1" || !slices.Equal(got, want) {
		t.Errorf("%+v, %v, progress %v", image, err, got)
	}
	if _, err := d.EnsureImage(t.Context(), "r/y:1", driver.PullMissing, nil); driver.ReasonOf(err) != driver.ImageNotFound {
		t.Errorf("an image from nowhere: %v", err)
	}
}

func TestHealthScript(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := fake.New(fake.Script{Health: []fake.HealthStep{
			{State: "stopped", Reason: driver.EngineNotRunning, Message: "it is off"},
			{State: "77", After: fake.Duration(time.Second)},
			{State: "stopped", After: fake.Duration(time.Second)},
		}})
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, errors.New("enough"))
		defer cancel()
		var states []driver.HealthState
		began := time.Now()
		err := d.Health(ctx, func(h driver.Health) error {
			states = append(states, h.State)
			if len(states) == 3 {
				go func() { _ = d.StartSystem(ctx, func(driver.Progress) {}) }()
			}
			return nil
		})
		if want := []driver.HealthState{driver.HealthStopped, 77, driver.HealthStopped, driver.HealthReady}; !slices.Equal(states, want) {
			t.Errorf("states %v, want %v (%v)", states, want, err)
		}
		if time.Since(began) != time.Minute {
			t.Errorf("the stream ended after %s", time.Since(began))
		}
	})
}

func TestCapabilitiesFollowTheScript(t *testing.T) {
	d := fake.New(fake.Script{Without: []driver.Capability{driver.CapStats}})
	if _, err := driver.StatsReaderOf(d); driver.ReasonOf(err) != driver.Unsupported {
		t.Errorf("stats: %v", err)
	}
	if _, err := driver.CopierOf(d); err != nil {
		t.Errorf("copy: %v", err)
	}
	only := fake.New(fake.Script{Capabilities: []driver.Capability{driver.CapExec, "x-acme.com/gpu@1"}})
	if got := driver.Capabilities(only); len(got) != 2 || got[1] != "x-acme.com/gpu@1" {
		t.Errorf("capabilities %v", got)
	}
	if _, err := only.Create(t.Context(), driver.SandboxSpec{ID: "sero-a", Resources: driver.Resources{CPUs: 1}}); driver.ReasonOf(err) != driver.Unsupported {
		t.Errorf("a limit: %v", err)
	}
}

func TestSettingsAreChecked(t *testing.T) {
	d := fake.New(fake.Script{})
	for settings, field := range map[string]string{
		`{"no-such-setting": 1}`:                        "no-such-setting",
		`{"clock": "sundial"}`:                          "clock",
		`{"clock": 3}`:                                  "clock",
		`{"isolation": "perfect"}`:                      "isolation",
		`{"health": [{"state": "dizzy"}]}`:              "health[0].state",
		`{"faults": ["seven-bits", "made-up"]}`:         "faults[1]",
		`{"rules": [{"call": "Exec"}, {}]}`:             "rules[1].call",
		`{"rules": [{"call": "Exec", "crash": "now"}]}`: "rules[0].crash",
		`{`: "settings",
	} {
		err := d.Configure(t.Context(), []byte(settings), true)
		if e := driver.AsError(err); e == nil || e.Reason != driver.ConfigInvalid || e.Field != field || len(e.Remedies) == 0 {
			t.Errorf("%s: %+v, want the field %s", settings, e, field)
		}
	}
	if !json.Valid([]byte(d.Schema())) {
		t.Error("the schema is no JSON")
	}
}

func TestListeners(t *testing.T) {
	d := running(t, fake.Script{})
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	sets := make(chan []driver.Listener)
	watching := make(chan error, 1)
	go func() {
		watching <- d.Listeners(ctx, "sero-a", func(ls []driver.Listener) error { sets <- ls; return nil })
	}()
	if first := <-sets; len(first) != 0 {
		t.Errorf("at first: %v", first)
	}
	server, stop := context.WithCancelCause(ctx)
	go func() {
		_, _ = d.Exec(server, driver.ExecSpec{SandboxID: "sero-a", ExecID: "dev", Argv: []string{"listen", "-a", "127.0.0.1", "3000"}}, driver.ExecIO{})
	}()
	if set := <-sets; len(set) != 1 || set[0].Port != 3000 || set[0].Address != "127.0.0.1" || set[0].ExecID != "dev" {
		t.Errorf("then: %v", set)
	}
	if _, errs, status, _ := sh(ctx, d, "listen 3000", nil); status.Code == 0 || !strings.Contains(errs, "in use") {
		t.Errorf("listening twice: %+v %s", status, errs)
	}
	stop(errors.New("enough"))
	if set := <-sets; len(set) != 0 {
		t.Errorf("at last: %v", set)
	}
	cancel(errors.New("enough"))
	if err := <-watching; err == nil {
		t.Error("the watch ended with success")
	}
}

func TestCrashWord(t *testing.T) {
	d := running(t, fake.Script{})
	_, _, status, err := sh(t.Context(), d, "fake-crash", nil)
	if err == nil && status.ShellCode() == 0 {
		t.Error("the command succeeded")
	}
	if _, err := d.Get(t.Context(), "sero-a"); driver.ReasonOf(err) != driver.DriverCrashed {
		t.Errorf("Get: %v", err)
	}
}
