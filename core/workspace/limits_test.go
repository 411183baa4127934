package workspace_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/fake"
)

// TestA8MoreProcessesWaitForTrust asks for numbers of processes below and above the
// default, in a file that is not trusted and then is.
func TestA8MoreProcessesWaitForTrust(t *testing.T) {
	const usual = driver.DefaultProcesses
	tried, accepted := 0, 0
	for n, asked := range []int64{1, 2, 100, usual - 1, usual, usual + 1, 20_000, 1 << 20, 1 << 22} {
		w := newWorld(t, fake.Script{})
		dir := w.dir(fmt.Sprintf("shop%d", n), "")
		ref := workspace.Ref{Dir: dir}
		w.write(filepath.Join(dir, "sero.json"), fmt.Sprintf(`{"resources": {"processes": %d, "cpus": 1}}`, asked))
		limits := func() string {
			return strings.Join(strings.Fields(w.sh(workspace.ExecOptions{Ref: ref}, "cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/cpu.max")), " ")
		}
		left := slices.ContainsFunc(w.upDir(dir).Warnings, func(s string) bool {
			return strings.HasPrefix(s, "resources.processes of sero.json is left out until you trust it")
		})
		want := fmt.Sprint(min(asked, usual), " 100000 100000")
		if got := limits(); got != want || left != (asked > usual) {
			t.Errorf("%d: the limits are %s, want %s; left out: %t", asked, got, want, left)
		}
		if asked > usual {
			tried++
			if limits() != want {
				accepted++
			}
		}
		w.trust(dir)
		if _, err := w.Recreate(t.Context(), workspace.RecreateOptions{Ref: ref}, nil); err != nil {
			t.Fatal(err)
		}
		if got, want := limits(), fmt.Sprint(asked, " 100000 100000"); got != want {
			t.Errorf("%d, trusted: the limits are %s, want %s", asked, got, want)
		}
	}
	t.Logf("more than the default: %d tried, %d accepted", tried, accepted)
}

// TestA8D9ADriverWithoutTheLimit is asked for it: nothing is made, and what it lacks
// is named.
func TestA8D9ADriverWithoutTheLimit(t *testing.T) {
	for limit, capability := range map[string]driver.Capability{`"processes": 100`: driver.CapLimitProcs, `"sharedMemory": "2GiB"`: driver.CapSharedMemory} {
		w := newWorld(t, fake.Script{Without: []driver.Capability{capability}})
		dir := w.dir("shop", `{"resources": {`+limit+`}}`)
		_, err := w.Up(t.Context(), workspace.UpOptions{Ref: workspace.Ref{Dir: dir}}, nil)
		e := wantReason(t, err, driver.Unsupported)
		if !strings.Contains(e.Message, string(capability)) || len(e.Remedies) == 0 {
			t.Errorf("%+v", e)
		}
		if all, err := w.box.List(t.Context(), nil); err != nil || len(all) > 0 {
			t.Errorf("made: %v, %v", all, err)
		}
	}
}

// TestD9SharedMemory asks for sizes of /dev/shm, which need no trust: what is in it
// counts as memory, which an untrusted file limits or does not.
func TestD9SharedMemory(t *testing.T) {
	for asked, want := range map[string]string{"": "1048576k", "64MiB": "65536k", "2GiB": "2097152k"} {
		w := newWorld(t, fake.Script{})
		text := ""
		if asked != "" {
			text = fmt.Sprintf(`{"resources": {"sharedMemory": %q}}`, asked)
		}
		dir := w.dir("shop", text)
		if up := w.upDir(dir); len(up.Warnings) > 0 {
			t.Errorf("%s: %q", asked, up.Warnings)
		}
		if got := w.sh(workspace.ExecOptions{Ref: workspace.Ref{Dir: dir}}, "cat /proc/mounts"); !strings.HasSuffix(strings.Fields(got)[3], ",size="+want) {
			t.Errorf("%s: %s", asked, got)
		}
	}
}
