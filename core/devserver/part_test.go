package devserver_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sero-labs/sero-runtime/core/devserver"
)

// answering answers each request, as a web server does, after a while.
func answering(answer string, after time.Duration) func(net.Conn) {
	return func(c net.Conn) {
		lines := bufio.NewReader(c)
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				return
			}
			if strings.HasPrefix(line, "HEAD ") {
				time.Sleep(after)
				_, _ = io.WriteString(c, answer)
				return
			}
		}
	}
}

// cache answers as a database that reads lines.
func cache(c net.Conn) {
	lines := bufio.NewScanner(c)
	for lines.Scan() {
		if strings.TrimSpace(lines.Text()) != "" {
			if _, err := io.WriteString(c, "-ERR unknown command\r\n"); err != nil {
				return
			}
		}
	}
}

const ok = "HTTP/1.1 200 OK\r\n\r\n"

// talk says what is at ports of 127.0.0.1.
func (w *world) talk(talk func(net.Conn), ports ...int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, port := range ports {
		w.talks[fmt.Sprintf("127.0.0.1:%d", port)] = talk
	}
}

// named are the servers with their ports.
func (w *world) named() []string {
	var names []string
	for _, s := range w.List("shop") {
		names = append(names, fmt.Sprintf("%s %d %s", s.Name, s.Port, s.Status))
	}
	return names
}

func (w *world) wantNames(why string, want ...string) {
	w.t.Helper()
	if diff := cmp.Diff(want, w.named()); diff != "" {
		w.t.Errorf("%s: %s", why, diff)
	}
}

// Each web port of one command has a name and an address, and nothing else has.
func TestC8EveryWebPortHasAName(t *testing.T) {
	for what, script := range map[string]bool{"host": true, "container": false} {
		t.Run(what, func(t *testing.T) {
			sandbox := container
			if script {
				sandbox = host
			}
			inBubble(t, sandbox, func(w *world) {
				w.talk(answering(ok, 0), 8080, 9000, 45000)
				w.talk(answering("HTTP/1.1 404 Not Found\r\n\r\n", 5*time.Second), 8081) // it compiles
				w.talk(answering("HTTP/1.0 400 Bad Request\r\n\r\n", 0), 9500, 9229)     // node's debugger
				w.talk(cache, 7000, 6379)
				w.talk(func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }, 7001) // it says nothing
				w.talk(func(net.Conn) {}, 7002)                                  // it closes at once
				w.talk(func(c net.Conn) { _, _ = io.WriteString(c, "220 mail\r\n"); _, _ = io.Copy(io.Discard, c) }, 7003)
				script := "listen 3000"
				for _, p := range []int{8080, 9000, 45000, 8081, 9500, 9229, 7000, 6379, 7001, 7002, 7003} {
					script += fmt.Sprintf(" & listen -a 127.0.0.1 %d", p)
				}
				spec := w.spec(script + " & sleep 6000")
				spec.Name = "web"
				server := w.start(spec)
				time.Sleep(5 * time.Minute)
				w.wantNames("all listen", "web 3000 running", "web-45000 45000 running", "web-8080 8080 running", "web-8081 8081 running", "web-9000 9000 running")
				part := w.get("web-8080")
				if part.ID != "shop:workspace:root:8080" || part.UID != server.UID+"-8080" || part.ParentUID != server.UID || server.ParentUID != "" ||
					!strings.HasSuffix(part.URL, ":8080") || len(part.Addresses) != 1 || part.Detected || part.PID == 0 || cmp.Diff(part.Command, server.Command) != "" {
					w.t.Errorf("%+v", part)
				}
				if got, known := w.Named("shop", "web-8080"); !known || got.UID != part.UID || w.Running() != 1 {
					w.t.Errorf("%+v, %d run", got, w.Running())
				}
				ports, err := w.Ports(w.t.Context(), "shop")
				if err != nil || len(ports) != 12 {
					w.t.Fatal(ports, err)
				}
				for _, p := range ports {
					want := map[uint16]string{8080: "web-8080", 9000: "web-9000", 45000: "web-45000", 8081: "web-8081"}[p.Port]
					if want == "" {
						want = "web"
					}
					if p.Origin != devserver.OriginStarted || p.Server.Name != want {
						w.t.Errorf("%d is of %s, %s", p.Port, p.Server.Name, p.Origin)
					}
				}
			})
		})
	}
}

// A port that goes away loses its name, and a server keeps its own port meanwhile.
func TestC8NameOfAPortThatGoesAway(t *testing.T) {
	inBubble(t, container, func(w *world) {
		w.talk(answering(ok, 0), 3000, 8080)
		spec := w.spec("listen 3000 & a=$!; listen 8080 & b=$!; sleep 60; kill $b; sleep 60; listen 8080 & sleep 60; kill $a; sleep 60; listen 3000 & sleep 600")
		spec.Name = "web"
		w.start(spec)
		w.becomes("web-8080", devserver.StatusRunning)
		w.wantNames("both listen", "web 3000 running", "web-8080 8080 running")
		time.Sleep(90 * time.Second)
		w.wantNames("8080 has gone", "web 3000 running")
		w.becomes("web-8080", devserver.StatusRunning)
		w.becomes("web", devserver.StatusStopped)
		time.Sleep(20 * time.Second)
		w.wantNames("3000 has gone", "web 3000 stopped", "web-8080 8080 running")
		w.becomes("web", devserver.StatusRunning)
		w.wantNames("3000 is back", "web 3000 running", "web-8080 8080 running")
		want := "devserver.starting :0 devserver.running :3000 devserver.running :8080 devserver.removed :8080 " +
			"devserver.running :8080 devserver.stopped :3000 devserver.running :3000"
		if lines := strings.ReplaceAll(strings.Join(w.eventLines(), " "), "shop:workspace:root", ""); lines != want {
			w.t.Error(lines)
		}
	})
}

