package preview_test

import (
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// counting is a server that writes a number each 100 ms, with a tree of its own.
// It ends with code 3 once there is a file named end.
const counting = `
import http.server, os, subprocess, sys, threading, time
child = subprocess.Popen(["sleep", "4711"])
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler)
threading.Thread(target=server.serve_forever, daemon=True).start()
for n in range(100000):
    print("count", n, flush=True)
    time.sleep(0.1)
    if os.path.exists("end"):
        child.kill()
        child.wait()
        os._exit(3)
`

// counted is the last number that the server's log has. Each before it is there
// once, in order.
func (m *machine) counted(name string) int {
	m.t.Helper()
	text := m.ok("dev", "logs", name)
	next := 0
	for line := range strings.Lines(text) {
		if n, ours := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "count "); ours {
			if n != fmt.Sprint(next) {
				m.t.Fatalf("%q, not %d, in\n%s", n, next, text)
			}
			next++
		}
	}
	return next - 1
}

// countsOn waits until the log of a server has more than so many numbers.
func (m *machine) countsOn(name string, from int) {
	m.t.Helper()
	for range 300 {
		if m.counted(name) > from {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	m.t.Fatalf("the log of %s ends at %d:\n%s", name, from, m.ok("dev", "logs", name))
}

// killDriver ends the driver without warning, and waits until another one runs.
func (m *machine) killDriver() {
	m.t.Helper()
	pid := m.driverPID()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		m.t.Fatal(err)
	}
	for range 300 {
		if now := m.driverPID(); now > 0 && now != pid {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	m.t.Fatal("no driver runs")
}

// killChannel ends the process through which the daemon speaks with the guest
// helper, and with it the command that does that.
func (m *machine) killChannel() {
	m.t.Helper()
	_, _, err := m.sero("exec", "--user", "root", "--", "sh", "-c",
		`for p in $(pgrep -f "^/opt/sero/sero-guest"); do tr '\0' ' ' <"/proc/$p/cmdline" | grep -q host || kill -KILL "$p"; done; sleep 60`)
	if err == nil {
		m.t.Fatal("the channel lives")
	}
}

// What a server in a container writes and how it ends is known whatever becomes
// of the daemon and the driver.
func TestB38B43LogsGoOn(t *testing.T) {
	for name, end := range map[string]func(m *machine){
		"daemon stopped": func(m *machine) { m.ok("daemon", "stop") },
		"daemon killed":  (*machine).killDaemon,
		"driver killed":  (*machine).killDriver,
		"channel killed": (*machine).killChannel,
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, "docker")
			m.write("count.py", counting)
			m.write("index.html", "the page")
			before := m.processes()
			command := []string{"--name", "web", "--scope", "card", "--card", "c1", "--env", "A=b", "--", "python3", "count.py", "8000"}
			web := m.run(command...)
			m.countsOn("web", 3)
			end(m)
			seen := m.counted("web")
			m.countsOn("web", seen+5)
			is := m.becomes("web", "running")
			if is.StatusMessage != "" || is.PID != web.PID || is.ID != web.ID || is.PreviewURL != web.PreviewURL {
				t.Errorf("%+v, was %+v", is, web)
			}
			if text := m.fetch(web.PreviewURL); text != "the page" {
				t.Errorf("%q", text)
			}
			if text := m.ok("terminal", "ls", "--json"); strings.Contains(text, "web") {
				t.Errorf("it is shown as a terminal: %s", text)
			}
			if again := m.run(command...); again.PID != web.PID {
				t.Errorf("a second one was started: %+v", again)
			}

			m.write("end", "")
			if is = m.becomes("web", "stopped"); is.StatusMessage != "the command exited with code 3" {
				t.Errorf("%+v", is)
			}
			m.ok("exec", "--", "rm", "end")
			var again server
			m.json(&again, "dev", "restart", "web", "--json")
			if again.Status != "running" || again.ID != web.ID || again.PID == web.PID {
				t.Errorf("%+v, was %+v", again, web)
			}
			if env := m.ok("exec", "--", "sh", "-c", "tr '\\0' '\\n' </proc/"+again.pid()+"/environ"); !strings.Contains(env, "A=b\n") {
				t.Errorf("%q", env)
			}
			end(m)
			m.ok("dev", "stop", "web")
			if status := m.status(web.PreviewURL); status != http.StatusBadGateway {
				t.Error(status)
			}
			if after := m.processes(); strings.Join(after, "\n") != strings.Join(before, "\n") {
				t.Errorf("before:\n%s\nafter:\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
			}
		})
	}
}
