package docker_test

import (
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/internal/testutil/dockertest"
	"github.com/sero-labs/sero-runtime/sdk/conformance"
)

// TestB10Conformance holds the built binary to the contract, over the real wire
// and on the real engine.
func TestB10Conformance(t *testing.T) {
	image := dockertest.BaseImage(t)
	conformance.Run(t, conformance.Config{
		Path:    binary(t),
		Profile: conformance.Profile{Image: image, PullImage: pullable(t)},
		Slack:   10 * time.Second, Timeout: 2 * time.Minute, // other tests use the engine, too
	})
}

// binary builds the driver's program.
func binary(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sero-driver-docker")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", path, "../../cmd/sero-driver-docker")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building the driver: %v\n%s", err, out)
	}
	return path
}
