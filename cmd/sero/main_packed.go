//go:build packed

// Command sero opens development workspaces and runs commands in them. This one
// is the command line alone, which starts faster, and carries the whole program
// for the daemon and the drivers (make build).
package main

import (
	"os"

	"github.com/sero-labs/sero-runtime/cmd/sero/internal/command"
	"github.com/sero-labs/sero-runtime/cmd/sero/internal/packed"
)

func main() { os.Exit(command.Program{Whole: packed.Program}.Main(os.Args[1:])) }
