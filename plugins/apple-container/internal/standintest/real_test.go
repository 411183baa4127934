package standintest

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/internal/testutil"
	"github.com/sero-labs/sero-runtime/internal/testutil/dockertest"
)

// decode reads JSON that a call printed.
func decode[T any](t *testing.T, r Result) T {
	t.Helper()
	var v T
	if r.Code != 0 {
		t.Fatalf("%+v", r)
	}
	if err := json.Unmarshal([]byte(r.Stdout), &v); err != nil {
		t.Fatalf("%v: %s", err, r.Stdout)
	}
	return v
}

func TestImages(t *testing.T) {
	everyVersion(t, func(t *testing.T, s *Standin) {
		dir := t.TempDir()
		file := filepath.Join(dir, "Dockerfile")
		// A layer of its own: releases run at once, and one that removes its image would
		// take the layers that another builds on out of the engine's cache.
		text := "FROM sero-base:bookworm\nLABEL of=" + rand.Text() + "\nARG WORD\nCOPY greeting /greeting\nENV WORD=$WORD\nUSER 1000\nWORKDIR /srv\nCMD [\"cat\", \"/greeting\"]\n"
		for name, content := range map[string]string{file: text, filepath.Join(dir, "greeting"): "hello " + t.Name()} {
			if err := os.WriteFile(name, []byte(content), 0o644); err != nil { //nolint:gosec // the image's user reads it
				t.Fatal(err)
			}
		}
		tag := "standintest/" + strings.ToLower(strings.ReplaceAll(t.Name(), "/", "-")) + ":1"
		r := s.Run("build", "--progress", "plain", "--build-arg", "WORD=w", "--tag", tag, "--file", file, dir)
		want := "Successfully built " + tag + "\n"
		if since(s.Version, "1.0.0") {
			want = "docker.io/" + tag + "\n"
		}
		r.want(t, 0, want)
		if !strings.Contains(r.Stderr, "COPY greeting /greeting") {
			t.Errorf("no progress: %q", r.Stderr)
		}
		s.Run("image", "inspect", tag).says(t, 0, `"WorkingDir"`)
		s.Run("image", "tag", tag, "other:2").want(t, 0, "docker.io/library/other:2\n")
		s.Run("image", "list", "--format", "json").says(t, 0, `other:2`)
		s.must("create", "--name", "built", "other:2")
		s.must("start", "built")
		s.logs("built", "hello "+t.Name())
		s.Run("builder", "status", "--format", "json").says(t, 0, `"buildkit"`)
		s.must("builder", "stop")
		s.must("builder", "delete", "--force")
		s.Run("builder", "status", "--format", "json").want(t, 0, "[]\n")
		s.Run("image", "delete", tag, "other:2").says(t, 0, "docker.io/"+tag+"\n")
		s.Run("image", "inspect", tag).says(t, 1, "ot found")
		s.Run("build", "--file", filepath.Join(dir, "none"), dir).says(t, ifSince(s.Version, "0.12.3", 64, 1), "dockerfile")
		s.Fault("builder-down")
		s.Run("build", "--tag", tag, "--file", file, dir).says(t, 1, "Timeout waiting for connection to builder")
		s.Fault("")
		if err := os.WriteFile(file, []byte("FROM sero-base:bookworm\nRUN exit 3\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		s.Run("build", "--tag", tag, "--file", file, dir).says(t, 1, "failed to solve")
	})
}

// TestLoadLeavesTheEnginesNamesAlone: a loaded image has its names in the stand-in.
func TestLoadLeavesTheEnginesNamesAlone(t *testing.T) {
	s := Start(t, "1.2.2", AnyArgv(), Alone())
	host := dockertest.Engine(t)
	base := dockertest.BaseImage(t)
	archive := filepath.Join(t.TempDir(), "image.tar")
	dockertest.Docker(t, host, "tag", base, "standintest-load:1")
	dockertest.Docker(t, host, "save", "-o", archive, "standintest-load:1")
	dockertest.Docker(t, host, "rmi", "standintest-load:1")
	s.Run("image", "load", "--input", archive).want(t, 0, "docker.io/library/standintest-load:1\n")
	s.Run("image", "inspect", "standintest-load:1").says(t, 0, "standintest-load:1")
	if got := dockertest.Docker(t, host, "images", "-q", "standintest-load:1"); got != "" {
		t.Errorf("the engine has it too: %s", got)
	}
	s.Run("image", "load", "--input", "/no/such.tar").says(t, 1, "file does not exist")
	id := dockertest.Docker(t, host, "images", "-q", base)
	if id == "" {
		t.Error("the base image lost its name")
	}
}

func TestCopy(t *testing.T) {
	for _, version := range []string{"1.0.0", "1.2.2"} {
		s := Start(t, version, AnyArgv(), Alone())
		id := s.container("copy")
		dir := t.TempDir()
		if err := os.MkdirAll(filepath.Join(dir, "tree", "deep"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "tree", "deep", "f"), []byte("text"), 0o755); err != nil { //nolint:gosec // its mode is looked at
			t.Fatal(err)
		}
		s.Run("copy", filepath.Join(dir, "tree"), id+":/new/tree").want(t, 0, id+":/new/tree\n")
		s.Run("exec", id, "sh", "-c", "cat /new/tree/deep/f; test -x /new/tree/deep/f").want(t, 0, "text")
		s.Run("cp", filepath.Join(dir, "tree", "deep", "f"), id+":/tmp").want(t, 0, id+":/tmp/f\n")
		s.Run("exec", id, "cat", "/tmp/f").want(t, 0, "text")
		s.Run("copy", id+":/new/tree", filepath.Join(dir, "back")).want(t, 0, filepath.Join(dir, "back")+"\n")
		if got, err := os.ReadFile(filepath.Join(dir, "back", "deep", "f")); string(got) != "text" {
			t.Errorf("%q, %v", got, err)
		}
		s.Run("copy", "/no/such", id+":/tmp").says(t, 1, "source path does not exist: /no/such")
		s.Run("copy", "a:/b", "c:/d").says(t, 1, "copying between containers is not supported")
		s.Run("copy", "a:b", id+":/d").says(t, 1, "invalid path given: a:b")
		s.must("stop", "--time", "0", id)
		s.Run("copy", id+":/tmp/f", dir).says(t, 1, "container copy is not running")
	}
}

func TestNetwork(t *testing.T) {
	everyVersion(t, func(t *testing.T, s *Standin) {
		port := testutil.FreePort(t)
		id := s.container("net", "--publish", fmt.Sprintf("127.0.0.1:%d:8000", port), "--dns", "192.0.2.1", "--label", "a.b/c=d e,f")
		type attachment struct{ Address, IPv4Address, Gateway, IPv4Gateway string }
		address := ""
		if since(s.Version, "1.0.0") {
			all := decode[[]struct {
				Status struct{ Networks []attachment }
			}](t, s.Run("inspect", id))
			address = all[0].Status.Networks[0].IPv4Address
		} else {
			all := decode[[]struct{ Networks []attachment }](t, s.Run("inspect", id))
			address = all[0].Networks[0].IPv4Address
		}
		address, _, _ = strings.Cut(address, "/")
		s.Run("exec", id, "hostname", "-I").says(t, 0, address)
		s.Run("exec", id, "hostname").want(t, 0, "net\n")
		s.Run("exec", id, "cat", "/etc/resolv.conf").says(t, 0, "192.0.2.1")
		s.Run("inspect", id).says(t, 0, `"d e,f"`)
		s.must("exec", "--detach", id, "python3", "-c", `import socket
l = socket.create_server(("0.0.0.0", 8000))
while True:
    c, _ = l.accept(); c.sendall(b"hello"); c.close()`)
		for _, target := range []string{address + ":8000", fmt.Sprintf("127.0.0.1:%d", port)} {
			if got := answer(target); got != "hello" {
				t.Errorf("%q at %s", got, target)
			}
		}
		s.must("stop", "--time", "0", id)
		if r := s.Run("inspect", id); strings.Contains(r.Stdout, address) {
			t.Errorf("a stopped container has an address: %s", r.Stdout)
		}
		s.must("create", "--name", "taken", "--publish", fmt.Sprintf("127.0.0.1:%d:8000", port), "--entrypoint", "/bin/sleep", "sero-base:bookworm", "infinity")
		s.must("start", id)
		s.Run("start", "taken").says(t, 1, "Address already in use")
		s.must("network", "create", "own")
		s.must("create", "--name", "inside", "--network", "own", "--entrypoint", "/bin/sleep", "sero-base:bookworm", "infinity")
		s.must("start", "inside")
		s.Run("inspect", "inside").says(t, 0, "own")
		s.must("delete", "--force", "inside")
		s.must("network", "delete", "own")
		s.must("create", "--name", "none", "--network", "none", "--entrypoint", "/bin/sleep", "sero-base:bookworm", "infinity")
		s.must("start", "none")
		s.Run("exec", "none", "hostname", "-I").want(t, 0, "\n")
	})
}

// answer is what a server says, once it is there.
func answer(target string) string {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		conn, err := net.Dial("tcp", target)
		if err != nil {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		text, _ := io.ReadAll(conn)
		conn.Close()
		if len(text) > 0 {
			return string(text)
		}
	}
	return ""
}

// logs waits for what a container writes.
func (s *Standin) logs(id, part string) {
	s.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if strings.Contains(s.Run("logs", id).Stdout, part) {
			return
		}
	}
	s.t.Errorf("no %q in the log of %s", part, id)
}

// TestAgent: the guest reaches the agent of whoever starts the container.
func TestAgent(t *testing.T) {
	for version, guest := range map[string]string{"0.10.0": "/run/host-services", "0.12.3": "/var/host-services"} {
		s := Start(t, version, AnyArgv(), Alone())
		listener, err := net.Listen("unix", filepath.Join(s.dir, "agent"))
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				_, _ = io.WriteString(conn, "the agent")
				conn.Close()
			}
		}()
		t.Setenv("SSH_AUTH_SOCK", filepath.Join(s.dir, "agent"))
		id := s.container("agent", "--ssh")
		s.Run("exec", id, "sh", "-c", "echo $SSH_AUTH_SOCK").want(t, 0, guest+"/ssh-auth.sock\n")
		const read = `import os, socket; s = socket.socket(socket.AF_UNIX); s.connect(os.environ["SSH_AUTH_SOCK"]); print(s.recv(99).decode())`
		s.Run("exec", id, "python3", "-c", read).want(t, 0, "the agent\n")
		listener.Close()
	}
}

