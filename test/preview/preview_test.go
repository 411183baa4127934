package preview_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/sero-labs/sero-runtime/internal/testutil"
)

// drivers are where the tests of real frameworks run. A person sees the same in
// all of them.
var drivers = []string{"host", "docker"}

func TestB36B37FrameworksInABrowser(t *testing.T) {
	for _, framework := range []string{"vite", "webpack"} {
		for _, driver := range drivers {
			t.Run(framework+"/"+driver, func(t *testing.T) { develop(t, framework, driver) })
		}
	}
}

// develop edits a project of a framework and looks at it in a browser.
func develop(t *testing.T, framework, driver string) {
	m := newMachine(t, driver)
	m.project(framework)
	browser := newBrowser(t)

	web := m.run("--name", "web", "--", "npm", "run", "dev")
	browser.open(web.PreviewURL)
	browser.shows("#app", "first")
	browser.mark()

	browser.shows("#app", "second", m.saves("second"))
	t.Logf("the browser shows a change %s after it was saved", time.Since(m.saved).Round(time.Millisecond))
	if !browser.marked() {
		t.Error("the page was loaded anew; its change should have come by WebSocket")
	}

	// The same address after a restart; the framework's client finds its server.
	var again server
	m.json(&again, "dev", "restart", "web", "--json")
	if again.PreviewURL != web.PreviewURL || again.Status != "running" {
		t.Errorf("%+v", again)
	}
	browser.shows("#app", "third", m.saves("third"))

	// A page of sero's own while it is down, which gives way by itself.
	m.ok("dev", "stop", "web")
	browser.open(web.PreviewURL)
	browser.shows("h1", "web is not running")
	m.ok("dev", "restart", "web")
	browser.shows("#app", "third")
}

func TestB37TheWaitingPageGivesWay(t *testing.T) {
	for _, driver := range drivers {
		t.Run(driver, func(t *testing.T) {
			m := newMachine(t, driver)
			browser := newBrowser(t)
			m.write("index.html", "<h1>here it is</h1>")
			stdout, stderr, err := m.sero("run", "--json", "--wait", "1s", "--name", "slow", "--",
				"sh", "-c", "while [ ! -e go ]; do sleep 0.1; done; exec python3 -m http.server --bind 127.0.0.1 $0", freePort(t))
			slow := m.find("slow")
			if err == nil || slow.Status != "starting" { // the wait is over, and it does not listen
				t.Fatalf("%+v %v\n%s%s", slow, err, stdout, stderr)
			}
			browser.open(slow.PreviewURL)
			browser.shows("h1", "slow is starting")
			m.write("go", "")
			browser.shows("h1", "here it is")
		})
	}
}

func TestB33B34B35B36AServerOnLoopbackOnly(t *testing.T) {
	for _, driver := range drivers {
		t.Run(driver, func(t *testing.T) {
			m := newMachine(t, driver)
			m.write("index.html", "the page")
			port := freePort(t)
			web := m.run("--name", "web", "--port", port, "--", "python3", "-m", "http.server", "--bind", "127.0.0.1", port)
			if text := m.fetch(web.PreviewURL); text != "the page" {
				t.Errorf("%q", text)
			}
			// Killed behind sero's back: it is known at once.
			killed := time.Now()
			m.ok("exec", "--", "sh", "-c", "kill -KILL "+web.pid())
			m.becomes("web", "stopped")
			t.Logf("known as stopped %s after it was killed", time.Since(killed).Round(time.Millisecond))
			var again server
			m.json(&again, "dev", "restart", "web", "--json")
			if again.PreviewURL != web.PreviewURL || again.ID != web.ID {
				t.Errorf("%+v", again)
			}
			if text := m.fetch(again.PreviewURL); text != "the page" {
				t.Errorf("%q", text)
			}
		})
	}
}

