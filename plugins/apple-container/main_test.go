package applecontainer_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/sero-labs/sero-runtime/plugins/apple-container/internal/standintest"
	"github.com/sero-labs/sero-runtime/sdk/conformance"
)

func TestMain(m *testing.M) {
	conformance.HostMain()
	code := standintest.Main(m)
	if code == 0 {
		if err := goleak.Find(); err != nil {
			println(err.Error())
			code = 1
		}
	}
	os.Exit(code) //nolint:forbidigo // a test's main function
}
