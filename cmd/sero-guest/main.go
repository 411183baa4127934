//go:build linux

// Command sero-guest works for sero inside a sandbox; sero puts it there and
// starts it. The protocol is proto/sero/guest/v1.
package main

import (
	"os"

	"github.com/sero-labs/sero-runtime/cmd/sero-guest/internal/agent"
)

func main() { os.Exit(agent.Main(os.Args)) }