func TestObserving(t *testing.T) {
	everyVersion(t, func(t *testing.T, s *Standin) {
		s.Fault("stats-pause=0s")
		s.must("create", "--name", "writes", "--memory", "256M", "--entrypoint", "/bin/sh", "sero-base:bookworm", "-c", "echo one >&2; echo two >&2; exec sleep infinity")
		s.must("start", "writes")
		s.logs("writes", "two\n")
		s.Run("logs", "writes").want(t, 0, "one\ntwo\n")
		s.Run("logs", "-n", "1", "writes").want(t, 0, "two\n")
		s.must("stop", "--time", "0", "writes")
		s.must("start", "writes")
		s.logs("writes", "two\n")
		s.Run("logs", "writes").want(t, 0, "one\ntwo\n")
		stats := decode[[]struct {
			ID                                               string
			MemoryUsageBytes, MemoryLimitBytes, NumProcesses int64
		}](t, s.Run("stats", "writes", "--format", "json", "--no-stream"))
		if len(stats) != 1 || stats[0].MemoryLimitBytes != 256<<20 || stats[0].MemoryUsageBytes == 0 || stats[0].NumProcesses == 0 {
			t.Errorf("%+v", stats)
		}
		s.must("stop", "--time", "0", "writes")
		s.Run("stats", "writes", "--format", "json", "--no-stream").want(t, 0, "[]\n")
		s.Run("stats", "writ", "--format", "json", "--no-stream").says(t, ifSince(s.Version, "0.10.0", 1, 0), "")
		df := decode[map[string]struct{ Total int }](t, s.Run("system", "df", "--format", "json"))
		if df["containers"].Total != 2 {
			t.Errorf("%+v", df)
		}
		s.Run("create", "--name", "small", "--memory", "100M", "sero-base:bookworm").says(t, ifSince(s.Version, "0.10.0", 1, 0), "")
	})
}

