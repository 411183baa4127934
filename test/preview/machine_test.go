// Package preview_test develops with real frameworks, in real browsers, through
// previews, as a person does: sero is the program, nothing is reached into.
package preview_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/internal/paths"
	"github.com/sero-labs/sero-runtime/internal/testutil"
)

// machine is a person's machine with a workspace in it.
type machine struct {
	t      *testing.T
	driver string
	dir    string
	runDir string
	saved  time.Time // when a module was last changed
	env    []string
}

// server is what sero says of a dev server.
type server struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	Port       int    `json:"port"`
	URL        string `json:"url"`
	PreviewURL string `json:"previewUrl"`
	Status     string `json:"status"`
	PID        int64  `json:"pid"`
	Detected   bool   `json:"detected"`

	StatusMessage string `json:"statusMessage"`
}

func (s server) pid() string { return strconv.FormatInt(s.PID, 10) }

// bin is where the program is built.
var bin string

// sero is the program, built once.
var sero = sync.OnceValues(func() (string, error) {
	program := filepath.Join(bin, "sero")
	out, err := exec.Command("go", "build", "-o", program, "github.com/sero-labs/sero-runtime/cmd/sero").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return program, nil
})

func TestMain(m *testing.M) {
	if name := os.Getenv(nameVariable); name != "" {
		serveName(name)
		return
	}
	var err error
	if bin, err = os.MkdirTemp("", "sero-bin"); err != nil {
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(bin)
	os.Exit(code) //nolint:forbidigo // it is the test program's main function
}

func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		testutil.Missing(t, name, err.Error())
	}
	return path
}

func newMachine(t *testing.T, driver string) *machine {
	t.Helper()
	binary, err := sero()
	if err != nil {
		t.Fatal(err)
	}
	run, err := os.MkdirTemp("/tmp", "sero-p") //nolint:usetesting // its path must be short for sockets
	if err != nil {
		t.Fatal(err)
	}
	home, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, driver: driver, dir: filepath.Join(home, "ws"), runDir: run, env: append(os.Environ(),
		paths.HomeVariable+"="+filepath.Join(home, ".sero"), paths.RunVariable+"="+run, "PATH="+filepath.Dir(binary)+":"+os.Getenv("PATH"))}
	if err := os.Mkdir(m.dir, 0o755); err != nil { //nolint:gosec // a directory of sources
		t.Fatal(err)
	}
	t.Cleanup(func() {
		m.ok("rm")
		m.ok("daemon", "stop")
		if err := os.RemoveAll(run); err != nil {
			t.Error(err)
		}
	})
	m.ownPort(filepath.Join(home, ".sero"))
	m.needs(driver)
	id := "preview-" + strconv.FormatInt(time.Now().UnixNano(), 36)
	m.ok("up", "--driver", driver, "--id", id)
	return m
}

// ownPort gives the machine's previews a port that no other daemon takes while
// this one is down.
func (m *machine) ownPort(home string) {
	m.t.Helper()
	port := freePort(m.t)
	err := os.MkdirAll(home, 0o700)
	if err == nil {
		err = os.WriteFile(filepath.Join(home, "config.json"), []byte(`{"preview": {"port": `+port+`}}`), 0o600)
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

// freePort is one that nobody of this machine has now.
func freePort(t *testing.T) string {
	t.Helper()
	return strconv.Itoa(int(testutil.FreePort(t)))
}

// needs ends the test where the driver cannot be used.
func (m *machine) needs(driver string) {
	m.t.Helper()
	var listed struct {
		Drivers []struct {
			Name    string `json:"name"`
			Usable  bool   `json:"usable"`
			State   string `json:"state"`
			Problem string `json:"problem"`
		} `json:"drivers"`
	}
	m.json(&listed, "driver", "ls", "--json")
	for _, d := range listed.Drivers {
		if d.Name == driver && d.Usable && (d.State == "ready" || d.State == "healthy") {
			return
		}
	}
	testutil.Missing(m.t, driver, fmt.Sprintf("%+v", listed.Drivers))
}

// sero runs sero in the workspace, for two minutes at most.
func (m *machine) sero(args ...string) (stdout, stderr string, err error) {
	m.t.Helper()
	binary, err := sero()
	if err != nil {
		m.t.Fatal(err)
	}
	return m.command(2*time.Minute, m.dir, binary, args...)
}

func (m *machine) command(limit time.Duration, dir, name string, args ...string) (stdout, stderr string, err error) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), limit, errors.New("the program hangs"))
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, m.env
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

