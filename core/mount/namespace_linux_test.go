package mount_test

import (
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/sero-labs/sero-runtime/internal/testutil"
)

func mountBind(from, to string) error {
	return syscall.Mount(from, to, "", syscall.MS_BIND|syscall.MS_REC, "")
}

// ownNamespace is how to start a process that may mount.
func ownNamespace(t *testing.T) *syscall.SysProcAttr {
	t.Helper()
	attr := &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		attr.Cloneflags, attr.Unshareflags = syscall.CLONE_NEWUSER|syscall.CLONE_NEWNS, 0
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	probe := exec.CommandContext(t.Context(), "true")
	probe.SysProcAttr = attr
	if err := probe.Run(); err != nil {
		testutil.Missing(t, "namespaces", err.Error())
	}
	return attr
}
