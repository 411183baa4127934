// Command sero opens development workspaces and runs commands in them.
package main

import (
	"os"

	"github.com/sero-labs/sero-runtime/cmd/sero/internal/command"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

func main() {
	os.Exit(command.Program{Drivers: map[string]func() driver.Driver{}}.Main(os.Args[1:]))
}
