package main

import (
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScripts runs the CLI, its daemon and the host driver as a person would.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Vars = append(env.Vars, "ESCAPE=a\x1bb", "BYTES=a\xffb", "LONG="+strings.Repeat("a", 10_000))
			return isolateAndEnd(env)
		},
		Cmds: commands,
	})
}
