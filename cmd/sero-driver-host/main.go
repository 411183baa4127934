// Sero-driver-host is the driver that runs commands on this machine.
package main

import (
	"github.com/sero-labs/sero-runtime/plugins/host"
	"github.com/sero-labs/sero-runtime/sdk/serve"
)

func main() { serve.Main(host.New()) }
