package docker_test

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/sero-labs/sero-runtime/internal/testutil/dockertest"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// TestB17StartFails says why a container does not start.
func TestB17StartFails(t *testing.T) {
	start := func(t *testing.T, b *box) error {
		t.Helper()
		if _, err := b.Create(t.Context(), b.spec); err != nil {
			t.Fatal(err)
		}
		_, err := b.Start(t.Context(), b.spec.ID)
		return err
	}
	t.Run("a mount's source has gone", func(t *testing.T) {
		b := newBox(t, dockertest.Engine(t))
		dir := filepath.Join(t.TempDir(), "gone")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		b.spec.Mounts = []driver.Mount{{Source: dir, Target: "/gone"}}
		if _, err := b.Create(t.Context(), b.spec); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(dir); err != nil {
			t.Fatal(err)
		}
		_, err := b.Start(t.Context(), b.spec.ID)
		wantReason(t, "Start", err, driver.MountDenied)
		if _, err := os.Stat(dir); err == nil {
			t.Error("it was created")
		}
	})
	t.Run("a port is taken", func(t *testing.T) {
		b := newBox(t, dockertest.Engine(t))
		taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer taken.Close()
		address, _ := taken.Addr().(*net.TCPAddr)
		b.spec.Publish = []driver.PublishedPort{{SandboxPort: 3000, HostPort: uint16(address.Port)}} //nolint:gosec // it is a port
		wantReason(t, "Start", start(t, b), driver.PortInUse)
		taken.Close()
		sb, err := b.Start(t.Context(), b.spec.ID)
		if err != nil || len(sb.Publish) != 1 || sb.Publish[0] != b.spec.Publish[0] {
			t.Errorf("once it is free: %+v, %v", sb.Publish, err)
		}
	})
	t.Run("there is no image", func(t *testing.T) {
		b := newBox(t, dockertest.Engine(t))
		b.spec.Image = "sero-test-absent:1"
		_, err := b.Create(t.Context(), b.spec)
		wantReason(t, "Create", err, driver.ImageNotFound)
	})
	t.Run("ports without a network", func(t *testing.T) {
		b := newBox(t, dockertest.Engine(t))
		b.spec.Network = driver.NetworkIsolated
		b.spec.Publish = []driver.PublishedPort{{SandboxPort: 1}}
		_, err := b.Create(t.Context(), b.spec)
		wantReason(t, "Create", err, driver.InvalidArgument)
	})
}
