package applecontainer_test

import (
	"testing"

	"github.com/sero-labs/sero-runtime/plugins/apple-container/internal/standintest"
	"github.com/sero-labs/sero-runtime/sdk/conformance"
)

func TestMain(m *testing.M) {
	conformance.HostMain()
	standintest.Main(m)
}
