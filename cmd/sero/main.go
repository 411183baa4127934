//go:build !packed

// Command sero opens development workspaces and runs commands in them.
package main

import (
	"os"

	"github.com/sero-labs/sero-runtime/cmd/sero/internal/whole"
)

func main() { os.Exit(whole.Main(os.Args[1:])) }