func (m *machine) ok(args ...string) string {
	m.t.Helper()
	stdout, stderr, err := m.sero(args...)
	if err != nil {
		m.t.Fatalf("sero %s: %v\n%s%s", strings.Join(args, " "), err, stdout, stderr)
	}
	return stdout
}

func (m *machine) json(value any, args ...string) {
	m.t.Helper()
	if err := json.Unmarshal([]byte(m.ok(args...)), value); err != nil {
		m.t.Fatalf("sero %s: %v", strings.Join(args, " "), err)
	}
}

// run starts a dev server, which must listen.
func (m *machine) run(args ...string) server {
	m.t.Helper()
	var s server
	m.json(&s, append([]string{"run", "--json", "--wait", "100s"}, args...)...)
	if s.Status != "running" || s.PreviewURL == "" {
		m.t.Fatalf("%+v", s)
	}
	return s
}

func (m *machine) find(name string) server {
	m.t.Helper()
	var listed struct {
		DevServers []server `json:"devServers"`
	}
	m.json(&listed, "dev", "ls", "--json")
	i := slices.IndexFunc(listed.DevServers, func(s server) bool { return s.Name == name || strconv.Itoa(s.Port) == name })
	if i < 0 {
		return server{}
	}
	return listed.DevServers[i]
}

func (m *machine) becomes(name, status string) server {
	m.t.Helper()
	for range 600 {
		if s := m.find(name); s.Status == status {
			return s
		}
		time.Sleep(50 * time.Millisecond)
	}
	m.t.Fatalf("%+v is not %s", m.find(name), status)
	return server{}
}

// get asks for a page, as a browser on this machine finds it.
func (m *machine) get(url string) (status int, text string) {
	m.t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		return new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", port))
	}}
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport, Timeout: time.Minute}
	response, err := client.Get(url)
	if err != nil {
		m.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		m.t.Fatal(err)
	}
	return response.StatusCode, strings.TrimSpace(string(body))
}

func (m *machine) fetch(url string) string {
	m.t.Helper()
	_, text := m.get(url)
	return text
}

func (m *machine) status(url string) int {
	m.t.Helper()
	status, _ := m.get(url)
	return status
}

// own tells whether a process of a container is sero's: what runs a command, what
// watches listeners, what lists the processes.
func own(args string) bool {
	return strings.HasPrefix(args, "ps ") || args == "sleep 1" || strings.Contains(args, "sero-exec") ||
		strings.Contains(args, "ss -Htlnp") || strings.Contains(args, "/opt/sero/")
}

// driverPID is the process of the machine's driver, 0 when it does not run.
func (m *machine) driverPID() int {
	m.t.Helper()
	var listed struct {
		Drivers []struct {
			Name string `json:"name"`
			PID  int    `json:"pid"`
		} `json:"drivers"`
	}
	m.json(&listed, "driver", "ls", "--json")
	for _, d := range listed.Drivers {
		if d.Name == m.driver {
			return d.PID
		}
	}
	return 0
}

// eventually asks for a page until it has the status.
func (m *machine) eventually(url string, want int) string {
	m.t.Helper()
	for range 300 {
		if status, text := m.get(url); status == want {
			return text
		}
		time.Sleep(50 * time.Millisecond)
	}
	status, text := m.get(url)
	m.t.Fatalf("%s answers %d: %s", url, status, text)
	return ""
}

