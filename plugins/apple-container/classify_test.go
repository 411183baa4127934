package applecontainer

import (
	"strings"
	"testing"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// TestClassify holds what the driver makes of the CLI's recorded words. Up to 0.9
// a code stands in front of a message, from 0.10 on the message alone.
func TestClassify(t *testing.T) {
	for _, tt := range []struct {
		versions string
		code     int
		text     string
		reason   driver.Reason
		retry    bool
	}{
		{"0.9", 1, `Error: notFound: "get failed: container sero-x not found"`, driver.NotFound, false},
		{"0.10 to 1.2", 1, `Error: get failed: container sero-x not found`, driver.NotFound, false},
		{"1.0 to 1.2", 1, `Error: container not found: sero-x`, driver.NotFound, false},
		{"0.9, 0.10", 1, `Error: notFound: "failed to delete one or more containers: ["sero-x"]"`, driver.NotFound, false},
		{"0.12 to 1.2", 1, `Error: internalError: "failed to delete container" (cause: "notFound: "container with ID sero-x not found"")`, driver.NotFound, false},
		{"0.9 to 1.2", 1, `Error: no such container: sero-x`, driver.NotFound, false},
		{"0.9 to 1.2", 1, `Error: failed to create container (cause: "exists: "container already exists: sero-x"")`, driver.AlreadyExists, false},
		{"0.9 to 1.2", 1, `Error: exists: "hostname(s) already exist: ["sero-x"]"`, driver.AlreadyExists, false},
		{"0.9 to 1.2", 1, `Error: container sero-x is not running`, driver.NotRunning, false},
		{"0.9 to 1.2", 1, `Error: failed to create process (cause: "invalidState: "cannot exec: container is not running"")`, driver.NotRunning, false},
		{"0.9 to 0.12", 1, `Error: invalidState: "no sandbox client exists: container is stopped"`, driver.NotRunning, false},
		{"1.0 to 1.2", 1, `Error: no runtime client exists: container is stopped`, driver.NotRunning, false},
		{"0.9, 0.10", 1, `Error: invalidState: "container is running"`, driver.NotStopped, false},
		{"0.12 to 1.2", 1, `Error: internalError: "failed to delete container" (cause: "invalidState: "container sero-x is running and can not be deleted"")`, driver.NotStopped, false},
		{"0.12 to 1.2", 1, `Error: invalidState: "container sero-x is stopping and can not be deleted"`, driver.NotStopped, true},
		{"0.9 to 1.2", 1, "Error: internalError: \"XPC connection error: Connection invalid\"\nEnsure container system service has been started with `container system start`.", driver.EngineNotRunning, false},
		{"0.9 to 1.2", 64, "Error: Plugins are unavailable. Start the container system services and retry:\n    container system start", driver.EngineNotRunning, false},
		{"0.9 to 1.2", 1, "Error: XPC connection error: Connection interrupted\nEnsure container system service has been started with `container system start`.", driver.Internal, true},
		{"0.9 to 1.2", 1, `Error: XPC timeout for request to com.apple.container.apiserver/containerCreate`, driver.Internal, true},
		{"0.9 to 1.2", 1, `Error: failed to bootstrap container (cause: "invalidState: "container expected to be in created state, got: shuttingDown"")`, driver.Internal, true},
		{"0.9 to 1.2", 1, `Error: failed to delete container (cause: "internalError: "deleteProcess: exec 3 does not exist in container sero-x"")`, driver.Internal, true},
		{"0.9 to 1.2", 1, `Error: failed to stop container (cause: "internalError: "Resource busy"")`, driver.Internal, true},
		{"0.9 to 1.2", 1, `Error: The file “config.json” couldn’t be opened because there is no such file. (NSCocoaErrorDomain Code=260)`, driver.Corrupt, false},
		{"0.9 to 1.2", 1, `Error: failed to find runtime plugin container-runtime-linux`, driver.Corrupt, false},
		{"0.9 to 1.2", 1, `Error: VZErrorDomain Code=2 "The storage device attachment is invalid."`, driver.Corrupt, false},
		{"0.9 to 0.12", 1, `Error: InspectError(succeeded: [], failed: [("no/such:1", notFound: "Image not found")])`, driver.ImageNotFound, false},
		{"1.0 to 1.2", 1, `Error: image not found: no/such:1`, driver.ImageNotFound, false},
		{"0.9 to 1.2", 1, `Error: image with reference no/such:1`, driver.ImageNotFound, false},
		{"0.9 to 1.2", 1, `Error: internalError: "failed to delete one or more images: ["no/such:1"]"`, driver.ImageNotFound, false},
		{"0.9 to 1.1", 1, `Error: invalid entity name x`, driver.NameInvalid, false},
		{"1.2", 1, `Error: container ID x is not a valid container ID`, driver.NameInvalid, false},
		{"0.9, 0.10", 1, `Error: path '/no/such' is not a directory`, driver.MountDenied, false},
		{"0.12 to 1.2", 1, `Error: mount source path '/no/such' does not exist`, driver.MountDenied, false},
		{"0.9", 1, `Error: VZErrorDomain: a directory sharing device configuration is invalid`, driver.MountDenied, false},
		{"0.10 to 1.2", 1, `Error: minimum memory amount allowed is 200 MiB (got 1048576 bytes)`, driver.InvalidArgument, false},
		{"0.9 to 1.2", 1, `Error: bind(descriptor:ptr:bytes:): Address already in use (errno: 48)`, driver.PortInUse, false},
		{"0.9 to 1.2", 1, `Error: Permission denied while binding to host port 80`, driver.PermissionDenied, false},
		{"0.9 to 1.2", 1, `Error: keychain error: -25308`, driver.PermissionDenied, false},
		{"0.9 to 1.2", 1, `Error: write: No space left on device`, driver.OutOfDisk, false},
		{"0.9 to 1.2", 1, `Error: failed to create vmnet network with status vmnet_return_t(rawValue: 1001)`, driver.Internal, false},
		{"0.9 to 1.2", 64, "Error: Unknown option '--format'\nUsage: container system status", driver.InvalidArgument, false},
		{"0.9 to 1.2", 1, `Error: something that nobody has seen`, driver.Internal, false},
		{"0.9 to 1.2", 1, ``, driver.Internal, false},
	} {
		e := failure(result{args: []string{"x"}, stderr: tt.text, code: tt.code}, "sero-x")
		if e.Reason != tt.reason || e.Retryable != tt.retry {
			t.Errorf("%s: %q is %s, retryable %t, want %s, %t", tt.versions, tt.text, e.Reason, e.Retryable, tt.reason, tt.retry)
		}
		if e.Message == "" || strings.ContainsAny(e.Message, "\n\r") || strings.HasSuffix(e.Message, ".") || strings.Contains(e.Message, "Usage:") || strings.Contains(e.Message, "%") {
			t.Errorf("%s: the message is %q", tt.text, e.Message)
		}
		if e.Resource != "sero-x" {
			t.Errorf("%s: about %q", tt.text, e.Resource)
		}
	}
}

func TestPatternsAreLowerCase(t *testing.T) {
	for _, p := range patterns {
		for _, f := range p.fragments {
			if f != strings.ToLower(f) {
				t.Errorf("%q is never found", f)
			}
		}
	}
}
