package conformance

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/sero-labs/sero-runtime/sdk/internal/driverpb"
	"github.com/sero-labs/sero-runtime/sdk/internal/plug"
)

// raw is a driver process seen from the wire itself, without the launcher's
// corrections.
type raw struct {
	driverpb.DriverServiceClient
	cmd      *exec.Cmd
	dir      string // for its socket
	line     string // what it printed first
	conn     *grpc.ClientConn
	lifeline *os.File
	stderr   *tailBuffer
	slack    time.Duration
	exited   chan struct{}
}

// rawOptions is what a case changes.
type rawOptions struct {
	env       []string // instead of the suite's; the launcher's variables come on top
	bare      bool     // with env as it is, empty too
	shared    bool     // it outlives the case
	socketDir string
}

// Wire is a driver's process seen from the wire, which cases on the same worker
// share.
func (s *Session) Wire(t T) *raw {
	t.Helper()
	if r := s.w.raw; r != nil && !isClosed(r.exited) {
		s.onKill(r.kill)
		return r
	}
	s.w.closeRaw()
	s.w.raw = s.shake(t, s.spawn(t, rawOptions{shared: true}))
	return s.w.raw
}

// Raw launches the driver by hand, as the contract says a launcher does, for
// this case alone, and shakes hands.
func (s *Session) Raw(t T, o rawOptions) *raw {
	t.Helper()
	return s.shake(t, s.spawn(t, o))
}

func (s *Session) shake(t T, r *raw) *raw {
	t.Helper()
	if !r.connect(t) {
		t.Fatalf("the driver printed %q and ended or served nothing; stderr: %s", r.line, r.stderr)
	}
	if _, err := r.Handshake(s.Ctx, &driverpb.HandshakeRequest{HostName: "sero-conformance", HostVersion: "0.0.0-conformance"}); err != nil {
		t.Fatalf("Handshake: %v", err)
	}
	if len(s.r.c.Settings) > 0 {
		if _, err := r.Configure(s.Ctx, &driverpb.ConfigureRequest{SettingsJson: s.r.c.Settings}); err != nil {
			t.Fatalf("Configure: %v", err)
		}
	}
	return r
}

// spawn starts the process and reads its first line, which is empty when there
// is none within ten seconds.
func (s *Session) spawn(t T, o rawOptions) *raw {
	t.Helper()
	dir := s.r.dir()
	r := &raw{dir: dir, exited: make(chan struct{}), stderr: &tailBuffer{}, slack: s.r.c.Slack}
	if o.socketDir == "" {
		o.socketDir = filepath.Join(dir, "s")
		_ = os.Mkdir(o.socketDir, 0o700)
	}
	env := o.env
	if !o.bare {
		env = append(env, s.r.env(dir)...)
	}
	lifeR, lifeW, err := os.Pipe()
	if err != nil {
		t.Fatalf("making the lifeline: %v", err)
	}
	r.lifeline = lifeW
	r.cmd = exec.Command(s.r.c.Path, s.r.c.Args...) //nolint:noctx // ended by kill, at the end of the case at the latest
	r.cmd.Env = append(env,
		plug.CookieKey+"="+plug.CookieValue,
		"PLUGIN_PROTOCOL_VERSIONS="+strconv.Itoa(plug.ProtocolVersion),
		"PLUGIN_MIN_PORT=10000", "PLUGIN_MAX_PORT=25000",
		"PLUGIN_UNIX_SOCKET_DIR="+o.socketDir,
		plug.HostPIDEnv+"="+strconv.Itoa(os.Getpid()), plug.LifelineEnv+"="+strconv.Itoa(plug.LifelineFD))
	r.cmd.ExtraFiles = []*os.File{lifeR}
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	r.cmd.Stderr = r.stderr
	r.cmd.WaitDelay = time.Second
	lines := make(chan string, 1)
	r.cmd.Stdout = &firstLine{lines: lines}
	err = r.cmd.Start()
	_ = lifeR.Close()
	if err != nil {
		_ = lifeW.Close()
		t.Fatalf("starting the driver: %v", err)
	}
	s.onKill(r.kill)
	go func() {
		defer close(r.exited)
		_ = r.cmd.Wait()
	}()
	if o.shared {
		s.w.raw = r // closed with the worker
	} else {
		t.Cleanup(r.close)
	}
	select {
	case r.line = <-lines:
	case <-r.exited:
	case <-time.After(s.within(10 * time.Second)):
	case <-s.Ctx.Done():
	}
	return r
}

