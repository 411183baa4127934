//go:build !linux

package mount_test

import (
	"errors"
	"syscall"
	"testing"

	"github.com/sero-labs/sero-runtime/internal/testutil"
)

func mountBind(string, string) error { return errors.ErrUnsupported }

func ownNamespace(t *testing.T) *syscall.SysProcAttr {
	t.Helper()
	testutil.Missing(t, "namespaces", "this system has none")
	return nil
}