func TestB34StopEndsATree(t *testing.T) {
	for _, driver := range drivers {
		t.Run(driver, func(t *testing.T) {
			m := newMachine(t, driver)
			m.project("vite")
			other := m.run("--name", "other", "--", "python3", "-m", "http.server", "--bind", "127.0.0.1", freePort(t))
			before := m.processes()
			tree := m.run("--name", "tree", "--", "npm", "run", "tree")
			during := m.processes()
			if len(during) < len(before)+4 { // npm, a shell, node, its shell and two sleeps
				t.Errorf("no tree: %q", during)
			}
			m.ok("dev", "stop", "tree")
			if after := m.processes(); strings.Join(after, "\n") != strings.Join(before, "\n") {
				t.Errorf("before:\n%s\nafter:\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
			}
			if m.status(tree.PreviewURL) != http.StatusBadGateway || m.status(other.PreviewURL) != http.StatusOK {
				t.Error(m.status(tree.PreviewURL), m.status(other.PreviewURL))
			}
		})
	}
}

// detached starts a server in the background of a command, as a person in a
// terminal does, or a server that makes itself a daemon.
const detached = `setsid python3 -m http.server --bind 127.0.0.1 "$0" >/dev/null 2>&1 & while ! ss -Htln | grep -q ":$0 "; do sleep 0.1; done`

func TestB32B34AServerThatNobodyRegistered(t *testing.T) {
	m := newMachine(t, "docker")
	m.write("index.html", "found")
	m.ok("exec", "--", "sh", "-c", detached, "8200")
	m.ok("exec", "--", "sh", "-c", detached, "45200") // a system's own port: not announced
	found := m.becomes("8200", "running")
	if found == (server{}) || !found.Detected || found.Port != 8200 {
		t.Fatalf("%+v", found)
	}
	if text := m.fetch(found.PreviewURL); text != "found" {
		t.Errorf("%q", text)
	}
	if text := m.fetch(found.URL); text != "found" { // by number, on this machine
		t.Errorf("%q", text)
	}
	var listed struct {
		Ports []struct {
			Port   int    `json:"port"`
			Origin string `json:"origin"`
		} `json:"ports"`
	}
	m.json(&listed, "port", "ls", "--json")
	if got := fmt.Sprint(listed.Ports); got != "[{8200 detected} {45200 other}]" {
		t.Error(got)
	}
	m.ok("dev", "stop", found.Name)
	m.json(&listed, "port", "ls", "--json")
	if got := fmt.Sprint(listed.Ports); got != "[{45200 other}]" {
		t.Error(got)
	}
}

func TestB43ServersInAContainerOutliveTheDaemon(t *testing.T) {
	for _, end := range []string{"stopped", "killed"} {
		t.Run(end, func(t *testing.T) {
			m := newMachine(t, "docker")
			m.write("index.html", "the page")
			web := m.run("--name", "web", "--", "python3", "-m", "http.server", "--bind", "127.0.0.1", "8000")
			if end == "stopped" {
				m.ok("daemon", "stop")
			} else {
				m.killDaemon()
			}
			m.ok("ls") // starts the next one
			again := m.becomes("web", "running")
			if !again.Detected || again.PreviewURL != web.PreviewURL || again.PID != web.PID {
				t.Errorf("%+v, was %+v", again, web)
			}
			if text := m.fetch(web.PreviewURL); text != "the page" {
				t.Errorf("%q", text)
			}
			m.ok("dev", "stop", "web")
			if status := m.status(web.PreviewURL); status != http.StatusBadGateway {
				t.Error(status)
			}
		})
	}
}

func TestB36AServerOfOneFamilyOnly(t *testing.T) {
	for _, driver := range drivers {
		t.Run(driver, func(t *testing.T) {
			m := newMachine(t, driver)
			if _, _, err := m.sero("exec", "--", "sh", "-c", "test \"$(cat /proc/sys/net/ipv6/conf/lo/disable_ipv6)\" = 0"); err != nil {
				testutil.Missing(t, "ipv6", "the sandbox has none")
			}
			m.write("index.html", "six")
			port := freePort(t)
			six := m.run("--name", "six", "--port", port, "--", "python3", "-m", "http.server", "--bind", "::1", port)
			if text := m.fetch(six.PreviewURL); text != "six" {
				t.Errorf("%q", text)
			}
		})
	}
}

func TestB33B34AServerThatMakesItselfADaemon(t *testing.T) {
	for _, driver := range drivers {
		t.Run(driver, func(t *testing.T) {
			m := newMachine(t, driver)
			m.write("index.html", "the daemon")
			d := m.run("--name", "daemon", "--", "sh", "-c", detached, freePort(t))
			m.becomes("daemon", "running")
			if text := m.fetch(d.PreviewURL); text != "the daemon" {
				t.Errorf("%q", text)
			}
			if before := m.processes(); !strings.Contains(strings.Join(before, "\n"), "http.server") {
				t.Errorf("%q", before)
			}
			var again server
			m.json(&again, "dev", "restart", "daemon", "--json")
			if again.PreviewURL != d.PreviewURL || m.fetch(again.PreviewURL) != "the daemon" {
				t.Errorf("%+v", again)
			}
			m.ok("dev", "stop", "daemon")
			if after := m.processes(); strings.Contains(strings.Join(after, "\n"), "http.server") {
				t.Errorf("%q", after)
			}
		})
	}
}

func TestB8ServersInAContainerSurviveTheirDriver(t *testing.T) {
	m := newMachine(t, "docker")
	m.write("index.html", "the page")
	web := m.run("--name", "web", "--", "python3", "-m", "http.server", "--bind", "127.0.0.1", "8000")
	m.killDriver()
	if text := m.eventually(web.PreviewURL, http.StatusOK); text != "the page" {
		t.Errorf("%q", text)
	}
	if s := m.becomes("web", "running"); s.PID != web.PID {
		t.Errorf("%+v, was %+v", s, web)
	}
	m.ok("dev", "stop", "web")
	if after := m.processes(); strings.Contains(strings.Join(after, "\n"), "http.server") {
		t.Errorf("%q", after)
	}
	var again server
	m.json(&again, "dev", "restart", "web", "--json")
	if again.PreviewURL != web.PreviewURL || m.fetch(again.PreviewURL) != "the page" {
		t.Errorf("%+v", again)
	}
}

func TestB37PortsOfThisMachineThatAreTaken(t *testing.T) {
	m := newMachine(t, "docker")
	m.write("index.html", "the page")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	web := m.run("--name", "web", "--port", port, "--", "python3", "-m", "http.server", "--bind", "127.0.0.1", port)
	if web.URL == "http://localhost:"+port || !strings.Contains(web.StatusMessage, fmt.Sprintf("held by preview.test (pid %d)", os.Getpid())) {
		t.Errorf("%+v", web)
	}
	for _, url := range []string{web.URL, web.PreviewURL} {
		if text := m.fetch(url); text != "the page" {
			t.Errorf("%s: %q", url, text)
		}
	}
}

// browser is a headless one with a profile of its own.
type browser struct {
	t   *testing.T
	ctx context.Context //nolint:containedctx // it is the browser
}

func newBrowser(t *testing.T) *browser {
	t.Helper()
	program := program(t, "chromium")
	profile := t.TempDir()
	flags := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(program), chromedp.UserDataDir(profile), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("no-first-run", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true), chromedp.Flag("no-proxy-server", true),
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.WSURLReadTimeout(time.Minute),
		chromedp.Env("TMPDIR="+testutil.ShortDir(t)), // it leaves its own there
	)
	ctx, stop := context.WithTimeoutCause(context.Background(), 5*time.Minute, errors.New("the browser takes too long"))
	t.Cleanup(stop)
	allocator, cancel := chromedp.NewExecAllocator(ctx, flags...)
	t.Cleanup(cancel)
	tab, closeTab := chromedp.NewContext(allocator)
	t.Cleanup(closeTab)
	return &browser{t, tab}
}

