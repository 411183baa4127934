package preview_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// echoing answers each line on a port that no dev server has, on one address alone.
const echoing = `
import socketserver, sys
class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(b"inside: " + line)
socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer((sys.argv[1], int(sys.argv[2])), Echo).serve_forever()
`

// started is a command of sero's that goes on, and its first line.
func (m *machine) started(args ...string) (line string, end func() (code int, stderr string)) {
	m.t.Helper()
	binary, err := sero()
	if err != nil {
		m.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), 2*time.Minute, errors.New("the program hangs"))
	m.t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Dir, cmd.Env = m.dir, m.env
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		m.t.Fatal(err)
	}
	line, err = bufio.NewReader(out).ReadString('\n')
	if err != nil {
		_ = cmd.Wait()
		m.t.Fatalf("%v: %v: %s", args, err, errs.String())
	}
	return line, func() (int, string) {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		return cmd.ProcessState.ExitCode(), errs.String()
	}
}

// echoed sends a line to a port of this machine; it is empty when the connection ends.
func echoed(t *testing.T, host string, port int) string {
	t.Helper()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(c, "hello\n"); err != nil {
		return ""
	}
	line, _ := bufio.NewReader(c).ReadString('\n')
	return line
}

// TestC8AnyPortIsForwarded leads a port of this machine to a server that is none of
// the web's, over a restart of the sandbox.
func TestC8AnyPortIsForwarded(t *testing.T) {
	m := newMachine(t, "docker")
	m.write("echo.py", echoing)
	var open struct {
		WorkspaceID string                          `json:"workspaceId"`
		Forwards    []struct{ Port, LocalPort int } `json:"forwards"`
	}
	line, end := m.started("port", "forward", "--json", "5432:0", "5433:0")
	if err := json.Unmarshal([]byte(line), &open); err != nil || len(open.Forwards) != 2 || open.Forwards[0].Port != 5432 {
		t.Fatal(line, err)
	}
	if got := echoed(t, "127.0.0.1", open.Forwards[0].LocalPort); got != "" {
		t.Errorf("%q before anything listens", got)
	}
	serve := func() {
		m.ok("exec", "--", "sh", "-c", `for a in "127.0.0.1 5432" "$(hostname -i | cut -d' ' -f1) 5433"; do setsid python3 echo.py $a </dev/null >/dev/null 2>&1 & done
			until ss -Htln | grep -q :5432 && ss -Htln | grep -q :5433; do sleep 0.1; done`)
	}
	for range 2 {
		serve()
		for _, f := range open.Forwards {
			for _, host := range []string{"127.0.0.1", "::1"} {
				if got := echoed(t, host, f.LocalPort); got != "inside: hello\n" {
					t.Errorf("%s, port %d: %q", host, f.Port, got)
				}
			}
		}
		m.ok("stop")
		if got := echoed(t, "127.0.0.1", open.Forwards[0].LocalPort); got != "" {
			t.Errorf("%q while it is stopped", got)
		}
		m.ok("up")
	}
	taken := strconv.Itoa(open.Forwards[0].LocalPort)
	if _, stderr, err := m.sero("port", "forward", "5432:"+taken); err == nil || !strings.Contains(stderr, "port "+taken+" of this machine is in use by") {
		t.Errorf("%v: %s", err, stderr)
	}
	code, stderr := end()
	if code != 130 || !strings.Contains(stderr, "port 5432 of workspace "+open.WorkspaceID+": nothing accepts connections there") {
		t.Errorf("%d: %s", code, stderr)
	}
	if _, err := new(net.Dialer).DialContext(t.Context(), "tcp", "127.0.0.1:"+taken); err == nil {
		t.Error("the port is still open")
	}
}
