package lifecycle_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// put makes a directory with one file, whose name says which directory it is.
func (s *sero) put(dir, name string) {
	s.Helper()
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name), nil, 0o600)
	}
	if err != nil {
		s.Fatal(err)
	}
}

// replace puts another directory at a path.
func (s *sero) replace(dir, name string) {
	s.Helper()
	if err := os.Rename(dir, dir+"-before-"+name); err != nil {
		s.Fatal(err)
	}
	s.put(dir, name)
}

// directoryReplaced moves a directory away that a sandbox shows, and makes another
// one at its path.
func directoryReplaced(s *sero) {
	dir := filepath.Join(s.root, "a")
	s.workspace("a")
	s.put(dir, "first")
	instance := s.up("a")
	s.ok("a", "exec", "--", "sh", "-c", "echo kept > /var/kept")

	s.replace(dir, "second")
	if out := s.ok("a", "exec", "--", "ls"); out != "second\n" {
		s.Errorf("exec shows %q", out)
	}
	if r := s.sero("a", "inspect"); !strings.Contains(r.stderr+r.stdout, "is another directory") {
		s.Errorf("nothing says it: %s%s", r.stdout, r.stderr)
	}
	if out := s.ok("a", "exec", "--", "cat", "/var/kept"); out != "kept\n" || s.Instances()["sero-a"] != instance {
		s.Errorf("the sandbox was recreated: %q", out)
	}

	s.replace(dir, "third")
	if r := s.sero("a", "up"); r.code != 0 || !strings.Contains(r.stderr, "is another directory") {
		s.Errorf("up: exit code %d: %s", r.code, r.stderr)
	}
	if out := s.ok("a", "exec", "--", "ls"); out != "third\n" {
		s.Errorf("after up: %q", out)
	}

	s.ok("a", "daemon", "stop")
	s.replace(dir, "fourth")
	if out := s.ok("a", "exec", "--", "ls"); out != "fourth\n" {
		s.Errorf("after a restart of the daemon: %q", out)
	}

	running := s.background("a", "sleep 600")
	s.replace(dir, "fifth")
	r := s.sero("a", "exec", "--", "ls")
	if r.code != 125 || r.stdout != "" || !strings.Contains(r.stderr, "was replaced") || !strings.Contains(r.stderr, "sero stop -w a") {
		s.Errorf("while a command runs: exit code %d: %s%s", r.code, r.stdout, r.stderr)
	}
	s.ok("a", "stop")
	_ = running.Wait()
	if out := s.ok("a", "exec", "--", "ls"); out != "fifth\n" {
		s.Errorf("after stop: %q", out)
	}
}

// background runs a command in a workspace, and returns once it has begun.
func (s *sero) background(workspace, script string) *exec.Cmd {
	s.Helper()
	cmd := exec.CommandContext(s.Context(), s.bin, "exec", "--", "sh", "-c", "echo begun; exec "+script)
	cmd.Dir, cmd.Env, cmd.WaitDelay = filepath.Join(s.root, workspace), s.env, time.Second
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err == nil {
		_, err = out.Read(make([]byte, len("begun\n")))
	}
	if err != nil {
		s.Fatal(err)
	}
	return cmd
}

// mountReplaced is directoryReplaced for a directory beside the workspace's.
func mountReplaced(s *sero) {
	data := filepath.Join(s.root, "data")
	s.workspace("a")
	s.put(data, "first")
	s.ok("a", "mount", "add", "--target", "/mnt/data", data)
	s.up("a")
	if out := s.ok("a", "exec", "--", "ls", "/mnt/data"); out != "first\n" {
		s.Fatalf("the mount shows %q", out)
	}
	s.replace(data, "second")
	if out := s.ok("a", "exec", "--", "ls", "/mnt/data"); out != "second\n" {
		s.Errorf("the mount shows %q", out)
	}
	// Somewhere else by a link: never shown.
	s.put(filepath.Join(s.root, "other"), "secret")
	if err := os.Rename(data, data+"-away"); err != nil {
		s.Fatal(err)
	}
	if err := os.Symlink("other", data); err != nil {
		s.Fatal(err)
	}
	if r := s.sero("a", "exec", "--", "ls", "/mnt/data"); strings.Contains(r.stdout, "secret") || r.code == 0 {
		s.Errorf("a link in the place of the mount: exit code %d: %s%s", r.code, r.stdout, r.stderr)
	}
}

// exchanged starts the sandbox of a workspace whose directory is exchanged
// meanwhile for a link that leads elsewhere, as the sandbox of a workspace around
// it could. SERO_TEST_STARTS says how often.
func exchanged(s *sero) {
	starts := 12
	if n, err := strconv.Atoi(os.Getenv("SERO_TEST_STARTS")); err == nil {
		starts = n
	}
	dir, link := filepath.Join(s.root, "a"), filepath.Join(s.root, "link")
	s.workspace("a")
	s.put(dir, "mine")
	s.put(filepath.Join(s.root, "other"), "secret")
	if err := os.Symlink(filepath.Join(s.root, "other"), link); err != nil {
		s.Fatal(err)
	}
	s.up("a")
	s.ok("a", "stop")
	outcomes := map[string]int{}
	for n := range starts {
		end := make(chan struct{})
		var swapping sync.WaitGroup
		swapping.Go(func() { // once, at another moment of each start
			select {
			case <-end:
			case <-time.After(time.Duration(n*37%400) * time.Millisecond):
				_ = exchange(dir, link)
			}
		})
		r := s.sero("", "exec", "-w", "a", "--", "ls", "/workspace")
		close(end)
		swapping.Wait()
		if info, err := os.Lstat(dir); err == nil && info.Mode()&os.ModeSymlink != 0 {
			_ = exchange(dir, link)
		}
		switch {
		case strings.Contains(r.stdout, "secret"):
			s.Fatalf("the sandbox shows another directory after %v", outcomes)
		case r.code == 0 && strings.Contains(r.stdout, "mine"):
			outcomes["right"]++
		default:
			outcomes["refused"]++
		}
		s.ok("", "stop", "a")
	}
	s.Logf("tried %d starts: %v, none shows the other directory", starts, outcomes)
	if out := s.ok("", "exec", "-w", "a", "--", "ls", "/workspace"); !strings.Contains(out, "mine") {
		s.Errorf("once it is left alone: %q", out)
	}
}
