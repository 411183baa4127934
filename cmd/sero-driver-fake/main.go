// Command sero-driver-fake is an in-memory driver for tests.
package main

import "github.com/sero-labs/sero-runtime/plugins/fake"

func main() { fake.Main() }
