package standintest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// everyVersion runs a test against each version, each with its own system.
func everyVersion(t *testing.T, test func(t *testing.T, s *Standin)) {
	for _, version := range Versions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			test(t, Start(t, version, AnyArgv()))
		})
	}
}

// container makes and starts one that keeps itself alive.
func (s *Standin) container(id string, options ...string) string {
	s.t.Helper()
	argv := append([]string{"create", "--name", id}, options...)
	s.must(append(argv, "--entrypoint", "/bin/sleep", "sero-base:bookworm", "infinity")...)
	s.must("start", id)
	return id
}

func (r Result) want(t *testing.T, code int, stdout string) {
	t.Helper()
	if r.Code != code || r.Stdout != stdout {
		t.Errorf("exit code %d, stdout %q, want %d, %q; stderr %q", r.Code, r.Stdout, code, stdout, r.Stderr)
	}
}

func TestMountsAndCommandsAreReal(t *testing.T) {
	everyVersion(t, func(t *testing.T, s *Standin) {
		writable, readOnly := t.TempDir(), t.TempDir()
		if err := os.WriteFile(filepath.Join(readOnly, "f"), []byte("text"), 0o600); err != nil {
			t.Fatal(err)
		}
		id := s.container("real", "--mount", "type=bind,source="+writable+",target=/workspace", "--volume", readOnly+":"+readOnly+":ro")
		s.Run("exec", id, "cat", filepath.Join(readOnly, "f")).want(t, 0, "text")
		s.Run("exec", id, "touch", filepath.Join(readOnly, "g")).want(t, 1, "")
		s.Run("exec", id, "touch", "/workspace/made").want(t, 0, "")
		if _, err := os.Stat(filepath.Join(writable, "made")); err != nil {
			t.Error(err)
		}
		s.Run("exec", id, "sh", "-c", "exit 7").want(t, 7, "")
		s.RunWith("in", "exec", "--interactive", id, "cat").want(t, 0, "in")
		s.Run("exec", "--user", "1000", "--workdir", "/workspace", "--env", "A=b", id, "sh", "-c", "id -u; pwd; echo $A").want(t, 0, "1000\n/workspace\nb\n")
		if r := s.Run("exec", id, "no-such-program"); r.Code != 1 || !strings.Contains(r.Stderr, "failed to find target executable no-such-program") {
			t.Errorf("%+v", r)
		}
		s.Run("stop", "--time", "0", id).want(t, 0, id+"\n")
		s.Run("start", id).want(t, 0, id+"\n")
		s.Run("delete", "--force", id).want(t, 0, id+"\n")
	})
}
