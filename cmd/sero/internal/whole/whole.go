// Package whole is the whole program: the command line with the daemon, the
// bundled drivers and the conformance suite linked in.
package whole

import (
	"github.com/sero-labs/sero-runtime/cmd/sero/internal/command"
	applecontainer "github.com/sero-labs/sero-runtime/plugins/apple-container"
	"github.com/sero-labs/sero-runtime/plugins/docker"
	"github.com/sero-labs/sero-runtime/plugins/fake"
	"github.com/sero-labs/sero-runtime/plugins/host"
	"github.com/sero-labs/sero-runtime/sdk/conformance"
)

// Main runs the program and returns its exit code.
func Main(args []string) int {
	conformance.HostMain()
	return command.Program{Drivers: drivers, Serve: serve, Test: test}.Main(args)
}

// drivers are the bundled ones. Each serves its driver and ends the process.
var drivers = map[string]func(){
	"apple-container": applecontainer.Main, "docker": docker.Main, "fake": fake.Main, "host": host.Main,
}
