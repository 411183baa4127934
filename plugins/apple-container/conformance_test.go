package applecontainer_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/internal/testutil/dockertest"
	"github.com/sero-labs/sero-runtime/plugins/apple-container/internal/standintest"
	"github.com/sero-labs/sero-runtime/sdk/conformance"
)

// TestB10Conformance holds the built binary to the contract, over the real wire,
// with the CLI of each supported dialect.
func TestB10Conformance(t *testing.T) {
	binary := build(t)
	for _, version := range standintest.Versions {
		t.Run(version, func(t *testing.T) {
			s := standintest.Start(t, version, standintest.Registry("sero-conformance-pull:latest="+dockertest.BaseImage(t)))
			conformance.Run(t, conformance.Config{
				Path: binary, Profile: conformance.Profile{PullImage: "sero-conformance-pull:latest"},
				// Each call is a process or two of the stand-in and five of the engine's.
				Slack: 10 * time.Second, Timeout: 2 * time.Minute,
				Env: append(os.Environ(), "SERO_APPLE_CONTAINER_PATH="+s.Path),
			})
		})
	}
}

// TestB17SystemStops is the part of the suite that stops the system, which it
// does only where nobody else has anything in it.
func TestB17SystemStops(t *testing.T) {
	binary := build(t)
	for _, version := range standintest.Versions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			s := standintest.Start(t, version, standintest.Alone())
			conformance.Run(t, conformance.Config{
				Path: binary, Profile: conformance.Profile{StopSystem: true}, Run: regexp.MustCompile("^SYSTEM-"),
				Slack: 5 * time.Second,
				Env:   append(os.Environ(), "SERO_APPLE_CONTAINER_PATH="+s.Path),
			})
		})
	}
}

// build makes the driver's program.
func build(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sero-driver-apple-container")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", path, "../../cmd/sero-driver-apple-container")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building the driver: %v\n%s", err, out)
	}
	return path
}
