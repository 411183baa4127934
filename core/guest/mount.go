package guest

import (
	"path"
	"runtime"

	"github.com/sero-labs/sero-runtime/core/guest/helper"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// MountTarget is where a sandbox has the guest helper. It is the core's alone: a
// sandbox with an older helper works, so the mount is not part of what makes a
// sandbox stale.
const MountTarget = "/opt/sero"

// Mount is the read-only mount that brings the helper into a sandbox. The helper
// is written once below dir, which is one core's alone. helper.ErrNotBuilt when this sero has none.
func Mount(dir string) (driver.Mount, error) {
	source, err := helper.Write(dir)
	if err != nil {
		return driver.Mount{}, err
	}
	sweep(source)
	return driver.Mount{Source: source, Target: MountTarget, ReadOnly: true}, nil
}

// helperPath is the helper in a sandbox: sandboxes have this machine's
// architecture.
func helperPath() string { return path.Join(MountTarget, "sero-guest-"+runtime.GOARCH) }
