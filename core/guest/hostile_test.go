package guest_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sero-labs/sero-runtime/core/guest"
	"github.com/sero-labs/sero-runtime/core/guest/frame"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// fakeHelper is a driver in whose sandboxes somebody has replaced the helper.
// Every other command ends with code 42.
type fakeHelper struct {
	driver.Driver
	run func(in io.Reader, out io.Writer)
}

func (fakeHelper) Info() driver.Info { return driver.Info{Name: "hostile"} }

func (d fakeHelper) Exec(ctx context.Context, spec driver.ExecSpec, stdio driver.ExecIO) (driver.ExitStatus, error) {
	if !strings.HasPrefix(spec.Argv[0], guest.MountTarget) {
		return driver.ExitStatus{Code: 42}, nil
	}
	in, feed := io.Pipe()
	go func() {
		_, _ = io.Copy(feed, stdio.Stdin)
		_ = feed.Close()
	}()
	d.run(in, stdio.Stdout)
	_ = in.Close()
	return driver.ExitStatus{Code: 3}, nil
}

func say(out io.Writer, frames ...*frame.Frame) bool {
	for _, f := range frames {
		if _, err := out.Write(frame.Append(nil, f)); err != nil {
			return false
		}
	}
	return true
}

var hello = &frame.Frame{Hello: &frame.Hello{Version: frame.Version, Build: "fake\x1b[31m\nline"}}

// A helper that was replaced hurts nobody but its own sandbox: commands go
// another way, or fail, and nothing hangs.
func TestHostileHelper(t *testing.T) {
	data := &frame.Frame{Stream: 1, Data: make([]byte, frame.MaxData)}
	for name, c := range map[string]struct {
		run   func(in io.Reader, out io.Writer)
		plain bool // the command goes the plain way
	}{
		"garbage":    {func(_ io.Reader, out io.Writer) { _, _ = io.WriteString(out, "Segmentation fault\n") }, true},
		"ends":       {func(io.Reader, io.Writer) {}, true},
		"long frame": {func(_ io.Reader, out io.Writer) { _ = binary.Write(out, binary.BigEndian, uint32(1<<31)) }, true},
		"new version": {func(in io.Reader, out io.Writer) {
			say(out, &frame.Frame{Hello: &frame.Hello{Version: 99}})
			_, _ = io.Copy(io.Discard, in)
		}, true},
		"overruns the window": {func(in io.Reader, out io.Writer) {
			say(out, hello)
			awaitOpen(in)
			for say(out, &frame.Frame{Stream: 1, Started: &frame.Started{}}, data) {
			}
		}, false},
		"floods with control frames": {func(in io.Reader, out io.Writer) {
			say(out, hello)
			awaitOpen(in)
			for say(out, &frame.Frame{Stream: 1, Error: &frame.Error{Reason: "FOREIGN_RESOURCE", Message: strings.Repeat("x", 1<<16)}}, &frame.Frame{Stream: 1 << 60, Accepted: 1}, hello) {
			}
		}, false},
		"opens streams": {func(_ io.Reader, out io.Writer) {
			say(out, hello, &frame.Frame{Stream: 2, Open: &frame.Open{Clock: true}})
		}, false},
		"hangs up": {func(in io.Reader, out io.Writer) {
			say(out, hello)
			_, _ = io.ReadFull(in, make([]byte, 60))
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			g := guestOf(t, "hostile", byDriver, fakeHelper{run: c.run})
			ctx, cancel := context.WithTimeoutCause(t.Context(), 20*time.Second, io.ErrNoProgress)
			defer cancel()
			writer := slowWriter{ctx}
			status, err := g.Exec(ctx, driver.ExecSpec{Argv: []string{"true"}, Dir: "/", ExecID: "x"}, driver.ExecIO{Stdout: writer})
			switch {
			case ctx.Err() != nil:
				t.Error("the command hung")
			case c.plain && (err != nil || status.Code != 42):
				t.Errorf("the plain way was not taken: %+v, %v", status, err)
			case !c.plain && err == nil && status.Code != 42:
				t.Errorf("the command ended well: %+v", status)
			case driver.ReasonOf(err) == driver.ForeignResource:
				t.Error("the helper's reason was believed")
			}
			if s := g.Status(); strings.ContainsAny(s, "\x1b\n") {
				t.Errorf("the status is %q", s)
			}
		})
	}
}

