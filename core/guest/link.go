package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/sero-labs/sero-runtime/core/guest/frame"
	"github.com/sero-labs/sero-runtime/core/guest/mux"
	"github.com/sero-labs/sero-runtime/internal/oneline"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// link is one connection with the helper in a sandbox. It runs as a command
// through the driver, whose input and output are the connection; where the
// sandbox shares this machine's kernel, a socket takes their place.
type link struct {
	conn    *mux.Conn
	stdin   *outbox
	out     *outbox // what frames leave by: stdin, or the socket's
	hello   chan *frame.Hello
	refused chan struct{} // has a token when the helper cannot use the socket
	about   frame.Hello   // once hello came
	last    tail          // of the helper's standard error
	tasks   sync.WaitGroup
	ended   chan struct{}

	feeding sync.Mutex
	direct  bool // frames come from the socket
}

// Times of a link.
const (
	helloLimit = 10 * time.Second // from the start of the helper to its hello
	pingEvery  = 5 * time.Second
	openLimit  = 30 * time.Second // for the answer to the opening of a stream
	endLimit   = 2 * time.Second  // for the helper to end by itself
)

// errGone ends what was under way when the connection with the helper broke.
func errGone(cause error) error {
	err := driver.Errorf(driver.Internal, "the connection with the guest helper broke: %w", cause)
	if e, ok := errors.AsType[*driver.Error](cause); ok {
		err.Reason, err.Message, err.Driver, err.Remedies = e.Reason, e.Message, e.Driver, e.Remedies
	}
	err.Retryable = true
	return err
}

// openLink starts the helper and waits for its hello. Where commands have a user
// of their own the helper is root, whoever the sandbox's user is: nobody else can
// run them.
func openLink(ctx context.Context, d driver.Driver, target Target, execID string) (*link, error) {
	user := ""
	if target.User != "" {
		user = "0"
	}
	l := &link{stdin: newOutbox(), hello: make(chan *frame.Hello, 1), refused: make(chan struct{}, 1), ended: make(chan struct{})}
	l.out = l.stdin
	l.conn = mux.New(l.send, l.control, nil)
	l.tasks.Add(1) // nobody waits for the tasks before they are all begun
	defer l.tasks.Done()
	go l.run(d, driver.ExecSpec{ // ends with the helper, or when close gives up on it
		SandboxID: target.SandboxID, ExecID: execID, Argv: []string{helperPath()}, Dir: "/", User: user, Detach: true,
	})
	ctx, cancel := context.WithTimeoutCause(ctx, helloLimit, driver.Errorf(driver.Timeout, "the helper did not answer in %s", helloLimit))
	defer cancel()
	err := l.greet(ctx, target)
	if err != nil {
		l.close(err)
		return nil, err
	}
	l.tasks.Go(l.ping) // ends with the connection
	return l, nil
}

// greet exchanges hellos, and goes on over a socket if that can be.
func (l *link) greet(ctx context.Context, target Target) error {
	select {
	case hello := <-l.hello:
		l.about = *hello
	case <-l.conn.Done():
		return l.conn.Err()
	case <-ctx.Done():
		return driver.AsError(context.Cause(ctx))
	}
	if l.about.Version != frame.Version {
		return driver.Errorf(driver.Unsupported, "the helper speaks version %d of the guest protocol, this sero %d", l.about.Version, frame.Version)
	}
	answer := &frame.Hello{Version: frame.Version, Owner: target.Owner}
	if !l.about.Sockets || target.Shared == "" {
		return l.conn.Send(ctx, &frame.Frame{Hello: answer})
	}
	o, err := newOffer(target.Shared)
	if err != nil { // such as a directory that is not this machine's
		return l.conn.Send(ctx, &frame.Frame{Hello: answer})
	}
	defer o.close()
	answer.Socket, answer.Token = o.socket, o.token
	if err := l.conn.Send(ctx, &frame.Frame{Hello: answer}); err != nil {
		return err
	}
	select {
	case socket := <-o.met:
		l.moveTo(socket)
		return nil
	case <-l.refused:
		return nil
	case <-l.conn.Done():
		return l.conn.Err()
	case <-ctx.Done():
		return driver.AsError(context.Cause(ctx))
	}
}

