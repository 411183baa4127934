package lifecycle_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/internal/paths"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// deadline is how long any command of sero may take on a busy machine, whatever
// the engine does. It is what a person would wait for.
const deadline = time.Minute

// buildSero builds the sero binary once.
var buildSero = func() func(t *testing.T) string {
	var once sync.Once
	var bin string
	var err error
	return func(t *testing.T) string {
		t.Helper()
		once.Do(func() {
			bin, err = os.MkdirTemp("", "sero-bin-") //nolint:usetesting // it is for all tests; TestMain removes it
			if err != nil {
				return
			}
			built = bin
			bin = filepath.Join(bin, "sero")
			cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "go", "build", "-o", bin, "../../cmd/sero")
			var out []byte
			if out, err = cmd.CombinedOutput(); err != nil {
				err = fmt.Errorf("%w: %s", err, out)
			}
		})
		if err != nil {
			t.Fatalf("building sero: %v", err)
		}
		return bin
	}
}()

// built is the directory of the binary, once there is one.
var built string

func TestMain(m *testing.M) {
	code := m.Run()
	_ = os.RemoveAll(built)
	os.Exit(code) //nolint:forbidigo // it is the test binary's main function
}

// sero is one person's installation of sero on an engine.
type sero struct {
	*testing.T
	Engine
	bin  string
	root string // of workspaces' directories
	home string
	env  []string
}

func newSero(t *testing.T, bin string, engine Engine) *sero {
	t.Helper()
	short, err := os.MkdirTemp("/tmp", "sero-l") //nolint:usetesting // paths of sockets must be short
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := &sero{T: t, Engine: engine, bin: bin, root: root, home: filepath.Join(short, "home")}
	s.env = append(os.Environ(), "HOME="+root, paths.HomeVariable+"="+s.home, paths.RunVariable+"="+filepath.Join(short, "run"), "XDG_RUNTIME_DIR=")
	s.env = append(s.env, engine.Environ()...)
	t.Cleanup(func() {
		for name := range engine.Instances() {
			engine.Remove(name)
		}
	})
	t.Cleanup(func() {
		if r := s.sero("", "daemon", "stop"); r.code != 0 {
			t.Errorf("daemon stop: %s", r.stderr)
		}
		_ = os.RemoveAll(short)
	})
	return s
}

// result is how a command of sero ended.
type result struct {
	args           []string
	stdout, stderr string
	code           int
}

// sero runs sero in a workspace's directory, which must end within the deadline.
func (s *sero) sero(workspace string, args ...string) result {
	s.Helper()
	ctx, cancel := context.WithTimeoutCause(context.Background(), deadline, errors.New("no answer"))
	defer cancel()
	cmd := exec.CommandContext(ctx, s.bin, args...)
	cmd.Dir, cmd.Env = filepath.Join(s.root, workspace), s.env
	cmd.WaitDelay = time.Second
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	r := result{args: args, stdout: out.String(), stderr: errs.String()}
	switch e, exited := errors.AsType[*exec.ExitError](err); {
	case ctx.Err() != nil:
		s.Fatalf("sero %s: no answer within %s\n%s%s", strings.Join(args, " "), deadline, r.stdout, r.stderr)
	case exited:
		r.code = e.ExitCode()
	case err != nil:
		s.Fatal(err)
	}
	return r
}