// To stop, restart, remove or read a part is to do so to its server.
func TestC8PartIsItsServer(t *testing.T) {
	for what, sandbox := range map[string]bool{"host": true, "container": false} {
		t.Run(what, func(t *testing.T) {
			script := container
			if sandbox {
				script = host
			}
			inBubble(t, script, func(w *world) {
				w.talk(answering(ok, 0), 8080)
				spec := w.spec("echo hello; listen 3000 & listen 8080 & sleep 6000")
				spec.Name = "web"
				w.start(spec)
				part := w.becomes("web-8080", devserver.StatusRunning)
				if text := w.logs("web-8080"); !strings.HasPrefix(text, "hello\n") {
					w.t.Errorf("%q", text)
				}
				for _, key := range []string{"web-8080", "8080", part.ID, part.UID} {
					if again, err := w.Restart(w.t.Context(), devserver.Ref{Key: key, WorkspaceID: "shop"}, 0, nil); err != nil || again.Name != "web" {
						w.t.Errorf("%s: %+v %v", key, again, err)
					}
					if again := w.becomes("web-8080", devserver.StatusRunning); again.UID != part.UID {
						w.t.Errorf("%+v", again)
					}
				}
				result, err := w.Start(w.t.Context(), spec, 0, nil)
				if err != nil || !result.AlreadyRunning || result.Server.Name != "web" {
					w.t.Errorf("%+v %v", result, err)
				}
				if ids := w.Commands("shop"); len(ids) != 1 {
					w.t.Error(ids)
				}
				_, resume, err := w.SuspendWorkspace(w.t.Context(), "shop")
				if err != nil {
					w.t.Fatal(err)
				}
				w.wantNames("it is suspended", "web 3000 stopped")
				if started, err := resume(w.t.Context()); err != nil || len(started) != 1 {
					w.t.Error(started, err)
				}
				w.becomes("web-8080", devserver.StatusRunning)
				if got, err := w.Stop(w.t.Context(), devserver.Ref{Key: "web-8080", WorkspaceID: "shop"}); err != nil || got.Name != "web" || got.Status != devserver.StatusStopped {
					w.t.Errorf("%+v %v", got, err)
				}
				w.wantNames("it is stopped", "web 3000 stopped")
				w.start(spec)
				w.becomes("web-8080", devserver.StatusRunning)
				if got, err := w.Remove(w.t.Context(), devserver.Ref{Key: "web-8080", WorkspaceID: "shop"}); err != nil || got.Name != "web" {
					w.t.Errorf("%+v %v", got, err)
				}
				w.wantNames("it is removed")
				w.start(spec)
				w.becomes("web-8080", devserver.StatusRunning)
				w.ForgetWorkspace("shop")
				w.wantNames("its workspace is removed")
			})
		})
	}
}

// A name that is taken is not taken away, and one that would be too long is shortened.
func TestC8NamesOfPartsAreFree(t *testing.T) {
	inBubble(t, container, func(w *world) {
		w.talk(answering(ok, 0), 8080, 8081)
		other := w.spec("listen 4000")
		other.Name = "web-8080"
		w.start(other)
		spec := w.spec("listen 3000 & listen 8080 & sleep 6000")
		spec.Name = "web"
		w.start(spec)
		long := w.spec("listen 3001 & listen 8081 & sleep 6000")
		long.Name = strings.Repeat("a", 34) + "-" + strings.Repeat("b", 5)
		w.start(long)
		time.Sleep(time.Minute)
		w.wantNames("", "web 3000 running", long.Name+" 3001 running", "web-8080 4000 running", "web-8080-2 8080 running", strings.Repeat("a", 34)+"-8081 8081 running")
		if _, err := w.Stop(w.t.Context(), devserver.Ref{Key: "web", WorkspaceID: "shop"}); err != nil {
			w.t.Error(err)
		}
	})
}

// A sandbox cannot fill the list, and a database is not the server of a command that
// has one.
func TestC8PartsAreBounded(t *testing.T) {
	inBubble(t, container, func(w *world) {
		script := "listen 5432 & sleep 1; listen 3000"
		for port := 10000; port < 10040; port++ {
			w.talk(answering(ok, 0), port)
			script += fmt.Sprintf(" & listen %d", port)
		}
		server := w.start(w.spec(script + " & sleep 6000"))
		time.Sleep(5 * time.Minute)
		if n := len(w.List("")); n != 17 || server.Port != 3000 {
			w.t.Errorf("%d servers, %+v", n, server)
		}
	})
}
