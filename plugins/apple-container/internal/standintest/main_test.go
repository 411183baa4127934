package standintest

import (
	"os"
	"testing"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) } //nolint:forbidigo // a test's main function
