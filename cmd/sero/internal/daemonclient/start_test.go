package daemonclient

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/sero-labs/sero-runtime/internal/paths"
)

// Daemons of one home write one log: the one that is in the way goes on in it.
func TestFailureIsFoundAmongOthersLines(t *testing.T) {
	before := "{\"error\":{\"reason\":\"INTERNAL\",\"message\":\"earlier\"}}\n"
	log := before + "level=INFO msg=begins\n" +
		"{\"error\":{\"reason\":\"DAEMON_CONFLICT\",\"message\":\"taken\",\"resource\":\"/r/sero.sock\"}}\n" + "level=INFO msg=serves\n"
	path := filepath.Join(t.TempDir(), "daemon.log")
	if err := os.WriteFile(path, []byte(log), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &process{log: path, from: int64(len(before))}
	if e := p.failure(errors.New("exit status 1")); e.Reason != paths.DaemonConflict || e.Resource != "/r/sero.sock" {
		t.Errorf("the failure is %s: %s, about %q", e.Reason, e.Message, e.Resource)
	}
	p.from = int64(len(log))
	if e := p.failure(errors.New("exit status 1")); e.Reason != DaemonFailed {
		t.Errorf("the failure of one that wrote nothing is %s: %s", e.Reason, e.Message)
	}
}
