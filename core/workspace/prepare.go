package workspace

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/sero-labs/sero-runtime/core/environ"
	"github.com/sero-labs/sero-runtime/core/mount"
	"github.com/sero-labs/sero-runtime/internal/oneline"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// prepareTimeout bounds what is done in a sandbox that has just started.
const prepareTimeout = 20 * time.Second

// prepare gives a sandbox that has just started what commands expect beside
// their environment: a profile for login shells, a nameserver if there is none,
// who its user is in commits, and who commands run as. It is best effort: what
// fails is logged. It reports whether all of it was done.
func (a *attempt) prepare(ctx context.Context, state driver.Sandbox) bool {
	if a.choice.HostMode {
		return true
	}
	setup := environ.Setup{
		Env: environ.Sandbox(), Git: environ.GitIdentityOf(a.m.userHome, os.Getenv("XDG_CONFIG_HOME")),
		Online: a.spec.Network != driver.NetworkIsolated,
		Owner:  ownerIn(a.driver), Dir: state.WorkspaceDir, Places: placesIn(a.e.directory, state),
	}
	said, err := a.m.asRoot(ctx, a.driver, state.ID, setup.Script())
	a.user = setup.Owner.Found(said)
	if err != nil {
		a.m.log.Warn("a sandbox could not be prepared in full", "workspace", a.e.id, "error", err)
	}
	a.looked = err == nil || a.user != environ.User{} // else run looks again
	return err == nil
}

// placesIn are what a sandbox gets at paths outside of its workspace: a link at the
// workspace's own absolute path, unless a mount is there.
func placesIn(dir string, state driver.Sandbox) environ.Places {
	places := environ.Places{Dir: state.WorkspaceDir}
	if state.WorkspaceDir != dir && mount.OwnOf(dir, state.Mounts) != mount.OwnNone {
		places.Links = append(places.Links, dir)
	}
	return places
}

// ownerIn is who the files of workspaces belong to, where that may be somebody
// else than who writes them in a sandbox. It is nobody where this process is
// root, and on macOS: there every sandbox is in a virtual machine, whose files
// the host makes in the user's name whoever writes them inside.
func ownerIn(d driver.Driver) environ.Owner {
	if runtime.GOOS != "linux" || os.Geteuid() == 0 || !driver.Has(d, driver.CapExecUser) {
		return environ.Owner{}
	}
	return environ.Owner{UID: os.Geteuid(), GID: os.Getegid()}
}

// lookForUser finds who commands run as in a sandbox that runs already. What was
// known of it does not count: it may be another one since.
func (m *Manager) lookForUser(ctx context.Context, d driver.Driver, state driver.Sandbox) (environ.User, error) {
	owner := ownerIn(d)
	if owner == (environ.Owner{}) {
		return environ.User{}, nil
	}
	said, err := m.asRoot(ctx, d, state.ID, owner.Script(state.WorkspaceDir))
	if user := owner.Found(said); user != (environ.User{}) {
		return user, nil
	}
	return environ.User{}, err
}

// asRoot runs a shell script as root in a sandbox and gives what it printed.
func (m *Manager) asRoot(ctx context.Context, d driver.Driver, id, script string) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, prepareTimeout, fmt.Errorf("it took longer than %s", prepareTimeout))
	defer cancel()
	spec := driver.ExecSpec{SandboxID: id, ExecID: m.newExecID(), Argv: []string{"/bin/sh"}, Dir: "/"}
	if driver.Has(d, driver.CapExecUser) {
		spec.User = "0:0"
	}
	var out, errs bytes.Buffer
	status, err := d.Exec(ctx, spec, driver.ExecIO{
		Stdin: strings.NewReader(script), Stdout: &limitedWriter{to: &out, left: 4 << 10}, Stderr: &limitedWriter{to: &errs, left: 4 << 10},
	})
	if err == nil && status != (driver.ExitStatus{}) {
		err = fmt.Errorf("it ended with code %d: %s", status.ShellCode(), oneline.Of(errs.String(), 512, ' '))
	}
	return out.String(), err
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