// slowWriter takes nothing while the test waits for the window to overrun.
type slowWriter struct{ ctx context.Context }

func (w slowWriter) Write(b []byte) (int, error) {
	select {
	case <-w.ctx.Done():
	case <-time.After(200 * time.Millisecond):
	}
	return len(b), nil
}

// A command whose output nobody takes ends like any other.
func TestB41BlockedOutputKeepsNothingAlive(t *testing.T) {
	for _, by := range []way{bySocket, byDriver} {
		t.Run(string(by), func(t *testing.T) {
			g := inContainer(t, by)
			ctx, cancel := context.WithCancelCause(t.Context())
			taken, release := make(chan bool, 1), make(chan struct{})
			ended := make(chan error, 1)
			go func() {
				_, err := g.Exec(ctx, driver.ExecSpec{Argv: []string{"yes", "5011"}, Dir: "/", ExecID: "yes", KillGrace: 100 * time.Millisecond},
					driver.ExecIO{Stdout: writerFunc(func([]byte) {
						select {
						case taken <- true:
						default:
						}
						<-release
					})})
				ended <- err
			}()
			<-taken
			cancel(nil)
			eventually(t, "the command has ended", func() bool {
				out, _, _ := run(t, g, "sh", "-c", "pgrep -x yes || true")
				return strings.TrimSpace(out) == ""
			})
			close(release)
			if err := <-ended; driver.ReasonOf(err) != driver.Canceled {
				t.Errorf("the end was %v", err)
			}
		})
	}
}

// A helper that is killed takes its commands along, and the next one works.
func TestKilledHelper(t *testing.T) {
	g := inContainer(t, bySocket)
	_, err := g.Exec(t.Context(), driver.ExecSpec{Argv: []string{"sleep", "5005"}, Dir: "/", ExecID: "a"}, driver.ExecIO{
		Started: func(int64) {
			go func() {
				_, _ = g.Exec(t.Context(), driver.ExecSpec{Argv: []string{"pkill", "-KILL", "-f", "^sero-guest host"}, Dir: "/", ExecID: "b"}, driver.ExecIO{})
			}()
		},
	})
	if e := driver.AsError(err); e == nil || !e.Retryable {
		t.Errorf("the command of a killed helper: %v", err)
	}
	eventually(t, "what the helper ran has ended", func() bool {
		out, _, _ := run(t, g, "sh", "-c", `pgrep -x sleep | while read -r p; do tr '\0' ' ' <"/proc/$p/cmdline"; echo; done`)
		return !strings.Contains(out, "5005")
	})
}

// A kept command outlives the core that started it, with its output.
func TestB40KeptCommandsOutliveTheCore(t *testing.T) {
	id, engine := container(t, true)
	first := guestOf(t, id, bySocket, dockerExec{engine: engine})
	ctx, leave := context.WithCancelCause(t.Context())
	var seen bytes.Buffer
	_, err := first.ExecKept(ctx, driver.ExecSpec{Argv: []string{"sh", "-c", `echo I am $$; read -r line; echo "it was $line"; exit 9`}, Dir: "/", ExecID: "kept"},
		guest.Keep{Bytes: 1 << 16, Label: "a label"}, driver.ExecIO{Stdin: blocked{t.Context()}, Stdout: writerFunc(func(b []byte) {
			seen.Write(b)
			leave(nil)
		})})
	if driver.ReasonOf(err) != driver.Canceled {
		t.Fatalf("leaving: %v", err)
	}
	first.Close()

	second := guestOf(t, id, bySocket, dockerExec{engine: engine})
	list, err := second.Sessions(t.Context())
	if err != nil || len(list) != 1 || list[0].ExecID != "kept" || list[0].Label != "a label" || list[0].Ended {
		t.Fatalf("the sessions are %+v, %v", list, err)
	}
	var out bytes.Buffer
	status, err := second.Attach(t.Context(), "kept", nil, driver.ExecIO{Stdin: strings.NewReader("seen again\n"), Stdout: &out})
	if err != nil || status.Code != 9 || out.String() != seen.String()+"it was seen again\n" {
		t.Errorf("%q after %q, %+v, %v", out.String(), seen.String(), status, err)
	}
	eventually(t, "what has ended, and was seen to, is forgotten", func() bool {
		list, err := second.Sessions(t.Context())
		return err == nil && len(list) == 0
	})
	if err := second.EndSession(t.Context(), "kept"); driver.ReasonOf(err) != driver.NotFound {
		t.Errorf("ending what has ended: %v", err)
	}
}