// ok runs sero, which must succeed, and gives its output.
func (s *sero) ok(workspace string, args ...string) string {
	s.Helper()
	r := s.sero(workspace, args...)
	if r.code != 0 {
		s.Fatalf("sero %s: exit code %d\n%s%s", strings.Join(args, " "), r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

// fails runs sero, which must fail with one of the reasons, and gives the error.
func (s *sero) fails(reasons []driver.Reason, workspace string, args ...string) *driver.Error {
	s.Helper()
	r := s.sero(workspace, args...)
	var failure struct{ Error *driver.Error }
	if err := json.Unmarshal([]byte(r.stderr), &failure); err != nil || failure.Error == nil || r.code == 0 {
		s.Fatalf("sero %s: exit code %d, no error\n%s%s", strings.Join(args, " "), r.code, r.stdout, r.stderr)
	}
	if !slices.Contains(reasons, failure.Error.Reason) {
		s.Fatalf("sero %s: want one of %s: %s", strings.Join(args, " "), reasons, r.stderr)
	}
	return failure.Error
}

// state is what sero tells of a workspace.
type state struct {
	ID           string
	Directory    string
	State        string
	StateMessage string
	Image        string
	Guest        string
	Drift        []struct{ Part, Message string }
}

func (s *sero) inspect(workspace string) state {
	s.Helper()
	return decoded[state](s, s.ok(workspace, "inspect", "--json"))
}

// listed is a workspace in the list; one that is not in it has no state.
func (s *sero) listed(id string) state {
	s.Helper()
	for _, w := range decoded[struct{ Workspaces []state }](s, s.ok("", "ls", "--json")).Workspaces {
		if w.ID == id {
			return w
		}
	}
	return state{}
}

// becomes is listed, once the workspace is in a state. On a machine that is busy
// an engine may not answer within the second that a list waits for it.
func (s *sero) becomes(id, want string) state {
	s.Helper()
	for begin := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		got := s.listed(id)
		if got.State == want {
			return got
		}
		if got.State != "unknown" && got.State != "" || time.Since(begin) > deadline {
			s.Fatalf("%s is %q, not %s: %s", id, got.State, want, got.StateMessage)
		}
	}
}

func decoded[T any](s *sero, text string) (value T) {
	s.Helper()
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		s.Fatalf("%v in %s", err, text)
	}
	return value
}

// workspace makes a directory with a file, that wants this engine's driver.
func (s *sero) workspace(name string) string {
	s.Helper()
	dir := filepath.Join(s.root, name)
	err := os.MkdirAll(dir, 0o755)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "file"), []byte("precious\n"), 0o644)
	}
	if err != nil {
		s.Fatal(err)
	}
	s.configure(name, map[string]any{})
	return dir
}

// configure writes a workspace's sero.json.
func (s *sero) configure(name string, file map[string]any) {
	s.Helper()
	file["driver"] = s.Driver()
	if file["image"] == nil {
		file["image"] = s.Image()
	}
	text, err := json.Marshal(file)
	if err == nil {
		err = os.WriteFile(filepath.Join(s.root, name, "sero.json"), text, 0o644)
	}
	if err != nil {
		s.Fatal(err)
	}
}

// up makes a workspace ready and gives its sandbox's instance.
func (s *sero) up(workspace string) string {
	s.Helper()
	s.ok(workspace, "up")
	return s.Instances()["sero-"+workspace]
}

// runs shows that commands run in the workspace and see its files.
func (s *sero) runs(workspace string) {
	s.Helper()
	if out := s.ok(workspace, "exec", "--", "cat", "file"); out != "precious\n" {
		s.Errorf("the command in %s wrote %q", workspace, out)
	}
}

// recovers makes a workspace ready after its engine was away: each failure until
// then is one that a program may try again after.
func (s *sero) recovers(workspace string) {
	s.Helper()
	for begin := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		r := s.sero(workspace, "up", "--json")
		if r.code == 0 {
			return
		}
		var failure struct{ Error driver.Error }
		if err := json.Unmarshal([]byte(r.stderr), &failure); err != nil || !failure.Error.Retryable || time.Since(begin) > deadline {
			s.Fatalf("it does not recover: %s", r.stderr)
		}
		s.Logf("not yet: %s", failure.Error.Message)
	}
}

// tree is the hash of all that is in a directory: names, modes, contents.
func tree(t *testing.T, dir string) string {
	t.Helper()
	hash := sha256.New()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintln(hash, path, info.Mode(), info.ModTime())
		if info.Mode().IsRegular() {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			_, _ = hash.Write(text)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", hash.Sum(nil))
}
