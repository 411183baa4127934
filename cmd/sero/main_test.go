package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sero-labs/sero-runtime/internal/paths"
)

// The test binary is sero where a script calls it so, and the daemon and the
// bundled drivers that this sero starts.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"sero": main})
}

// isolate gives a script a home and a run directory of its own, so that it meets
// no daemon but its own.
func isolate(env *testscript.Env) error {
	run, err := os.MkdirTemp("/tmp", "sero-t") // short: sockets live in it
	if err != nil {
		return err
	}
	env.Defer(func() { _ = os.RemoveAll(run) })
	home := filepath.Join(env.WorkDir, ".sero-home")
	env.Vars = append(env.Vars,
		"HOME="+env.WorkDir,
		paths.HomeVariable+"="+home,
		paths.RunVariable+"="+run,
		"XDG_RUNTIME_DIR=",
	)
	return nil
}