// blocked is input that does not come.
type blocked struct{ ctx context.Context }

func (b blocked) Read([]byte) (int, error) {
	<-b.ctx.Done()
	return 0, io.EOF
}

type writerFunc func([]byte)

func (f writerFunc) Write(b []byte) (int, error) {
	f(b)
	return len(b), nil
}

// What a replaced helper answers is bounded, in number and in how often it is
// heard.
func TestHostileAnswers(t *testing.T) {
	many := &frame.Sessions{Sessions: make([]frame.Session, 300)}
	t.Run("sessions without end", func(t *testing.T) {
		g := guestOf(t, "hostile", byDriver, fakeHelper{run: func(in io.Reader, out io.Writer) {
			say(out, hello)
			awaitOpen(in)
			go func() { _, _ = io.Copy(io.Discard, in) }()
			for say(out, &frame.Frame{Stream: 1, Sessions: many}) {
				time.Sleep(time.Millisecond) // no flood, which would end the connection
			}
		}})
		ctx, cancel := context.WithTimeoutCause(t.Context(), 5*time.Second, io.ErrNoProgress)
		defer cancel()
		if list, err := g.Sessions(ctx); err != nil || len(list) != 256 {
			t.Errorf("%d sessions, %v", len(list), err)
		}
	})
	t.Run("listeners that change all the time", func(t *testing.T) {
		const sets = 500
		g := guestOf(t, "hostile", byDriver, fakeHelper{run: func(in io.Reader, out io.Writer) {
			say(out, hello)
			awaitOpen(in)
			for port := range uint32(sets) {
				say(out, &frame.Frame{Stream: 1, Listeners: &frame.Listeners{Listeners: []frame.Listener{{Address: "::", Port: port + 1}}}})
				time.Sleep(time.Millisecond)
			}
			_, _ = io.Copy(io.Discard, in)
		}})
		enough, reports := errors.New("the last one came"), 0
		err := g.Listeners(t.Context(), func(set []driver.Listener) error {
			if reports++; len(set) == 1 && set[0].Port == sets {
				return enough
			}
			return nil
		})
		if !errors.Is(err, enough) || reports > sets/4 {
			t.Errorf("%d sets were passed on, %v", reports, err)
		}
	})
	t.Run("the name of a process", func(t *testing.T) {
		g := guestOf(t, "hostile", plain, listing{text: "LISTEN 0 1 127.0.0.1:80 0.0.0.0:* users:((\"a\x1b[31m\u009b\u202e\xffb\",pid=7,fd=3))\nexec 7 id\x1b[31m\u2066\n.\n"})
		var set []driver.Listener
		_ = g.Listeners(t.Context(), func(now []driver.Listener) error { set = now; return io.EOF })
		if len(set) != 1 || !fit(set[0].Command+set[0].ExecID) || !strings.Contains(set[0].Command, "b") {
			t.Errorf("it is %q", fmt.Sprint(set))
		}
	})
}

// evil is a text that steers terminals, ends lines and turns around what is read.
const evil = "\x1b]0;title\x07\x1b[2J\r\nsecond line\u009b31m\u202etxt.exe\u2066\u2028\x00\xff end"