// moveTo goes on over a socket. The helper's input and output stay open, for the
// connection to end with them.
func (l *link) moveTo(socket *net.UnixConn) {
	l.feeding.Lock()
	l.direct = true
	l.feeding.Unlock()
	l.out = newOutbox()
	l.tasks.Go(func() { // ends with the connection
		<-l.conn.Done()
		l.out.close(mux.ErrClosed)
		_ = socket.Close()
	})
	l.tasks.Go(func() { // ends with the socket
		_, _ = io.CopyBuffer(struct{ io.Writer }{socket}, l.out, make([]byte, bufferSize))
		_ = socket.Close() // which who reads from it finds out
	})
	l.tasks.Go(func() { // ends with the socket
		_, err := io.CopyBuffer(feeder{l, true}, struct{ io.Reader }{socket}, make([]byte, bufferSize))
		// The helper has ended, or its channel: the driver may know why.
		l.stdin.close(mux.ErrClosed)
		select {
		case <-l.conn.Done():
		case <-time.After(endLimit):
			l.conn.Close(errSocket(err))
		}
	})
}

// bufferSize is how much is read from a socket, or written to it, at once.
const bufferSize = 128 << 10

func errSocket(err error) error {
	if err == nil {
		return errors.New("the helper has closed its socket")
	}
	return fmt.Errorf("the helper's socket: %w", err)
}

// open opens a stream. The helper may stand still, and what is to be sent to it
// wait; what is new does not wait for long.
func (l *link) open(ctx context.Context, what *frame.Open) (*mux.Stream, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, openLimit, driver.Errorf(driver.Timeout, "the guest helper took nothing in %s", openLimit))
	defer cancel()
	return l.conn.Open(ctx, what)
}

func (l *link) send(ctx context.Context, b []byte) error {
	err := l.out.send(ctx, b)
	if errors.Is(err, errStuck) {
		l.conn.Close(err)
	}
	return err
}

// run is the helper's life as a command.
func (l *link) run(d driver.Driver, spec driver.ExecSpec) {
	defer close(l.ended)
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	go func() { // ends with run
		select {
		case <-l.conn.Done():
		case <-ctx.Done():
			return
		}
		l.stdin.close(mux.ErrClosed) // end of input: the helper ends
		select {
		case <-ctx.Done():
		case <-time.After(endLimit):
			cancel(mux.ErrClosed)
		}
	}()
	status, err := d.Exec(ctx, spec, driver.ExecIO{Stdin: l.stdin, Stdout: feeder{l, false}, Stderr: &l.last})
	if err == nil {
		err = fmt.Errorf("the helper ended with code %d%s", status.ShellCode(), l.last.String())
	}
	l.conn.Close(err)
	l.stdin.close(mux.ErrClosed)
	l.tasks.Wait()
}

// close ends the connection and with it the helper's channel; what is detached
// goes on.
func (l *link) close(err error) { l.conn.Close(err) }

func (l *link) alive() bool { return l.conn.Err() == nil }

// lives asks the helper for a sign of life. One that stands still may yet give it:
// only a connection that is known to be over has none.
func (l *link) lives(ctx context.Context) bool {
	ctx, cancel := context.WithTimeoutCause(ctx, lifeLimit, driver.Errorf(driver.Timeout, "the guest helper gave no sign of life"))
	defer cancel()
	_, err := l.clock(ctx)
	return err == nil || l.alive()
}

func (l *link) control(f *frame.Frame) {
	switch {
	case f.Hello != nil:
		select {
		case l.hello <- f.Hello:
		default: // it says hello once
		}
	case f.Error != nil:
		select {
		case l.refused <- struct{}{}:
		default:
		}
	}
}

func (l *link) ping() {
	ticker := time.NewTicker(pingEvery)
	defer ticker.Stop()
	for {
		select {
		case <-l.conn.Done():
			return
		case <-ticker.C:
			_ = l.conn.Send(context.Background(), &frame.Frame{Ping: true}) // bounded by the outbox
		}
	}
}

// feeder gives what the helper writes to the connection.
type feeder struct {
	link   *link
	direct bool // over the socket
}

// Write takes bytes as they come.
func (f feeder) Write(b []byte) (int, error) {
	l := f.link
	l.feeding.Lock()
	defer l.feeding.Unlock()
	err := l.conn.Err()
	if err == nil && f.direct != l.direct {
		err = errors.New("the helper speaks beside its socket")
	}
	if err == nil {
		err = l.conn.Feed(b)
	}
	if err != nil {
		l.conn.Close(err)
		return 0, err
	}
	return len(b), nil
}

// tail keeps the end of what is written.
type tail struct {
	mu   sync.Mutex
	text []byte
}

// Write keeps b.
func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b...)
	if n := len(t.text); n > 512 {
		t.text = append([]byte(nil), t.text[n-512:]...)
	}
	return len(b), nil
}

// String is the text as the end of a sentence.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if text := line(string(t.text), 512); text != "" {
		return ": " + text
	}
	return ""
}

// line is text that came from a sandbox as one bounded line.
func line(text string, limit int) string { return oneline.Of(text, limit, ' ') }
