// Sero-driver-docker is the driver for engines with the Docker Engine API.
package main

import (
	"github.com/sero-labs/sero-runtime/plugins/docker"
	"github.com/sero-labs/sero-runtime/sdk/serve"
)

func main() { serve.Main(docker.New()) }