// fit tells whether a text is one line that can be shown.
func fit(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool {
		return unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control, unicode.Zl, unicode.Zp)
	})
}

// Every text that a replaced helper sends is cleaned before anybody sees it.
func TestHostileTexts(t *testing.T) {
	answers := new(frame.Frame)
	g := guestOf(t, "hostile", byDriver, fakeHelper{run: func(in io.Reader, out io.Writer) {
		say(out, &frame.Frame{Hello: &frame.Hello{Version: frame.Version, Build: evil}})
		for stream := awaitOpen(in); stream != 0; stream = awaitOpen(in) {
			answer := *answers
			answer.Stream = stream
			say(out, &answer)
		}
	}})
	texts := map[string]string{}
	*answers = frame.Frame{Sessions: &frame.Sessions{Sessions: []frame.Session{{ExecID: evil, Label: evil}}}}
	if list, err := g.Sessions(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("%+v, %v", list, err)
	} else {
		texts["a session's id"], texts["a session's label"] = list[0].ExecID, list[0].Label
	}
	*answers = frame.Frame{Listeners: &frame.Listeners{Listeners: []frame.Listener{{Address: "127.0.0.1", Port: 80, Command: evil, ExecID: evil}}}}
	_ = g.Listeners(t.Context(), func(set []driver.Listener) error {
		if len(set) == 1 {
			texts["a listener's command"], texts["a listener's exec id"] = set[0].Command, set[0].ExecID
		}
		return io.EOF
	})
	*answers = frame.Frame{Error: &frame.Error{Reason: evil, Message: evil, Resource: evil, Field: evil}}
	_, err := g.Exec(t.Context(), driver.ExecSpec{Argv: []string{"true"}, Dir: "/", ExecID: "x"}, driver.ExecIO{})
	if e := driver.AsError(err); e == nil {
		t.Error("no error")
	} else {
		texts["an error"], texts["its resource"], texts["its field"], texts["its reason"] = e.Error(), e.Resource, e.Field, string(e.Reason)
	}
	*answers = frame.Frame{Exit: &frame.Exit{Signal: evil}}
	status, err := g.Exec(t.Context(), driver.ExecSpec{Argv: []string{"true"}, Dir: "/", ExecID: "x"}, driver.ExecIO{})
	if err != nil {
		t.Error(err)
	}
	texts["a signal"], texts["the status"] = status.Signal, g.Status()
	for what, text := range texts {
		if text == "" || !fit(text) {
			t.Errorf("%s is %q", what, text)
		}
	}
	if len(texts) != 10 {
		t.Errorf("only %d texts came", len(texts))
	}
}

// What a helper says at its end, or what stands in its place, is cleaned, too.
func TestHostileLastWords(t *testing.T) {
	g := guestOf(t, "hostile", byDriver, lastWords{})
	if _, err := g.Exec(t.Context(), driver.ExecSpec{Argv: []string{"true"}, Dir: "/", ExecID: "x"}, driver.ExecIO{}); err != nil {
		t.Error(err)
	}
	if s := g.Status(); !strings.Contains(s, "second line") || !fit(s) {
		t.Errorf("the status is %q", s)
	}
}

// lastWords is a driver whose helpers end with a text.
type lastWords struct{ driver.Driver }

func (lastWords) Info() driver.Info { return driver.Info{Name: "hostile"} }

func (lastWords) Exec(_ context.Context, spec driver.ExecSpec, stdio driver.ExecIO) (driver.ExitStatus, error) {
	if strings.HasPrefix(spec.Argv[0], guest.MountTarget) {
		_, err := io.WriteString(stdio.Stderr, evil)
		return driver.ExitStatus{Code: 1}, err
	}
	return driver.ExitStatus{}, nil
}

// awaitOpen reads what the core says until it opens a stream, and gives that; 0
// when it says nothing more.
func awaitOpen(in io.Reader) uint64 {
	for f := listen(in); f != nil; f = listen(in) {
		if f.Open != nil {
			return f.Stream
		}
	}
	return 0
}

