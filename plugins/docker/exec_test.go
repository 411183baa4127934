package docker_test

import (
	"strings"
	"testing"

	"github.com/sero-labs/sero-runtime/internal/testutil/dockertest"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// TestB39AnyVariable gives commands variables of names that shell scripts like.
func TestB39AnyVariable(t *testing.T) {
	b := newBox(t, dockertest.Engine(t))
	b.start()
	names := strings.Fields("mark dir rows cols found path signals end code kills before file name value pid line leader self")
	var env []driver.EnvVar
	for _, name := range names {
		env = append(env, driver.EnvVar{Name: name, Value: "given " + name})
	}
	out, code := b.sh("env", env...)
	for _, name := range names {
		if !strings.Contains("\n"+out, "\n"+name+"=given "+name+"\n") {
			t.Errorf("the command has another %s, or none", name)
		}
	}
	if code != 0 || strings.Contains(out, "sero_") {
		t.Errorf("exit code %d: %s", code, out)
	}
}

// TestKilledForMemory tells apart why commands were killed.
func TestKilledForMemory(t *testing.T) {
	b := newBox(t, dockertest.Engine(t))
	b.spec.Resources.MemoryBytes = 64 << 20
	b.start()
	killed := driver.ExitStatus{Signal: "SIGKILL"}
	for script, want := range map[string]driver.ExitStatus{
		"exec tail /dev/zero":             {Signal: "SIGKILL", OutOfMemory: true},
		"tail /dev/zero; exit $?":         {Code: 137, OutOfMemory: true},
		"tail /dev/zero; exit 3":          {Code: 3},
		"kill -9 $$":                      killed,
		"sleep 100 & kill -9 $!; wait $!": {Code: 137},
	} {
		spec := driver.ExecSpec{SandboxID: b.spec.ID, ExecID: "test", Argv: []string{"sh", "-c", script}}
		if got, err := b.Exec(t.Context(), spec, driver.ExecIO{}); err != nil || got != want {
			t.Errorf("%s: %+v, want %+v: %v", script, got, want, err)
		}
	}
}
