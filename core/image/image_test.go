package image_test

import (
	"context"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/sero-labs/sero-runtime/core/image"
	"github.com/sero-labs/sero-runtime/core/negotiate"
	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/fake"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// box is the fake driver, but it builds whatever it is given, remembers how, and
// can be held up.
type box struct {
	*fake.Driver
	hold chan struct{} // a build waits until it is closed; nil: it does not
	fail error         // of every build

	mu     sync.Mutex
	builds []driver.BuildSpec
	files  []string // in the context of the last build
	begun  chan struct{}
}

func (b *box) BuildImage(ctx context.Context, spec driver.BuildSpec, report func(driver.Progress)) (driver.Image, error) {
	files, err := filepath.Glob(filepath.Join(spec.ContextDir, "*", "*"))
	if err != nil {
		return driver.Image{}, err
	}
	b.mu.Lock()
	b.builds, b.files = append(b.builds, spec), files
	b.mu.Unlock()
	report(driver.Progress{Phase: "build", Message: "step 1", Current: 1, Total: 2, Unit: "steps"})
	if b.begun != nil {
		b.begun <- struct{}{}
	}
	if b.hold != nil {
		select {
		case <-b.hold:
		case <-ctx.Done():
			return driver.Image{}, ctx.Err()
		}
	}
	if b.fail != nil {
		return driver.Image{}, b.fail
	}
	dir, err := os.MkdirTemp("", "sero-test-")
	if err != nil {
		return driver.Image{}, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("# nothing"), 0o600); err != nil {
		return driver.Image{}, err
	}
	spec.ContextDir, spec.Dockerfile = dir, ""
	return b.Driver.BuildImage(ctx, spec, report)
}

type drivers struct{ b *box }

func (d drivers) Driver(context.Context, string) (driver.Driver, error) { return d.b, nil }

func (d drivers) Choose(_ context.Context, r negotiate.Request) (negotiate.Choice, error) {
	if r.Mode != negotiate.ModeRequire {
		return negotiate.Choice{}, driver.Errorf(driver.Internal, "the host has no images")
	}
	return negotiate.Choice{Actual: "box"}, nil
}

func newImages(t *testing.T, script fake.Script, options image.Options) (*image.Images, *box) {
	t.Helper()
	script.Name = "box"
	b := &box{Driver: fake.New(script)}
	options.StateDir = t.TempDir()
	options.Installation, options.Drivers, options.Chooser = "me", drivers{b}, drivers{b}
	s := image.New(options)
	t.Cleanup(func() { s.Close(); b.Close() })
	return s, b
}

// TestB13 shows where an image comes from.
func TestB13(t *testing.T) {
	for name, c := range map[string]struct {
		local, remote []string
		base          string // configured
		ask           string
		built         string // the base that it is built on; empty: it is not built
		reason        driver.Reason
	}{
		"local":                               {local: []string{image.Default}, ask: image.Default},
		"default is built on the public base": {local: []string{"x"}, remote: []string{image.PublicBase}, ask: image.Default, built: image.PublicBase},
		"by its short name too":               {local: []string{image.PublicBase}, ask: "sero-node", built: image.PublicBase},
		"no registry: on the local base":      {local: []string{image.LocalBase}, ask: image.Default, built: image.LocalBase},
		"no base at all":                      {local: []string{"x"}, ask: image.Default, reason: driver.ImageNotFound},
		"configured base":                     {local: []string{image.LocalBase, "mine"}, base: "mine", ask: image.Default, built: "mine"},
		"configured base that is missing":     {local: []string{image.LocalBase}, base: "mine", ask: image.Default, reason: driver.ImageNotFound},
		"another is pulled":                   {local: []string{"x"}, remote: []string{"node:22"}, ask: "node:22"},
		"another is nowhere":                  {local: []string{"x"}, ask: "node:22", reason: driver.ImageNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			s, b := newImages(t, fake.Script{Images: c.local, Remote: c.remote}, image.Options{Base: c.base})
			var steps []string
			got, err := s.Ensure(t.Context(), b, c.ask, func(p driver.Progress) { steps = append(steps, p.Message) })
			if driver.ReasonOf(err) != c.reason {
				t.Fatal(err)
			}
			if err != nil {
				if c.ask == image.Default && len(driver.AsError(err).Remedies) == 0 {
					t.Error("nothing is said to be done about", err)
				}
				return
			}
			if got.Reference != c.ask {
				t.Error(got)
			}
			if c.built == "" {
				if len(b.builds) > 0 {
					t.Error("it was built:", b.builds)
				}
				return
			}
			if len(b.builds) != 1 || b.builds[0].Args["BASE"] != c.built || b.builds[0].Labels[driver.LabelManaged] != "true" ||
				b.builds[0].Labels[driver.LabelInstallation] != "me" || len(steps) == 0 {
				t.Errorf("built %+v, steps %q", b.builds, steps)
			}
			if _, err := os.Stat(b.builds[0].ContextDir); err == nil {
				t.Error("the build's directory is left behind")
			}
		})
	}
}

// TestB13Shared lets many wait for one build, with its progress and its error.
func TestB13Shared(t *testing.T) {
	s, b := newImages(t, fake.Script{Images: []string{image.LocalBase}}, image.Options{})
	b.hold, b.begun = make(chan struct{}), make(chan struct{}, 100)
	b.fail = driver.Errorf(driver.ImageBuildFailed, "the build failed")
	const n = 20
	results := make(chan error, n)
	var waiting sync.WaitGroup
	waiting.Add(n)
	for range n {
		go func() {
			once := sync.OnceFunc(waiting.Done)
			_, err := s.Ensure(t.Context(), b, image.Default, func(driver.Progress) { once() })
			results <- err
		}()
	}
	<-b.begun
	waiting.Wait() // until each has joined it
	// One that gives up is not felt by the others.
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(context.Canceled)
	if _, err := s.Ensure(ctx, b, image.Default, nil); driver.ReasonOf(err) != driver.Canceled {
		t.Error(err)
	}
	close(b.hold)
	for range n {
		if err := <-results; driver.ReasonOf(err) != driver.ImageBuildFailed {
			t.Error(err)
		}
	}
	if got := len(b.builds); got != 1 {
		t.Errorf("%d builds", got)
	}
}

