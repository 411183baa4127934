package docker_test

import (
	"testing"

	"github.com/sero-labs/sero-runtime/internal/testutil/dockertest"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// BenchmarkExec is what a command costs that does nothing; nearly all of it is
// the engine's.
func BenchmarkExec(b *testing.B) {
	host := dockertest.Engine(b)
	box := newBox(b, host)
	box.start()
	for b.Loop() {
		if _, err := box.Exec(b.Context(), driver.ExecSpec{SandboxID: box.spec.ID, Argv: []string{"true"}}, driver.ExecIO{}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDockerExec is the same with the docker command.
func BenchmarkDockerExec(b *testing.B) {
	host := dockertest.Engine(b)
	box := newBox(b, host)
	box.start()
	for b.Loop() {
		dockertest.Docker(b, host, "exec", box.spec.ID, "true")
	}
}

// BenchmarkGet asks for one sandbox.
func BenchmarkGet(b *testing.B) {
	box := newBox(b, dockertest.Engine(b))
	box.start()
	for b.Loop() {
		if _, err := box.Get(b.Context(), box.spec.ID); err != nil {
			b.Fatal(err)
		}
	}
}
