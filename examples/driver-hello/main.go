// Command sero-driver-hello is a driver to copy from: the part of the contract
// that every driver has, and nothing else.
package main

import "github.com/sero-labs/sero-runtime/sdk/serve"

func main() { serve.Main(newHello()) }
