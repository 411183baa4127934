package docker_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/internal/testutil"
	"github.com/sero-labs/sero-runtime/internal/testutil/dockertest"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// TestB15StopIsSeen stops a sandbox on an engine whose lists are behind, as those
// of Docker 26 and newer are for a moment: what comes next must find it stopped.
func TestB15StopIsSeen(t *testing.T) {
	var stale atomic.Int32 // lists that tell what was before
	b := newBox(t, otherEngine(t, func(r *http.Response) error {
		switch path := r.Request.URL.Path; {
		case strings.HasSuffix(path, "/stop"):
			stale.Store(3)
		case strings.HasSuffix(path, "/containers/json") && stale.Add(-1) >= 0:
			return answer(r, func(list []map[string]any) any {
				for _, item := range list {
					item["State"] = "running"
				}
				return list
			})
		}
		return nil
	}))
	first := b.start()
	for range 2 {
		if err := b.Stop(t.Context(), b.spec.ID, time.Second); err != nil {
			t.Fatal(err)
		}
		sb, err := b.Start(t.Context(), b.spec.ID)
		if err != nil || sb.State != driver.SandboxRunning || !sb.Started.After(first.Started) {
			t.Fatalf("started again: %+v, %v; it first ran from %v", sb, err, first.Started)
		}
		first = sb
	}
	if err := b.Stop(t.Context(), b.spec.ID, 0); err != nil {
		t.Fatal(err)
	}
	if err := b.Remove(t.Context(), b.spec.ID, false); err != nil {
		t.Errorf("Remove: %v", err)
	}
}

// TestB17StartWhileTheEngineStops: what an engine says then is about itself, and
// no verdict on the sandbox.
func TestB17StartWhileTheEngineStops(t *testing.T) {
	var refusals atomic.Int32
	b := newBox(t, otherEngine(t, func(r *http.Response) error {
		if !strings.HasSuffix(r.Request.URL.Path, "/start") || r.Request.Method != http.MethodPost {
			return nil
		}
		switch refusals.Add(1) {
		case 1:
			return refuse(r, http.StatusInternalServerError, "failed to update store for object type *libnetwork.endpoint: open : no such file or directory")
		case 2:
			return refuse(r, http.StatusForbidden, "endpoint with name sero-w5 already exists in network bridge")
		}
		return nil
	}))
	if sb := b.start(); sb.State != driver.SandboxRunning {
		t.Errorf("it is %+v", sb)
	}
	if n := refusals.Load(); n != 3 {
		t.Errorf("it was tried %d times", n)
	}
}

// refuse makes another answer of an engine's.
func refuse(r *http.Response, code int, why string) error {
	text, err := json.Marshal(map[string]string{"message": why})
	_ = r.Body.Close()
	r.StatusCode, r.Status = code, http.StatusText(code)
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
	r.Header = http.Header{"Content-Type": {"application/json"}, "Content-Length": {strconv.Itoa(len(text))}}
	return err
}

// TestLimitsOfTheEngine: an engine without the control groups for a limit drops it
// and only warns, so such a sandbox is not made.
func TestLimitsOfTheEngine(t *testing.T) {
	b := newBox(t, otherEngine(t, func(r *http.Response) error {
		if !strings.HasSuffix(r.Request.URL.Path, "/info") {
			return nil
		}
		return answer(r, func(info map[string]any) any {
			info["MemoryLimit"], info["CpuCfsQuota"] = false, false
			return info
		})
	}))
	for _, limits := range []driver.Resources{{MemoryBytes: 64 << 20}, {CPUs: 1}} {
		b.spec.Resources = limits
		_, err := b.Create(t.Context(), b.spec)
		wantReason(t, "Create", err, driver.Unsupported)
		_, err = b.Get(t.Context(), b.spec.ID)
		wantReason(t, "Get", err, driver.NotFound)
	}
	b.spec.Resources = driver.Resources{}
	b.start()
}

// TestSlowToTell: an engine that works and takes long to tell what it is, as
// Podman does, is ready before it has told.
func TestSlowToTell(t *testing.T) {
	tell := make(chan struct{})
	d := on(t, otherEngine(t, func(r *http.Response) error {
		if strings.HasSuffix(r.Request.URL.Path, "/version") {
			select {
			case <-tell:
			case <-r.Request.Context().Done():
			}
		}
		return nil
	}))
	ctx, cancel := context.WithCancelCause(t.Context())
	told, ended := make(chan driver.Health), make(chan error, 1)
	go func() {
		ended <- d.Health(ctx, func(h driver.Health) error {
			select {
			case told <- h:
			case <-ctx.Done():
			}
			return nil
		})
	}()
	if h := <-told; h.State != driver.HealthReady || h.Attributes["engine.version"] != "" || h.Attributes["engine.host"] == "" {
		t.Errorf("before it has told: %+v", h)
	}
	close(tell)
	if h := <-told; h.State != driver.HealthReady || h.Attributes["engine.version"] == "" {
		t.Errorf("once it has told: %+v", h)
	}
	cancel(errors.New("enough"))
	wantReason(t, "Health", <-ended, driver.Canceled)
}

