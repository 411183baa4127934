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
	"github.com/sero-labs/sero-runtime/sdk/serve"
)

// Main runs the program and returns its exit code.
func Main(args []string) int {
	conformance.HostMain()
	return command.Program{Drivers: drivers, Serve: beDaemon, Test: test}.Main(args)
}

// drivers are the bundled ones. Each serves its driver and ends the process.
var drivers = map[string]func(){
	"apple-container": func() { serve.Main(applecontainer.New()) },
	"docker":          func() { serve.Main(docker.New()) },
	"host":            func() { serve.Main(host.New()) },
	"fake":            fake.Main,
}
