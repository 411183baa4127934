// Command sero opens development workspaces and runs commands in them.
package main

import (
	"os"

	"github.com/sero-labs/sero-runtime/cmd/sero/internal/command"
	applecontainer "github.com/sero-labs/sero-runtime/plugins/apple-container"
	"github.com/sero-labs/sero-runtime/plugins/docker"
	"github.com/sero-labs/sero-runtime/plugins/fake"
	"github.com/sero-labs/sero-runtime/plugins/host"
	"github.com/sero-labs/sero-runtime/sdk/conformance"
)

func main() {
	conformance.HostMain()
	drivers := map[string]func(){"apple-container": applecontainer.Main, "docker": docker.Main, "fake": fake.Main, "host": host.Main}
	os.Exit(command.Program{Drivers: drivers}.Main(os.Args[1:]))
}