// connect dials what the first line names.
func (r *raw) connect(t T) bool {
	t.Helper()
	parts := strings.Split(r.line, "|")
	if len(parts) < 5 || parts[2] != "unix" {
		return false
	}
	conn, err := grpc.NewClient("unix:"+parts[3], grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(16<<20)))
	if err != nil {
		return false
	}
	r.conn = conn
	r.DriverServiceClient = driverpb.NewDriverServiceClient(conn)
	return true
}

func (r *raw) kill() { _ = syscall.Kill(-r.cmd.Process.Pid, syscall.SIGKILL) }

func (r *raw) close() {
	if r.conn != nil {
		_ = r.conn.Close()
	}
	_ = r.lifeline.Close()
	select {
	case <-r.exited:
	case <-time.After(2 * time.Second):
		r.kill()
		<-r.exited
	}
	r.kill() // its group
}

// ended waits for the end of the process.
func (r *raw) ended(limit time.Duration) bool {
	select {
	case <-r.exited:
		return true
	case <-time.After(limit + r.slack):
		return false
	}
}

// firstLine gives the first line that is written and drops the rest.
type firstLine struct {
	buf   bytes.Buffer
	lines chan<- string
	done  bool
}

// Write takes output.
func (f *firstLine) Write(p []byte) (int, error) {
	if f.done {
		return len(p), nil
	}
	f.buf.Write(p)
	if line, _, ok := strings.Cut(f.buf.String(), "\n"); ok || f.buf.Len() > 64<<10 {
		f.done = true
		f.lines <- strings.TrimSpace(line)
	}
	return len(p), nil
}

// tailBuffer keeps the last few KiB.
type tailBuffer struct {
	mu  sync.Mutex
	buf []byte
}

// Write keeps p.
func (b *tailBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.buf = append(b.buf, p...)
	if len(b.buf) > 64<<10 {
		b.buf = b.buf[len(b.buf)-32<<10:]
	}
	return len(p), nil
}

// String is what was kept.
func (b *tailBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.buf)
}

// greased adds a field that no version has yet.
func greased[M proto.Message](m M) M {
	unknown := protowire.AppendTag(nil, 53000, protowire.BytesType)
	m.ProtoReflect().SetUnknown(protowire.AppendString(unknown, "grease"))
	return m
}

// rawExec is one Exec stream, frame by frame.
type rawExec struct {
	grpc.BidiStreamingClient[driverpb.ExecRequest, driverpb.ExecResponse]
	cut context.CancelCauseFunc
}

func (r *raw) exec(s *Session, t T, start *driverpb.ExecStart) rawExec {
	t.Helper()
	ctx, cut := context.WithCancelCause(s.Ctx)
	t.Cleanup(func() { cut(errCaseCancel) })
	stream, err := r.Exec(ctx)
	if err == nil {
		err = stream.Send(&driverpb.ExecRequest{Frame: &driverpb.ExecRequest_Start{Start: start}})
	}
	if err != nil {
		t.Fatalf("Exec: %v", err)
	}
	return rawExec{stream, cut}
}

func (x rawExec) closeStdin(t T) {
	t.Helper()
	if err := x.Send(&driverpb.ExecRequest{Frame: &driverpb.ExecRequest_StdinClose{StdinClose: &driverpb.ExecStdinClose{}}}); err != nil {
		t.Errorf("closing standard input: %v", err)
	}
}

// frames takes everything to the end of the stream.
func (x rawExec) frames() ([]*driverpb.ExecResponse, error) {
	var out []*driverpb.ExecResponse
	for {
		f, err := x.Recv()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		out = append(out, f)
	}
}

// runByHand runs the binary as a person would and gives its standard output.
func (s *Session) runByHand(t T, args ...string) (output string, ended bool) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(s.Ctx, s.within(5*time.Second), errDeadline)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.r.c.Path, append(append([]string{}, s.r.c.Args...), args...)...)
	cmd.Env = s.r.env(s.r.dir())
	cmd.WaitDelay = time.Second
	var out bytes.Buffer
	cmd.Stdout = &out
	_ = cmd.Run() // its exit code is its own business
	return out.String(), ctx.Err() == nil
}
