package workspace

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/sero-labs/sero-runtime/core/environ"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// prepareTimeout bounds what is done in a sandbox that has just started.
const prepareTimeout = 20 * time.Second

// prepare gives a sandbox that has just started what commands expect beside
// their environment: a profile for login shells, a nameserver if there is none,
// and who its user is in commits. It is best effort: what fails is logged.
func (a *attempt) prepare(ctx context.Context, state driver.Sandbox) {
	if a.choice.HostMode {
		return
	}
	ctx, cancel := context.WithTimeoutCause(ctx, prepareTimeout, fmt.Errorf("it took longer than %s", prepareTimeout))
	defer cancel()
	setup := environ.Setup{
		Env: environ.Sandbox(), Git: environ.GitIdentityOf(a.m.userHome, os.Getenv("XDG_CONFIG_HOME")),
		SafeDir: []string{state.WorkspaceDir}, Online: a.spec.Network != driver.NetworkIsolated,
	}
	for _, mount := range a.spec.Mounts {
		setup.SafeDir = append(setup.SafeDir, mount.Target)
	}
	spec := driver.ExecSpec{SandboxID: state.ID, ExecID: a.m.newExecID(), Argv: []string{"/bin/sh"}, Dir: "/"}
	if driver.Has(a.driver, driver.CapExecUser) {
		spec.User = "0:0"
	}
	var said bytes.Buffer
	status, err := a.driver.Exec(ctx, spec, driver.ExecIO{
		Stdin: strings.NewReader(setup.Script()), Stderr: &limitedWriter{to: &said, left: 4 << 10},
	})
	if err != nil || status != (driver.ExitStatus{}) {
		a.m.log.Warn("a sandbox could not be prepared in full", "workspace", a.e.id,
			"error", err, "code", status.ShellCode(), "said", strings.TrimSpace(said.String()))
	}
}

// limitedWriter keeps the first bytes of what is written and takes the rest.
type limitedWriter struct {
	to   *bytes.Buffer
	left int
}

// Write takes all of p.
func (w *limitedWriter) Write(p []byte) (int, error) {
	n := min(len(p), w.left)
	w.to.Write(p[:n])
	w.left -= n
	return len(p), nil
}