// TestPodman does on Podman's terms what it does otherwise than Docker.
func TestPodman(t *testing.T) {
	b := newBox(t, otherEngine(t, func(r *http.Response) error {
		switch path := r.Request.URL.Path; {
		case strings.HasSuffix(path, "/images/json"):
			return answer(r, func(list []map[string]any) any {
				for _, item := range list {
					for i, tag := range item["RepoTags"].([]any) {
						item["RepoTags"].([]any)[i] = "docker.io/library/" + tag.(string)
					}
				}
				return list
			})
		case strings.HasSuffix(path, "/containers/json"):
			return answer(r, func(list []map[string]any) any {
				for _, item := range list {
					item["Image"] = "docker.io/library/" + item["Image"].(string)
				}
				return list
			})
		case strings.HasSuffix(path, "/events") && strings.Contains(r.Request.URL.Query().Get("filters"), `"remove"`):
			r.Body = replaced{r.Body}
		case strings.HasSuffix(path, "/archive") && r.Request.Method == http.MethodPut:
			r.StatusCode, r.Status = http.StatusOK, "200 OK" // what is not there is made
		}
		return nil
	}))
	image := b.spec.ID + ":1" // the second name of several: Docker lets it go
	dockertest.Docker(t, dockertest.Engine(t), "tag", b.spec.Image, image)
	t.Cleanup(func() { dockertest.Docker(t, dockertest.Engine(t), "rmi", "--no-prune", image) })
	b.spec.Image = image
	ctx, cancel := context.WithCancelCause(t.Context())
	told, ended := make(chan driver.EventType, 10), make(chan error, 1)
	go func() {
		ended <- b.Events(ctx, func(e driver.Event) error {
			if e.SandboxID == b.spec.ID {
				told <- e.Type
			}
			return nil
		})
	}()
	b.start()
	wantReason(t, "CopyIn", b.CopyIn(t.Context(), b.spec.ID, "/absent", bytes.NewReader(make([]byte, 1024))), driver.NotFound)
	wantReason(t, "RemoveImage", b.RemoveImage(t.Context(), image, false), driver.ImageInUse)
	images, err := b.ListImages(t.Context(), nil)
	if err != nil || !slices.ContainsFunc(images, func(i driver.Image) bool { return i.Reference == image }) {
		t.Errorf("%s is not among %+v, %v", image, images, err)
	}
	if err := b.Remove(t.Context(), b.spec.ID, true); err != nil {
		t.Fatal(err)
	}
	for last := driver.EventCreated; last != driver.EventRemoved; {
		select {
		case last = <-told:
		case <-time.After(patience):
			t.Fatal("that it was removed is not told")
		}
	}
	cancel(errors.New("enough"))
	wantReason(t, "Events", <-ended, driver.Canceled)
}

// replaced is Docker's stream of events in Podman's words.
type replaced struct{ io.ReadCloser }

// Read reads, and says remove where it says destroy: pieces hold whole events.
func (r replaced) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	return copy(p, bytes.ReplaceAll(p[:n], []byte(`"destroy"`), []byte(`"remove"`))), err
}

// otherEngine is the address of this machine's engine with some answers changed
// to what others give.
func otherEngine(t *testing.T, change func(*http.Response) error) string {
	t.Helper()
	engine := dockertest.Engine(t)
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", strings.TrimPrefix(engine, "unix://"))
	}}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "engine"})
	proxy.Transport, proxy.ModifyResponse, proxy.FlushInterval = transport, change, -1
	path := filepath.Join(testutil.ShortDir(t), "engine.sock")
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: proxy, ReadHeaderTimeout: patience}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener) // ends when it is closed
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-served
		transport.CloseIdleConnections()
	})
	return "unix://" + path
}

// answer changes what an answer says.
func answer[T any](r *http.Response, change func(T) any) error {
	var said T
	if err := json.NewDecoder(r.Body).Decode(&said); err != nil {
		return err
	}
	text, err := json.Marshal(change(said))
	if err != nil {
		return err
	}
	_ = r.Body.Close()
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
	r.Header.Del("Content-Length")
	return nil
}
