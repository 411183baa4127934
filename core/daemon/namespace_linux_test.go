package daemon_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
	"github.com/sero-labs/sero-runtime/core/daemon"
	"github.com/sero-labs/sero-runtime/internal/handover"
	"github.com/sero-labs/sero-runtime/internal/paths"
	"github.com/sero-labs/sero-runtime/internal/testutil"
	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/fake"
)

// callerOf names the run directory of the daemon that TestA1Caller is to call.
const callerOf = "SERO_TEST_CALLER_OF"

// TestA1Caller is a client in a process of its own; see TestA1OtherNamespaces.
func TestA1Caller(t *testing.T) {
	run := os.Getenv(callerOf)
	if run == "" {
		return // it is run by the other test only
	}
	c := connectTo(paths.Socket(run))
	defer c.vanish()
	_, err := c.daemon.GetStatus(t.Context(), &apipb.GetStatusRequest{})
	if err != nil {
		fmt.Fprintln(os.Stdout, "call:", detailOf(t, err).GetReason(), detailOf(t, err).GetMessage(), len(detailOf(t, err).GetRemedies()))
	} else {
		fmt.Fprintln(os.Stdout, "call: served")
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close(); _ = w.Close() }()
	if _, err := handover.Give(t.Context(), paths.Pipes(run), w); err == nil {
		fmt.Fprintln(os.Stdout, "pipe: served")
	}
}

// TestA1OtherNamespaces refuses processes of this user that are in another mount
// or process namespace than the daemon, with a reason, and serves others (row A1).
func TestA1OtherNamespaces(t *testing.T) {
	r := start(t, fake.Script{})
	allowed := start(t, fake.Script{}, func(c *daemon.Config) {
		text := `{"api": {"otherNamespaces": true}}`
		if err := os.WriteFile(filepath.Join(c.Home, "config.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	user := uintptr(0)
	if os.Geteuid() != 0 {
		user = syscall.CLONE_NEWUSER
	}
	tried, accepted := 0, 0
	for name, c := range map[string]struct {
		flags  uintptr
		refuse bool
	}{
		"the same":                {0, false},
		"another user namespace":  {syscall.CLONE_NEWUSER, false},
		"another network":         {syscall.CLONE_NEWNET | user, false},
		"another mount namespace": {syscall.CLONE_NEWNS | user, true},
		"another process's":       {syscall.CLONE_NEWPID | user, true},
		"both":                    {syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | user, true},
	} {
		tried++
		said := callFrom(t, r.config.RunDir, c.flags)
		served := strings.Contains(said, "call: served") && strings.Contains(said, "pipe: served")
		if served {
			accepted++
		}
		switch {
		case !c.refuse && !served:
			t.Errorf("%s: %s", name, said)
		case c.refuse && (strings.Contains(said, "served") || !strings.Contains(said, "call: "+string(driver.PermissionDenied)+" the daemon does not serve this process")):
			t.Errorf("%s: %s", name, said)
		}
		if said := callFrom(t, allowed.config.RunDir, c.flags); !strings.Contains(said, "call: served") {
			t.Errorf("%s, which is allowed: %s", name, said)
		}
	}
	t.Logf("%d tried, %d accepted, 3 of them should be", tried, accepted)
}

// callFrom runs TestA1Caller in namespaces of its own.
func callFrom(t *testing.T, run string, flags uintptr) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestA1Caller$", "-test.v")
	cmd.Env = append(os.Environ(), callerOf+"="+run)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
	if flags&syscall.CLONE_NEWUSER != 0 {
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getuid(), HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getgid(), HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	if err != nil && len(out) == 0 {
		testutil.Missing(t, "namespaces", err.Error())
	}
	return string(out)
}
