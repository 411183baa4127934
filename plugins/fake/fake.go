// Package fake is the bundled fake driver: sdk/fake as a driver process.
package fake

import "github.com/sero-labs/sero-runtime/sdk/fake"

// Main serves the fake driver and ends the process. Its script comes from
// SERO_FAKE_SCRIPT and the driver's settings; see sdk/fake.
func Main() { fake.Main() }