// listing is a driver in whose sandboxes there is no helper, and a list of
// listeners that somebody made up.
type listing struct {
	driver.Driver
	text string
}

func (listing) Info() driver.Info { return driver.Info{Name: "hostile"} }

func (d listing) Exec(_ context.Context, _ driver.ExecSpec, stdio driver.ExecIO) (driver.ExitStatus, error) {
	_, err := io.WriteString(stdio.Stdout, d.text)
	return driver.ExitStatus{}, err
}

// Who leaves while it is sent what was kept holds up nobody: neither the command
// nor who attaches next.
func TestB40LeavingInTheMiddleOfWhatWasKept(t *testing.T) {
	id, engine := container(t, true)
	first := guestOf(t, id, bySocket, dockerExec{engine: engine})
	ctx, leave := context.WithCancelCause(t.Context())
	written := 0
	_, err := first.ExecKept(ctx, driver.ExecSpec{Argv: []string{"sh", "-c", `head -c 900000 /dev/zero; read -r line; echo "it was $line"`}, Dir: "/", ExecID: "kept"},
		guest.Keep{Bytes: 1 << 20}, driver.ExecIO{Stdin: blocked{t.Context()}, Stdout: writerFunc(func(b []byte) {
			if written += len(b); written == 900000 {
				leave(nil)
			}
		})})
	if driver.ReasonOf(err) != driver.Canceled {
		t.Fatalf("leaving: %v", err)
	}
	for range 2 {
		ctx, leave := context.WithCancelCause(t.Context())
		if _, err := first.Attach(ctx, "kept", nil, driver.ExecIO{Stdout: writerFunc(func([]byte) { leave(nil) })}); driver.ReasonOf(err) != driver.Canceled {
			t.Fatalf("leaving again: %v", err)
		}
	}
	bounded, cancel := context.WithTimeoutCause(t.Context(), 20*time.Second, io.ErrNoProgress)
	defer cancel()
	var out bytes.Buffer
	if _, err := first.Attach(bounded, "kept", nil, driver.ExecIO{Stdin: strings.NewReader("seen\n"), Stdout: &out}); err != nil || !strings.HasSuffix(out.String(), "it was seen\n") {
		t.Errorf("attached at last: %d bytes, %v", out.Len(), err)
	}
}

// Whoever attaches is told where in the output of the command what is kept
// begins, and so can tell what came before.
func TestB40AttachingTellsWhereTheOutputBegins(t *testing.T) {
	id, engine := container(t, true)
	g := guestOf(t, id, bySocket, dockerExec{engine: engine})
	var all bytes.Buffer
	for i := range 100_000 {
		fmt.Fprintln(&all, i)
	}
	ctx, leave := context.WithCancelCause(t.Context())
	seen := 0
	_, err := g.ExecKept(ctx, driver.ExecSpec{Argv: []string{"sh", "-c", `seq 0 99999; read -r line`}, Dir: "/", ExecID: "kept"},
		guest.Keep{Bytes: 1 << 12}, driver.ExecIO{Stdin: blocked{t.Context()}, Stdout: writerFunc(func(b []byte) {
			if seen += len(b); seen == all.Len() {
				leave(nil)
			}
		})})
	if driver.ReasonOf(err) != driver.Canceled {
		t.Fatalf("leaving: %v", err)
	}
	var out bytes.Buffer
	begins := int64(-1)
	_, err = g.Attach(t.Context(), "kept", func(n int64) { begins = n }, driver.ExecIO{Stdin: strings.NewReader("\n"), Stdout: &out})
	if err != nil || out.Len() < 1<<12 || out.Len() > 1<<14 || begins != int64(all.Len()-out.Len()) || !bytes.HasSuffix(all.Bytes(), out.Bytes()) {
		t.Errorf("%d bytes of %d from %d on: %v", out.Len(), all.Len(), begins, err)
	}
}
