package dockertest_test

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/internal/testutil/dockertest"
)

func TestBaseImage(t *testing.T) {
	image, host := dockertest.BaseImage(t), dockertest.Engine(t)
	tools := dockertest.Docker(t, host, "run", "--rm", image, "sh", "-c", "for tool in sh ps ss setsid python3 stat; do command -v $tool; done")
	if lines := strings.Count(tools, "\n") + 1; lines != 6 {
		t.Errorf("the base image has only:\n%s", tools)
	}
}

func TestPrivate(t *testing.T) {
	var socket string
	t.Run("life", func(t *testing.T) {
		d := dockertest.Private(t)
		socket = strings.TrimPrefix(d.Host, "unix://")
		d.Docker("run", "-d", "--init", "--name", "one", dockertest.BaseImage(t), "sleep", "1000")
		state := func() string { return d.Docker("inspect", "-f", "{{.State.Status}}", "one") }
		if got := state(); got != "running" {
			t.Errorf("the container is %s", got)
		}
		d.Restart()
		if got := state(); got != "exited" {
			t.Errorf("after a restart of the engine the container is %s", got)
		}
		d.Docker("start", "one")
		d.Pause()
		if ping(t, d.Host, time.Second) {
			t.Error("a frozen engine answers")
		}
		d.Resume()
		if got := state(); got != "running" {
			t.Errorf("after the freeze the container is %s", got)
		}
	})
	if _, err := os.Stat(socket); !os.IsNotExist(err) {
		t.Errorf("the engine's socket is still there: %v", err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), "/tmp/sero-dockerd-") && strings.Contains(string(mounts), strings.TrimSuffix(socket, "/docker.sock")) {
		t.Error("mounts are left")
	}
}

func ping(t *testing.T, host string, patience time.Duration) bool {
	ctx, cancel := context.WithTimeoutCause(t.Context(), patience, nil)
	defer cancel()
	return exec.CommandContext(ctx, "docker", "--host", host, "version").Run() == nil
}
