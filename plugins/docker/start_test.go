package docker_test

import (
	"archive/tar"
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
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
	for name, files := range map[string]map[string]string{
		"an empty image":               {"hello": "world"},
		"sleep is a directory":         {"bin/sleep/file": ""},
		"sleep may not be executed":    {"bin/sleep": "not executable"},
		"sleep is for another machine": {"bin/sleep:x": "\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 9) + "\x02\x00\xff\xff" + strings.Repeat("\x00", 100)},
		"sleep ends at once":           {"bin/sleep:x": "#!/bin/none\n"},
	} {
		t.Run("E "+name, func(t *testing.T) {
			b := newBox(t, dockertest.Engine(t))
			b.spec.Image = b.image(files)
			err := start(t, b)
			if err == nil { // the engine let it end by itself; the core then reads its log
				var log strings.Builder
				if err := b.Logs(t.Context(), b.spec.ID, false, 1, &log); err != nil || log.Len() == 0 {
					t.Errorf("its log is %q, %v", log.String(), err)
				}
				return
			}
			failed := driver.AsError(err)
			if failed.Reason != driver.InvalidArgument || !strings.Contains(failed.Message, b.spec.Image) || failed.Field != "image" || len(failed.Remedies) == 0 {
				t.Errorf("%s: %v, field %q, remedies %v", failed.Reason, failed, failed.Field, failed.Remedies)
			}
			if _, err := b.Get(t.Context(), b.spec.ID); err != nil {
				t.Error("it is gone:", err)
			}
		})
	}
}

// image makes an image of some files; those whose name ends in ":x" can be executed.
func (b *box) image(files map[string]string) string {
	b.t.Helper()
	path := filepath.Join(b.t.TempDir(), "image.tar")
	var out bytes.Buffer
	archive := tar.NewWriter(&out)
	for name, text := range files {
		name, executable := strings.CutSuffix(name, ":x")
		mode := int64(0o644)
		if executable {
			mode = 0o755
		}
		if err := archive.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(text))}); err != nil {
			b.t.Fatal(err)
		}
		if _, err := archive.Write([]byte(text)); err != nil {
			b.t.Fatal(err)
		}
	}
	if err := archive.Close(); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
		b.t.Fatal(err)
	}
	name := strings.Replace(b.spec.ID, "sero-test-", "sero-test-image:", 1)
	b.docker("import", path, name)
	b.t.Cleanup(func() {
		if err := b.Remove(context.Background(), b.spec.ID, true); err != nil {
			b.t.Error(err)
		}
		b.docker("rmi", name)
	})
	return name
}