func (b *browser) open(url string) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, chromedp.Navigate(url)); err != nil {
		b.t.Fatalf("open %s: %v", url, err)
	}
}

// evaluate runs a script in the page; while a page is being left that can fail.
func evaluate[T any](b *browser, script string) (T, error) {
	return chromedp.Run(b.ctx, chromedp.Evaluate[T](script))
}

// shows waits until an element has a text, however often the page is loaded
// meanwhile. It does each of before now and then: what is saved before the page
// has its WebSocket reaches it by no framework's client.
func (b *browser) shows(selector, text string, before ...func()) {
	b.t.Helper()
	last := ""
	for n := range 1200 {
		for _, do := range before {
			if n%40 == 0 {
				do()
			}
		}
		time.Sleep(50 * time.Millisecond)
		found, err := evaluate[string](b, "document.querySelector('"+selector+"')?.textContent ?? ''")
		if err == nil && found == text {
			return
		}
		last = fmt.Sprint(found, " ", err)
	}
	page, err := evaluate[string](b, "location.href + document.documentElement.outerHTML")
	b.t.Fatalf("%s is %s, not %q, in %s %v", selector, last, text, page, err)
}

// mark leaves something in the page that only a new one has lost.
func (b *browser) mark() {
	b.t.Helper()
	if _, err := evaluate[bool](b, "window.marked = true"); err != nil {
		b.t.Fatal(err)
	}
}

func (b *browser) marked() bool {
	b.t.Helper()
	marked, err := evaluate[bool](b, "window.marked === true")
	if err != nil {
		b.t.Fatal(err)
	}
	return marked
}

// saves changes a module of the project.
func (m *machine) saves(text string) func() {
	return func() {
		m.write("text.js", "export const text = '"+text+"'")
		m.saved = time.Now()
	}
}

// write writes a file of the project, as an editor does.
func (m *machine) write(name, text string) {
	m.t.Helper()
	if err := os.WriteFile(filepath.Join(m.dir, name), []byte(text+"\n"), 0o644); err != nil { //nolint:gosec // a source file
		m.t.Fatal(err)
	}
}
