package daemonclient

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
	"github.com/sero-labs/sero-runtime/core/api/apipb/apipbconnect"
	"github.com/sero-labs/sero-runtime/internal/paths"
	"github.com/sero-labs/sero-runtime/internal/testutil"
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

// F: whoever meets another daemon than the one it has started leaves that one, which
// then ends. Before, it took the locks when all others had gone, and stayed.
func TestFStartedDaemonEndsWhenItIsNotWaitedFor(t *testing.T) {
	home, run := t.TempDir(), testutil.ShortDir(t)
	ended, begun := filepath.Join(home, "ended"), filepath.Join(home, "begun")
	late := []string{"/bin/sh", "-c", `echo >"$1"; cat; echo >"$2"`, "late", begun, ended}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Protocols: new(http.Protocols)}
	server.Protocols.SetUnencryptedHTTP2(true)
	mux := http.NewServeMux()
	mux.Handle(apipbconnect.NewDaemonServiceHandler(another{home: home}))
	server.Handler = mux
	t.Cleanup(func() { _ = server.Close() })
	go func() {
		if comes(begun) {
			if l, err := net.Listen("unix", paths.Socket(run)); err == nil {
				_ = server.Serve(l)
			}
		}
	}()
	c, err := startUntilMet(t.Context(), late, home, run)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if !comes(ended) {
		t.Error("the daemon that was started still waits")
	}
}

// another is a daemon that this process has not started.
type another struct {
	apipbconnect.UnimplementedDaemonServiceHandler
	home string
}

func (d another) GetStatus(context.Context, *apipb.GetStatusRequest) (*apipb.GetStatusResponse, error) {
	return &apipb.GetStatusResponse{Home: d.home}, nil
}

// comes reports whether a file is there, at the latest after half a minute.
func comes(path string) bool {
	for range 3000 {
		if _, err := os.Lstat(path); err == nil {
			return true
		}
		time.Sleep(10 * time.Millisecond)
	}
	return false
}
