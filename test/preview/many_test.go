package preview_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// nameVariable makes this test program a small dev server that answers its name.
const nameVariable = "SERO_TEST_SERVER"

// serveName listens on a port that nobody else has, as a dev server would.
func serveName(name string) {
	for {
		const first, count = 12000, 18000
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(first+rand.IntN(count)))
		if err != nil {
			continue
		}
		server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, name)
		})}
		_ = server.Serve(l)
		return
	}
}

// call makes one call of the daemon's API, as a program does.
func (m *machine) call(method string, request, response any) error {
	text, err := json.Marshal(request)
	if err != nil {
		return err
	}
	socket := filepath.Join(m.runDir, "sero.sock")
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport, Timeout: 2 * time.Minute}
	r, err := client.Post("http://sero/sero.api.v1."+method, "application/json", bytes.NewReader(text))
	if err != nil {
		return err
	}
	defer r.Body.Close()
	answer, err := io.ReadAll(r.Body)
	if err == nil && r.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", r.Status, answer)
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(answer, response)
}

// inParallel does n things, some at the same time.
func inParallel(n int, do func(i int)) {
	var all sync.WaitGroup
	slots := make(chan struct{}, 8)
	for i := range n {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			do(i)
		})
	}
	all.Wait()
}

type devServer struct {
	server
	WorkspaceID string `json:"workspaceId"`
	Status      string `json:"status"`
	PID         string `json:"pid"` // 64-bit numbers are texts in JSON
}

func (m *machine) all() map[string]devServer {
	m.t.Helper()
	var listed struct {
		DevServers []devServer `json:"devServers"`
	}
	if err := m.call("DevServerService/ListDevServers", map[string]any{}, &listed); err != nil {
		m.t.Fatal(err)
	}
	byName := map[string]devServer{}
	for _, s := range listed.DevServers {
		byName[s.Name+"."+s.WorkspaceID] = s
	}
	return byName
}

func (m *machine) count(status string) (n int) {
	for _, s := range m.all() {
		if s.Status == status {
			n++
		}
	}
	return n
}

func TestB31B33FiftyWorkspacesWithFourServers(t *testing.T) {
	const workspaces, each, killed = 50, 4, 10
	m := newMachine(t, "host")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Dir(m.dir)
	inParallel(workspaces*each, func(i int) {
		dir := filepath.Join(root, fmt.Sprintf("w-%d", i/each))
		name := fmt.Sprintf("s-%d", i%each)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Error(err)
		}
		var started struct {
			DevServer devServer `json:"devServer"`
		}
		request := map[string]any{
			"workspace": map[string]string{"directory": dir}, "name": name, "driver": "host",
			"command": []string{self, name, strconv.Itoa(i)}, "env": []map[string]string{{"name": nameVariable, "value": fmt.Sprint("server ", i)}},
		}
		if err := m.call("DevServerService/StartDevServer", request, &started); err != nil {
			t.Error(err)
		}
	})
	servers := m.all()
	ports := map[int]bool{}
	for i := range workspaces * each {
		s := servers[fmt.Sprintf("s-%d.w-%d", i%each, i/each)]
		ports[s.Port] = true
		if text := m.fetch(s.PreviewURL); text != fmt.Sprint("server ", i) || s.Status != "DEV_SERVER_STATUS_RUNNING" {
			t.Errorf("%+v answers %q", s, text)
		}
	}
	if len(servers) != workspaces*each || len(ports) != workspaces*each {
		t.Fatal(len(servers), len(ports))
	}

	var want []string
	for i := range killed {
		s := servers[fmt.Sprintf("s-%d.w-%d", i%each, 3*i)]
		pid, err := strconv.Atoi(s.PID)
		if err != nil || pid < 2 {
			t.Fatalf("%+v", s)
		}
		want = append(want, "devserver.stopped "+s.ID)
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	for range 600 {
		if m.count("DEV_SERVER_STATUS_STOPPED") == killed {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if stopped, running := m.count("DEV_SERVER_STATUS_STOPPED"), m.count("DEV_SERVER_STATUS_RUNNING"); stopped != killed || running != workspaces*each-killed {
		t.Errorf("%d stopped, %d running", stopped, running)
	}
	var got []string
	for line := range strings.Lines(m.ok("events", "--json")) {
		var e struct{ Type, Subject string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if e.Type == "devserver.stopped" || e.Type == "devserver.failed" {
			got = append(got, e.Type+" "+e.Subject)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("events %q, want %q", got, want)
	}
	inParallel(workspaces, func(i int) {
		var removed any
		if err := m.call("WorkspaceService/RemoveWorkspace", map[string]any{"workspace": map[string]string{"id": fmt.Sprintf("w-%d", i)}}, &removed); err != nil {
			t.Error(err)
		}
	})
	if left := m.all(); len(left) != 0 {
		t.Errorf("%d servers are left", len(left))
	}
}
