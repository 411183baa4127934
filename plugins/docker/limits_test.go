package docker

import (
	"slices"
	"testing"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// A8, D9: no sandbox can make device nodes or take all processes of the machine,
// and each has the shared memory that a browser needs.
func TestA8D9LimitsOfEverySandbox(t *testing.T) {
	for name, spec := range map[string]driver.SandboxSpec{
		"plain": {}, "isolated": {Network: driver.NetworkIsolated}, "limited": {Resources: driver.Resources{CPUs: 1, MemoryBytes: 1 << 30}},
	} {
		got := hostConfigOf(spec, "1.44")
		if !slices.Equal(got.CapDrop, []string{"MKNOD"}) || len(got.CapAdd) > 0 || got.PidsLimit == nil || *got.PidsLimit != maxProcesses || got.ShmSize != sharedMemory {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
