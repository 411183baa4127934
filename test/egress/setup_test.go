// Package egress_test tries to walk around the egress proxy from inside real
// containers: core's workspaces, the docker driver, the guest helper and the
// proxy are the ones that people have. Only names are this test's, and what is
// public leads to a server of its own.
package egress_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/core/config"
	"github.com/sero-labs/sero-runtime/core/egress"
	"github.com/sero-labs/sero-runtime/core/guest"
	"github.com/sero-labs/sero-runtime/core/guest/helper"
	"github.com/sero-labs/sero-runtime/core/negotiate"
	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/internal/testutil"
	"github.com/sero-labs/sero-runtime/internal/testutil/dockertest"
	"github.com/sero-labs/sero-runtime/plugins/docker"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// site is a machine with workspaces in the docker driver.
type site struct {
	*workspace.Manager
	t      *testing.T
	egress *egress.Service
	driver driver.Driver
	image  string
	origin string // a server that answers everything

	state, helpers, userHome, installation string

	mu      sync.Mutex
	names   map[string][]netip.Addr
	twins   map[netip.Addr]bool // addresses that lead to origin
	dialled []netip.AddrPort
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{
		t: t, image: dockertest.BaseImage(t), names: map[string][]netip.Addr{}, twins: map[netip.Addr]bool{},
		state: t.TempDir(), helpers: t.TempDir(), userHome: t.TempDir(), installation: rand.Text(),
	}
	t.Setenv("DOCKER_HOST", dockertest.Engine(t))
	if err := os.Chmod(s.helpers, 0o755); err != nil { //nolint:gosec // containers read it
		t.Fatal(err)
	}
	if _, err := guest.Mount(s.helpers); errors.Is(err, helper.ErrNotBuilt) {
		testutil.Missing(t, "helper", err.Error())
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, "hello") }))
	t.Cleanup(server.Close)
	s.origin = strings.TrimPrefix(server.URL, "http://")
	engine := docker.New()
	s.driver = engine
	t.Cleanup(func() {
		if err := engine.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	s.begin()
	t.Cleanup(s.end)
	return s
}

// begin makes the core's parts; after end, those of a new daemon on the same
// state.
func (s *site) begin() {
	s.t.Helper()
	var err error
	s.Manager, err = workspace.NewManager(workspace.Options{
		StateDir: s.state, Installation: s.installation, Drivers: s, Chooser: s, GuestDir: s.helpers, UserHome: s.userHome,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.egress, err = egress.New(egress.Options{StateDir: s.state, Listen: s.Listen, Resolver: s, Dial: s.dial})
	if err != nil {
		s.t.Fatal(err)
	}
	s.SetEgress(s.egress)
}

func (s *site) end() {
	s.egress.Close()
	s.Close()
}

// Driver, Started and Choose make every workspace one of the docker driver's.
func (s *site) Driver(context.Context, string) (driver.Driver, error) { return s.driver, nil }

func (s *site) Started(string) (driver.Driver, bool) { return s.driver, true }

func (s *site) Choose(context.Context, negotiate.Request) (negotiate.Choice, error) {
	return negotiate.Choice{Actual: "docker", Isolation: driver.IsolationSharedKernel}, nil
}

// LookupNetIP knows the names of the test.
func (s *site) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if found := s.names[strings.TrimSuffix(host, ".")]; len(found) > 0 {
		return slices.Clone(found), nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

func (s *site) name(host string, addresses ...netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names[host] = addresses
}

func (s *site) twin(a netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.twins[a] = true
}

// dial leads to the test's server for what is public, and really dials the rest.
func (s *site) dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	s.mu.Lock()
	s.dialled = append(s.dialled, to)
	address := to.String()
	if s.twins[to.Addr()] {
		address = s.origin
	}
	s.mu.Unlock()
	bounded, cancel := context.WithTimeoutCause(ctx, time.Second, errors.New("nobody answers"))
	defer cancel()
	return (&net.Dialer{}).DialContext(bounded, "tcp", address)
}

// strays are the addresses that were dialled and are no twin.
func (s *site) strays() []netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.dialled), func(a netip.AddrPort) bool { return s.twins[a.Addr()] })
}

// open makes a workspace with egress rules, and gives its id and directory.
func (s *site) open(rules config.Egress) (id, dir string) {
	s.t.Helper()
	id, dir = "egress-"+strings.ToLower(rand.Text()[:10]), s.t.TempDir()
	section := map[string]any{"mode": string(rules.Chosen()), "enforce": rules.Enforce}
	if rules.Allow != nil {
		section["allow"] = rules.Allow
	}
	text, err := json.Marshal(map[string]any{"id": id, "image": s.image, "egress": section})
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "sero.json"), text, 0o600)
	}
	probe, readErr := os.ReadFile(filepath.Join("testdata", "probe.py"))
	if err = errors.Join(err, readErr); err == nil {
		err = os.WriteFile(filepath.Join(dir, "probe.py"), probe, 0o600)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if _, _, err := s.Remove(context.Background(), workspace.Ref{ID: id}); err != nil {
			s.t.Error(err)
		}
	})
	if _, err := s.Up(s.t.Context(), workspace.UpOptions{Ref: workspace.Ref{Dir: dir}}, nil); err != nil {
		s.t.Fatal(err)
	}
	return id, dir
}

// run runs a command in a workspace and gives its outputs, which are one.
func (s *site) run(id string, argv ...string) string {
	s.t.Helper()
	var out bytes.Buffer
	_, err := s.Exec(s.t.Context(), workspace.ExecOptions{
		Ref: workspace.Ref{ID: id}, Argv: argv, Dir: "/workspace", Timeout: 5 * time.Minute,
	}, driver.ExecIO{Stdout: &out, Stderr: &out}, nil, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return out.String()
}

// attempt is one request from inside, and what it must come to.
type attempt struct {
	what    string
	request string
	through bool // 200, else a refusal
}

// both are the attempts on an authority by CONNECT and by absolute-form GET.
func both(what, authority string, through bool) []attempt {
	const end = "\r\n{auth}\r\nConnection: close\r\n\r\n"
	return []attempt{
		{what + " by CONNECT: " + authority, "CONNECT " + authority + " HTTP/1.1\r\nHost: " + authority + end, through},
		{what + " by GET: " + authority, "GET http://" + authority + "/ HTTP/1.1\r\nHost: " + authority + end, through},
	}
}

// try makes all attempts from inside a workspace.
func (s *site) try(id, dir string, attempts []attempt) {
	s.t.Helper()
	var text strings.Builder
	for _, a := range attempts {
		text.WriteString(hex.EncodeToString([]byte(a.request)) + "\n")
	}
	if err := os.WriteFile(filepath.Join(dir, "requests"), []byte(text.String()), 0o600); err != nil {
		s.t.Fatal(err)
	}
	out := s.run(id, "python3", "probe.py", "requests")
	lines := strings.Fields(out)
	if len(lines) != len(attempts) {
		s.t.Fatalf("%d attempts, and %d answers: %s", len(attempts), len(lines), out)
	}
	for i, a := range attempts {
		status, err := strconv.Atoi(lines[i])
		refused := status == 0 || status == http.StatusForbidden || status == http.StatusBadRequest || status == http.StatusProxyAuthRequired
		if err != nil || a.through != (status == http.StatusOK) || !a.through && !refused {
			s.t.Errorf("%s: %s, want it through: %t", a.what, lines[i], a.through)
		}
	}
}

// basic is a credential as a header.
func basic(at string) string {
	return "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(at))
}
