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
		if !slices.Equal(got.CapDrop, []string{"MKNOD"}) || len(got.CapAdd) > 0 || got.PidsLimit == nil || *got.PidsLimit != driver.DefaultProcesses || got.ShmSize != 1<<30 {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// A8: what a spec asks for is the limit, above the default and below.
func TestA8LimitOfProcesses(t *testing.T) {
	for asked, want := range map[int64]int64{0: driver.DefaultProcesses, minProcesses: minProcesses, 100: 100, 1 << 20: 1 << 20} {
		spec := driver.SandboxSpec{ID: "sero-a", Image: "x", Resources: driver.Resources{Processes: asked}}
		if err := New().checkSpec(spec); err != nil {
			t.Errorf("%d: %v", asked, err)
		}
		if got := hostConfigOf(spec, "1.44").PidsLimit; got == nil || *got != want {
			t.Errorf("%d: %v", asked, got)
		}
	}
	for _, asked := range []int64{-1 << 40, -1, 1, minProcesses - 1} { // -1 is no limit, to an engine
		err := New().checkSpec(driver.SandboxSpec{ID: "sero-a", Image: "x", Resources: driver.Resources{Processes: asked}})
		if e := driver.AsError(err); driver.ReasonOf(err) != driver.InvalidArgument || e.Field != "resources.processes" || len(e.Remedies) == 0 {
			t.Errorf("%d: %v", asked, err)
		}
	}
}

// D9: /dev/shm has the size of the spec, above the default and below.
func TestD9SharedMemory(t *testing.T) {
	for asked, want := range map[int64]int64{0: driver.DefaultSharedMemory, 4096: 4096, 64 << 20: 64 << 20, 8 << 30: 8 << 30} {
		spec := driver.SandboxSpec{ID: "sero-a", Image: "x", Resources: driver.Resources{SharedMemoryBytes: asked}}
		if err := New().checkSpec(spec); err != nil {
			t.Errorf("%d: %v", asked, err)
		}
		if got := hostConfigOf(spec, "1.44").ShmSize; got != want {
			t.Errorf("%d: %d", asked, got)
		}
	}
	err := New().checkSpec(driver.SandboxSpec{ID: "sero-a", Image: "x", Resources: driver.Resources{SharedMemoryBytes: -1}})
	if driver.ReasonOf(err) != driver.InvalidArgument {
		t.Error(err)
	}
}
