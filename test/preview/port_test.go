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

// serving has a page on each port that is named, and says nothing on the last one.
const serving = `
import http.server, os, socket, sys, threading, time
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"page %d" % self.server.server_port)
    def log_message(self, *a): pass
servers = [http.server.ThreadingHTTPServer(("127.0.0.1", int(p)), Page) for p in sys.argv[1:-1]]
for s in servers: threading.Thread(target=s.serve_forever, daemon=True).start()
silent = socket.create_server(("127.0.0.1", int(sys.argv[-1])))
while not os.path.exists("close"): time.sleep(0.05)
servers[-1].shutdown(); servers[-1].server_close()
time.sleep(6301)
`

// TestC8EveryWebPortHasAPreview looks at each port of one command by name and by number,
// also with the next daemon; a port that is closed has no name any more.
func TestC8EveryWebPortHasAPreview(t *testing.T) {
	for _, driver := range drivers {
		t.Run(driver, func(t *testing.T) {
			m := newMachine(t, driver)
			m.write("serve.py", serving)
			ports := []string{freePort(t), freePort(t), freePort(t), freePort(t)}
			web := m.run("--name", "web", "--port", ports[0], "--", "python3", "serve.py", ports[0], ports[1], ports[2], ports[3])
			looks := func() {
				for _, port := range ports[1:3] {
					part := m.becomes("web-"+port, "running")
					want := strings.Replace(web.PreviewURL, "//web.", "//web-"+port+".", 1)
					if part.PreviewURL != want || m.fetch(part.PreviewURL) != "page "+port || m.fetch(part.URL) != "page "+port {
						t.Errorf("%+v", part)
					}
				}
				if text := m.fetch(web.PreviewURL); text != "page "+ports[0] {
					t.Errorf("%q", text)
				}
			}
			looks()
			if s := m.find(ports[3]); s.Name != "" {
				t.Errorf("a port that speaks no HTTP is %+v", s)
			}
			listed, notices, err := m.sero("port", "ls")
			if err != nil || !strings.Contains(listed, ports[3]) || driver != "host" && !strings.Contains(notices, "no URL: "+ports[3]+"; ") {
				t.Errorf("%v: %s%s", err, listed, notices)
			}
			if driver != "host" {
				m.killDaemon()
				looks()
			}
			m.write("close", "")
			for range 600 {
				if m.find("web-"+ports[2]).Name == "" {
					break
				}
				time.Sleep(50 * time.Millisecond)
			}
			if status := m.status(strings.Replace(web.PreviewURL, "//web.", "//web-"+ports[2]+".", 1)); status != 404 {
				t.Errorf("a name that has gone answers %d", status)
			}
			m.ok("dev", "stop", "web-"+ports[1])
			if s := m.find("web"); s.Status != "stopped" || m.find("web-"+ports[1]).Name != "" {
				t.Errorf("%+v", s)
			}
		})
	}
}