// killDaemon ends the daemon without warning, and waits until it has gone.
func (m *machine) killDaemon() {
	m.t.Helper()
	var daemon struct {
		PID int `json:"pid"`
	}
	m.json(&daemon, "daemon", "status", "--json")
	if daemon.PID < 2 {
		m.t.Fatal("no daemon")
	}
	if err := syscall.Kill(daemon.PID, syscall.SIGKILL); err != nil {
		m.t.Fatal(err)
	}
	for range 500 {
		if syscall.Kill(daemon.PID, 0) != nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	m.t.Fatal("the daemon does not end")
}

// processes are the workspace's, without pids and what is sero's.
func (m *machine) processes() []string {
	m.t.Helper()
	var found []string
	if m.driver == "host" {
		links, _ := filepath.Glob("/proc/[0-9]*/cwd")
		for _, link := range links {
			if cwd, err := os.Readlink(link); err != nil || !strings.HasPrefix(cwd, m.dir) {
				continue
			}
			args, _ := os.ReadFile(filepath.Join(filepath.Dir(link), "cmdline"))
			found = append(found, strings.ReplaceAll(string(args), "\x00", " "))
		}
	} else {
		for _, p := range m.reaped() {
			if !p.zombie && !own(p.args) { // those that wait for another parent are no processes any more
				found = append(found, p.args)
			}
		}
	}
	slices.Sort(found)
	return found
}

// contained is a process of a container.
type contained struct {
	pid, parent, args string
	zombie            bool
}

// ps lists the processes of the container.
func (m *machine) ps() []contained {
	m.t.Helper()
	var list []contained
	for line := range strings.Lines(m.ok("exec", "--", "ps", "-eo", "pid=,ppid=,stat=,args=")) {
		f := strings.Fields(line)
		if len(f) < 4 {
			m.t.Fatalf("ps says %q", line)
		}
		list = append(list, contained{f[0], f[1], strings.Join(f[3:], " "), strings.HasPrefix(f[2], "Z")})
	}
	return list
}

// reaped lists the processes of the container once the guest helper has reaped
// all of its children that have ended.
func (m *machine) reaped() []contained {
	m.t.Helper()
	var waiting []contained
	for range 200 {
		list := m.ps()
		helpers := map[string]bool{}
		for _, p := range list {
			if strings.HasPrefix(p.args, "sero-guest host ") {
				helpers[p.pid] = true
			}
		}
		if len(helpers) == 0 {
			m.t.Fatalf("no guest helper is among %+v", list)
		}
		waiting = slices.DeleteFunc(slices.Clone(list), func(p contained) bool { return !p.zombie || !helpers[p.parent] })
		if len(waiting) == 0 {
			return list
		}
		time.Sleep(50 * time.Millisecond)
	}
	m.t.Fatalf("the guest helper does not reap %+v", waiting)
	return nil
}

// project makes the workspace one of testdata's, with its packages installed.
func (m *machine) project(name string) {
	m.t.Helper()
	source := filepath.Join("testdata", name)
	if err := os.CopyFS(m.dir, os.DirFS(source)); err != nil {
		m.t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(m.dir, "node_modules"), os.DirFS(m.packages(source))); err != nil {
		m.t.Fatal(err)
	}
}

// packages installs what a lockfile says, once for all tests of this machine.
func (m *machine) packages(source string) string {
	m.t.Helper()
	npm := program(m.t, "npm")
	lock, err := os.ReadFile(filepath.Join(source, "package-lock.json"))
	if err != nil {
		m.t.Fatal(err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		m.t.Fatal(err)
	}
	cache = filepath.Join(cache, "sero-tests")
	if err := os.MkdirAll(cache, 0o700); err != nil {
		m.t.Fatal(err)
	}
	sum := sha256.Sum256(lock)
	kept := filepath.Join(cache, hex.EncodeToString(sum[:10]))
	if _, err := os.Stat(kept); err == nil {
		return filepath.Join(kept, "node_modules")
	}
	fresh, err := os.MkdirTemp(cache, "new-")
	if err != nil {
		m.t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(fresh) }()
	for _, file := range []string{"package.json", "package-lock.json"} {
		text, err := os.ReadFile(filepath.Join(source, file))
		if err == nil {
			err = os.WriteFile(filepath.Join(fresh, file), text, 0o600)
		}
		if err != nil {
			m.t.Fatal(err)
		}
	}
	if stdout, stderr, err := m.command(5*time.Minute, fresh, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"); err != nil {
		m.t.Fatalf("npm ci: %v\n%s%s", err, stdout, stderr)
	}
	if err := os.Rename(fresh, kept); err != nil && !errors.Is(err, os.ErrExist) {
		if _, found := os.Stat(kept); found != nil {
			m.t.Fatal(err)
		}
	}
	return filepath.Join(kept, "node_modules")
}
