package docker_test

import (
	"bufio"
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/internal/testutil/dockertest"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// TestA8AForkBombIsHeld starts processes without end in a sandbox that may have 100:
// what ran before goes on, and so does the sandbox once the bomb is over.
func TestA8AForkBombIsHeld(t *testing.T) {
	b := newBox(t, dockertest.Engine(t))
	b.spec.Resources.Processes = 100
	b.start()

	ask, answers := io.Pipe()
	out, said := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		spec := driver.ExecSpec{SandboxID: b.spec.ID, ExecID: "before", Argv: []string{"sh", "-c", `while read -r line; do echo "$line"; done`}}
		_, err := b.Exec(t.Context(), spec, driver.ExecIO{Stdin: ask, Stdout: said})
		said.Close()
		ended <- err
	}()
	before := bufio.NewReader(out)
	echo := func(line string) {
		t.Helper()
		if _, err := io.WriteString(answers, line+"\n"); err != nil {
			t.Fatal(err)
		}
		if got, err := before.ReadString('\n'); err != nil || got != line+"\n" {
			t.Fatalf("what ran before says %q, %v", got, err)
		}
	}
	echo("ready")

	// Its own end is the shell's that cannot fork; what it has started stays until
	// that shell's session is ended with it.
	bomb := `n=0; while [ $n -lt 300 ]; do sleep 100 & n=$((n+1)); done; echo started all`
	text, code := b.sh(bomb)
	if code == 0 || strings.Contains(text, "started all") || !strings.Contains(strings.ToLower(text), "fork") {
		t.Errorf("the bomb was not held: exit code %d: %s", code, text)
	}
	echo("still here")
	// The bomb's processes are ended behind its back. Until they are there may be no
	// room for a command, which is not for want of a shell.
	for over := time.Now().Add(patience); ; {
		var text bytes.Buffer
		spec := driver.ExecSpec{SandboxID: b.spec.ID, ExecID: "after", Argv: []string{"echo", "fine"}}
		status, err := b.Exec(t.Context(), spec, driver.ExecIO{Stdout: &text})
		if err == nil && status.ShellCode() == 0 && text.String() == "fine\n" {
			break
		}
		if driver.ReasonOf(err) == driver.CommandNotFound || time.Now().After(over) {
			t.Fatalf("afterwards: %+v, %v: %s", status, err, text.String())
		}
		time.Sleep(100 * time.Millisecond)
	}
	answers.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
