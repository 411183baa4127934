// Package testutil is for tests only: how they say that this machine cannot run
// them, and what several of them need.
package testutil

import (
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/sero-labs/sero-runtime/internal/loopback"
)

// RequireVariable lists what this machine must have, separated by commas; "all"
// is everything. CI sets it, so that nothing is skipped there unnoticed.
const RequireVariable = "SERO_TEST_REQUIRE"

// Missing ends a test that needs something which this machine does not have:
// what is one word for it ("docker", "macos"), reason says how that was found
// out. The test is skipped, or fails where [RequireVariable] lists the word.
func Missing(t testing.TB, what, reason string) {
	t.Helper()
	if required(os.Getenv(RequireVariable), what) {
		t.Fatalf("missing %s, which %s demands: %s", what, RequireVariable, reason)
	}
	t.Skipf("missing %s: %s", what, reason)
}

func required(list, what string) bool {
	for word := range strings.SplitSeq(list, ",") {
		if word = strings.TrimSpace(word); word == what || word == "all" {
			return true
		}
	}
	return false
}

// ShortDir is a directory that ends with the test, like t.TempDir, with a path
// that leaves room for a unix socket in it.
func ShortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sero-") //nolint:usetesting // its path may be too long
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// Free ports are below those that Linux and macOS choose by themselves: no
// connection of another program takes one meanwhile.
const (
	firstPort = 15000
	portCount = 15000
)

var chosen sync.Map // port to true: those that FreePort has returned

// FreePort returns a TCP port that nothing on this machine's loopback addresses
// listens on, another one each time.
func FreePort(t testing.TB) uint16 {
	t.Helper()
	for range portCount {
		port := firstPort + rand.IntN(portCount)
		if _, again := chosen.LoadOrStore(port, true); !again && isFree(port) {
			return uint16(port)
		}
	}
	t.Fatal("no port is free")
	return 0
}

func isFree(port int) bool {
	listeners, err := loopback.Listen(uint16(port))
	for _, l := range listeners {
		_ = l.Close()
	}
	return err == nil
}