// TestMachineFormat holds what a parser must cope with.
func TestMachineFormat(t *testing.T) {
	everyVersion(t, func(t *testing.T, s *Standin) {
		id := s.container("format", "--user", "1000:1000", "--workdir", "/srv", "--tmpfs", "/scratch", "--read-only")
		r := s.Run("inspect", id)
		if !strings.Contains(r.Stdout, `\/srv`) {
			t.Error("slashes are not escaped")
		}
		if pretty := bytes.Count([]byte(r.Stdout), []byte("\n")) > 1; pretty != since(s.Version, "1.0.0") {
			t.Errorf("pretty: %v", pretty)
		}
		var all []map[string]any
		if err := json.Unmarshal([]byte(r.Stdout), &all); err != nil {
			t.Fatal(err)
		}
		_, topStatus := all[0]["status"].(string)
		_, date := all[0]["startedDate"].(float64)
		if old := !since(s.Version, "1.0.0"); topStatus != old || date != old {
			t.Errorf("%s", r.Stdout)
		}
		s.Run("exec", id, "sh", "-c", "id -u; pwd; touch /scratch/f && ! touch /f").want(t, 0, "1000\n/srv\n")
		s.Run("exec", "--workdir", "/scratch/made", id, "pwd").says(t, ifSince(s.Version, "0.12.3", 0, 1), "/scratch/made")
		s.Run("exec", "--user", "nobody-there", id, "true").says(t, 1, "Error: ")
	})
}
