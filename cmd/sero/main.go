// Command sero opens development workspaces and runs commands in them.
package main

import (
	"os"

	"github.com/sero-labs/sero-runtime/cmd/sero/internal/command"
	"github.com/sero-labs/sero-runtime/plugins/host"
	"github.com/sero-labs/sero-runtime/sdk/serve"
)

func main() {
	os.Exit(command.Program{Drivers: map[string]func(){
		"host": func() { serve.Main(host.New()) },
	}}.Main(os.Args[1:]))
}
