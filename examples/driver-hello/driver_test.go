package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/sero-labs/sero-runtime/sdk/conformance"
)

func TestMain(m *testing.M) {
	conformance.HostMain()
	os.Exit(m.Run())
}

// TestConformance holds the built driver to the contract, as
// `sero driver test PATH` does.
func TestConformance(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "sero-driver-hello")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	conformance.Run(t, conformance.Config{Path: binary})
}
