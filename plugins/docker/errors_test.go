package docker

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

func TestReasons(t *testing.T) {
	for _, test := range []struct {
		err  error
		want driver.Reason
	}{
		{fmt.Errorf("x: %w", errdefs.ErrNotFound), driver.NotFound},
		{errdefs.ErrConflict, driver.AlreadyExists},
		{errdefs.ErrAlreadyExists, driver.Internal},
		{errdefs.ErrInvalidArgument, driver.InvalidArgument},
		{errdefs.ErrPermissionDenied, driver.PermissionDenied},
		{errdefs.ErrUnauthenticated, driver.PermissionDenied},
		{errdefs.ErrNotImplemented, driver.Unsupported},
		{errdefs.ErrUnavailable, driver.EngineNotRunning},
		{errors.New("anything else"), driver.Internal},
		{errors.New("mkdir /var/lib/docker/x: no space left on device"), driver.OutOfDisk},
		{errors.New("write: disk quota exceeded"), driver.OutOfDisk},
		{errors.New("fork/exec: cannot allocate memory"), driver.OutOfMemory},
		{errors.New("Bind for 127.0.0.1:80 failed: port is already allocated"), driver.PortInUse},
		{errors.New("listen tcp4 127.0.0.1:80: bind: address already in use"), driver.PortInUse},
	} {
		if got := reasonOf(test.err); got != test.want {
			t.Errorf("%v: %s, want %s", test.err, got, test.want)
		}
	}
	for _, err := range []error{io.EOF, io.ErrUnexpectedEOF} {
		if !isGone(err) {
			t.Errorf("%v is not taken for an engine that is gone", err)
		}
	}
}

func TestOneLine(t *testing.T) {
	err := errors.New("Error response from daemon: first\n\tsecond  line")
	if got := oneLine(err); got != "first second line" {
		t.Errorf("%q", got)
	}
}