// TestAbandoned ends a build that nobody waits for, and the next begins anew.
func TestAbandoned(t *testing.T) {
	s, b := newImages(t, fake.Script{Images: []string{image.LocalBase}}, image.Options{})
	b.hold, b.begun = make(chan struct{}), make(chan struct{}, 100)
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := s.Ensure(ctx, b, image.Default, nil)
		done <- err
	}()
	<-b.begun
	cancel(context.Canceled)
	if err := <-done; driver.ReasonOf(err) != driver.Canceled {
		t.Fatal(err)
	}
	go func() {
		_, err := s.Ensure(t.Context(), b, image.Default, nil)
		done <- err
	}()
	<-b.begun
	close(b.hold)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestB20OthersImagesAreLeftAlone(t *testing.T) {
	s, b := newImages(t, fake.Script{Images: []string{"theirs:1", image.LocalBase}}, image.Options{})
	if err := s.Remove(t.Context(), "", "theirs:1", true); driver.ReasonOf(err) != driver.ForeignResource {
		t.Error(err)
	}
	if _, err := s.Build(t.Context(), "", image.BuildOptions{}, nil); err != nil {
		t.Fatal(err)
	}
	// Whatever others build upon ours has its labels, and is theirs.
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("# upon it"), 0o600); err != nil {
		t.Fatal(err)
	}
	theirs := driver.BuildSpec{Tag: "theirs:2", ContextDir: dir, Labels: b.builds[0].Labels}
	if _, err := b.Driver.BuildImage(t.Context(), theirs, func(driver.Progress) {}); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(t.Context(), "", "theirs:2", true); driver.ReasonOf(err) != driver.ForeignResource {
		t.Error(err)
	}
	if list, err := s.List(t.Context(), ""); err != nil || len(list) != 1 || !list[0].Ours || list[0].Outdated {
		t.Error(list, err)
	}
	for range 2 { // the second time it is gone already
		if err := s.Remove(t.Context(), "", image.Default, false); err != nil {
			t.Error(err)
		}
	}
	if got, err := s.Status(t.Context(), "", ""); err != nil || got.Present || got.Reference != image.Default {
		t.Error(got, err)
	}
}

// TestProxies gives builds the proxies that they can reach.
func TestProxies(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://proxy.example.org:3128")
	t.Setenv("http_proxy", "http://127.0.0.1:3128")
	t.Setenv("NO_PROXY", "example.org,.local")
	s, b := newImages(t, fake.Script{Images: []string{image.LocalBase}}, image.Options{})
	if _, err := s.Build(t.Context(), "", image.BuildOptions{Args: map[string]string{"NO_PROXY": "mine"}}, nil); err != nil {
		t.Fatal(err)
	}
	args := b.builds[0].Args
	if _, loopback := args["http_proxy"]; loopback || args["HTTPS_PROXY"] != "http://proxy.example.org:3128" || args["NO_PROXY"] != "mine" {
		t.Errorf("%v", args)
	}
}

// TestOnlyCertificates keeps keys that lie beside certificates out of the build.
func TestOnlyCertificates(t *testing.T) {
	dir := t.TempDir()
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("public")})
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("secret")})
	for name, text := range map[string][]byte{"a.crt": append(key, certificate...), "b.crt": key, "c.txt": certificate, "d.crt": []byte("nonsense")} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, b := newImages(t, fake.Script{Images: []string{image.LocalBase}}, image.Options{Certificates: []string{dir, "/nowhere", filepath.Join(dir, "c.txt")}})
	b.begun = make(chan struct{}) // holds the build until the files are looked at
	done := make(chan error, 1)
	go func() {
		_, err := s.Build(t.Context(), "", image.BuildOptions{}, nil)
		done <- err
	}()
	var seen []string
	for seen == nil {
		b.mu.Lock()
		for _, file := range b.files {
			if strings.HasSuffix(file, ".crt") {
				text, err := os.ReadFile(file)
				if err != nil {
					t.Error(err)
				}
				seen = append(seen, string(text))
			}
		}
		b.mu.Unlock()
	}
	<-b.begun
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if len(seen) != 1 || seen[0] != string(certificate) {
		t.Errorf("%q", seen)
	}
}

func TestBuildRefusals(t *testing.T) {
	s, _ := newImages(t, fake.Script{}, image.Options{})
	for name, o := range map[string]image.BuildOptions{
		"relative":      {ContextDir: "x"},
		"nothing there": {ContextDir: t.TempDir()},
		"out of it":     {ContextDir: t.TempDir(), Dockerfile: "../Dockerfile"},
	} {
		if _, err := s.Build(t.Context(), "", o, nil); err == nil || len(driver.AsError(err).Remedies) == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestB13Parent makes sero's own image for a Dockerfile that begins with it.
func TestB13Parent(t *testing.T) {
	s, b := newImages(t, fake.Script{Images: []string{image.LocalBase}}, image.Options{})
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("# ours\nfrom sero-node\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Build(t.Context(), "", image.BuildOptions{Reference: "shop:1", ContextDir: dir}, nil); err != nil {
		t.Fatal(err)
	}
	if len(b.builds) != 2 || b.builds[0].Tag != image.Default || b.builds[1].Tag != "shop:1" {
		t.Errorf("%+v", b.builds)
	}
}
