package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sero-labs/sero-runtime/internal/testutil"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// listening runs a server in the sandbox, on a port of the system's choice.
const listening = `import socket,sys,time
for address in sys.argv[1:]:
    s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    s.bind((address, 0)); s.listen(); s.set_inheritable(True)
    print(s.getsockname()[1], flush=True)
    globals()["s"+address] = s
sys.stdin.read()
`

type observer struct {
	sets chan []driver.Listener
	done chan error
}

func (b *box) observe(ctx context.Context, id string) *observer {
	o := &observer{sets: make(chan []driver.Listener, 100), done: make(chan error, 1)}
	go func() {
		o.done <- b.Listeners(ctx, id, func(set []driver.Listener) error {
			o.sets <- set
			return nil
		})
	}()
	return o
}

func (o *observer) want(t *testing.T, want ...string) []driver.Listener {
	t.Helper()
	var last []driver.Listener
	var got []string
	eventually(t, fmt.Sprint(want), func() bool {
		select {
		case last = <-o.sets:
		case err := <-o.done:
			t.Fatalf("the watch ended: %v", err)
		default:
			return false
		}
		got = nil
		for _, l := range last {
			got = append(got, fmt.Sprintf("%s %d %s", l.Address, l.Port, l.ExecID))
		}
		return cmp.Equal(got, want)
	})
	return last
}

func TestListeners(t *testing.T) {
	b := newBox(t)
	if r := b.run(b.spec("python3", "-c", "pass"), nil); r.err != nil {
		testutil.Missing(t, "python3", "it is not on PATH")
	}
	spec := driver.SandboxSpec{ID: "sero-other", WorkspaceDir: t.TempDir()}
	if _, err := b.Create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	// Somebody else's, this process's own.
	foreign, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer foreign.Close()

	ctx, cancel := context.WithCancelCause(t.Context())
	o := b.observe(ctx, b.id)
	other := b.observe(ctx, "sero-other")
	o.want(t)
	other.want(t)

	server := func(execID string, prefix string, addresses ...string) (ports []uint16, end func()) {
		t.Helper()
		in, stop := io.Pipe()
		out := newLines()
		spec := b.script(prefix + ` python3 -c "$0" ` + strings.Join(addresses, " "))
		spec.Argv = append(spec.Argv, listening)
		spec.ExecID = execID
		_, done := b.background(t.Context(), spec, driver.ExecIO{Stdin: in, Stdout: out, Stderr: os.Stderr})
		eventually(t, "the ports", func() bool { return strings.Count(out.all(), "\n") == len(addresses) })
		for f := range strings.FieldsSeq(out.all()) {
			var port uint16
			_, _ = fmt.Sscan(f, &port)
			ports = append(ports, port)
		}
		return ports, func() { _ = stop.Close(); b.wait(done) }
	}
	one, endOne := server("one", "", "127.0.0.1")
	set := o.want(t, fmt.Sprintf("127.0.0.1 %d one", one[0]))
	if !strings.Contains(set[0].Command, "python3 -c import socket,sys,time for address") || len(set[0].Command) > 130 || !alive(int(set[0].PID)) {
		t.Errorf("got %+v", set[0])
	}
	// All descendants count, in whatever session; the wildcard and IPv6 too.
	two, endTwo := server("two", "setsid -w", "0.0.0.0", "::1")
	want := []string{fmt.Sprintf("127.0.0.1 %d one", one[0]), fmt.Sprintf("0.0.0.0 %d two", two[0]), fmt.Sprintf("::1 %d two", two[1])}
	o.want(t, byPort(want)...)
	late := b.observe(ctx, b.id)
	late.want(t, byPort(want)...)
	endOne()
	o.want(t, byPort(want[1:])...)
	endTwo()
	o.want(t)
	select {
	case set := <-other.sets:
		t.Errorf("another sandbox has %v", set)
	default:
	}
	cancel(errors.New("enough"))
	for _, o := range []*observer{o, other, late} {
		if err := <-o.done; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	}
	b.watch.mu.Lock()
	defer b.watch.mu.Unlock()
	if b.watch.stop != nil {
		t.Error("it looks while nobody watches")
	}
}

func byPort(lines []string) []string {
	out := append([]string(nil), lines...)
	for i := range out {
		for j := range i {
			var a, b int
			_, _ = fmt.Sscan(strings.Fields(out[i])[1], &a)
			_, _ = fmt.Sscan(strings.Fields(out[j])[1], &b)
			if a < b {
				out[i], out[j] = out[j], out[i]
			}
		}
	}
	return out
}

func TestListenersReportFails(t *testing.T) {
	b := newBox(t)
	broken := errors.New("broken")
	if err := b.Listeners(t.Context(), b.id, func([]driver.Listener) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	wantReason(t, b.Listeners(t.Context(), "sero-absent", nil), driver.NotFound, "")
}
