package main

import (
	"os/exec"
	"testing"

	"github.com/sero-labs/sero-runtime/internal/testutil"
)

// Completion works in a bash that has no bash-completion package, also for words
// that bash splits.
func TestBashCompletionNeedsNoPackage(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		testutil.Missing(t, "bash", err.Error())
	}
	m := newMachine(t)
	m.ok("up", "--driver", "host", "--id", "shop")
	v := &viewer{newTerminal(t), m.command(bash, "--noprofile", "--norc", "-i")}
	v.cmd.Env = append(v.cmd.Env, "PS1=ready> ", "HISTFILE=", "INPUTRC=/dev/null", "SERO_COMPLETION_TIMEOUT=10s")
	v.cmd.Stdin, v.cmd.Stdout, v.cmd.Stderr = v.tty, v.tty, v.tty
	v.cmd.SysProcAttr.Setsid, v.cmd.SysProcAttr.Setctty = true, true
	if err := v.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = v.cmd.Process.Kill() })
	v.write("source <(sero completion bash); echo loaded $((40 + 2))\n")
	v.await("loaded 42")
	v.write("declare -F _init_completion _get_comp_words_by_ref || echo no package $((1 + 1))\n")
	v.await("no package 2")
	for typed, want := range map[string]string{
		"sero versi\t":               "sero version ",
		"sero daemon sta\t":          "sero daemon status ",
		"sero inspect sh\t":          "sero inspect shop ",
		"sero exec -w sh\t":          "sero exec -w shop ",
		"sero stop --workspace=sh\t": "sero stop --workspace=shop ",
		"sero up --drive\t":          "sero up --driver",
	} {
		v.write("\x15" + typed)
		v.await(want)
	}
	v.write("\x15exit 0\n")
	_ = v.cmd.Wait()
}
