// Sero-driver-apple-container is the driver for Apple's container CLI.
package main

import (
	applecontainer "github.com/sero-labs/sero-runtime/plugins/apple-container"
	"github.com/sero-labs/sero-runtime/sdk/serve"
)

func main() { serve.Main(applecontainer.New()) }
