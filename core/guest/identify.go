package guest

import (
	"bytes"
	"context"
	"errors"
	"strings"

	"github.com/sero-labs/sero-runtime/internal/identity"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// ErrNotIdentified is returned by Identify where nothing in the sandbox can do it:
// its helper is older than this.
var ErrNotIdentified = errors.New("the helper in the sandbox cannot identify directories")

// Identify returns which directories stand at paths in a sandbox that has the
// helper, in their order. The zero ID is in the place of what is not there.
// ErrNotIdentified, and the errors of Exec.
func Identify(ctx context.Context, d driver.Driver, sandboxID string, paths []string) ([]identity.ID, error) {
	spec := driver.ExecSpec{SandboxID: sandboxID, Argv: append([]string{helperPath(), identity.Argument}, paths...), Dir: "/"}
	if driver.Has(d, driver.CapExecUser) {
		spec.User = "0:0"
	}
	var out bytes.Buffer
	status, err := d.Exec(ctx, spec, driver.ExecIO{Stdin: strings.NewReader(""), Stdout: &boundedBuffer{&out}})
	switch reason := driver.ReasonOf(err); {
	case reason == driver.CommandNotFound, reason == driver.CommandNotExecutable:
		return nil, ErrNotIdentified
	case err != nil:
		return nil, err
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if status != (driver.ExitStatus{}) || len(lines) != len(paths) {
		return nil, ErrNotIdentified
	}
	ids := make([]identity.ID, len(paths))
	for i, line := range lines {
		if ids[i], err = identity.Parse(line); err != nil {
			return nil, ErrNotIdentified
		}
	}
	return ids, nil
}

// boundedBuffer fails once it holds more than any answer has.
type boundedBuffer struct{ to *bytes.Buffer }

// Write takes p.
func (b *boundedBuffer) Write(p []byte) (int, error) {
	if b.to.Len()+len(p) > maxAnswer {
		return 0, errTooLong
	}
	return b.to.Write(p)
}
