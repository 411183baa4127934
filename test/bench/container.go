package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// container compares the ways to run a command in a warm container, and to get
// its output.
func (b *bench) container(rounds int, image, size string) error {
	if image == "" {
		return nil
	}
	dir := filepath.Join(b.dir, "box")
	id := fmt.Sprintf("bench-%d", os.Getpid())
	text := fmt.Sprintf(`{"id": %q, "driver": "docker", "image": %q}`, id, image)
	if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, "sero.json"), []byte(text), 0o600)); err != nil {
		return err
	}
	if err := b.cli("up", dir)(); err != nil {
		return err
	}
	defer func() { _ = b.cli("rm", "-w", id)() }()
	client, closeClient := b.client()
	defer closeClient()
	engine, err := newEngine()
	if err != nil {
		return err
	}
	defer engine.client.CloseIdleConnections()
	sandbox := "sero-" + id
	peers, err := b.peers(image)
	if err != nil {
		return err
	}
	for _, p := range peers {
		defer func() { _ = p.remove() }()
	}
	if err := b.ready(max(1, rounds/6), dir, id, peers); err != nil {
		return err
	}
	cases := []timed{
		{name: "direct fork and exec, on the host", do: func() error { return exec.Command("true").Run() }},
		{name: "sero's API on a kept connection", do: func() error { return apiExec(client, id, "true") }},
		{name: "sero exec -- true, whole process", do: b.cli("exec", "-w", id, "--", "true")},
		{name: "docker exec true, whole process", do: func() error { return exec.Command("docker", "exec", sandbox, "true").Run() }},
		{name: "Engine API, on kept connections", do: func() error { return engine.exec(sandbox, "true") }},
	}
	for _, p := range peers {
		cases = append(cases, timed{name: p.name + ", run true, whole process", do: p.run})
	}
	if err := b.compare("run true in a container", rounds, cases); err != nil {
		return err
	}
	return b.moves(max(1, rounds/6), id, sandbox, size)
}

// moves compares the ways to get much into a container, and out of it.
func (b *bench) moves(rounds int, id, sandbox, size string) error {
	head := []string{"head", "-c", size, "/dev/zero"}
	sero := func(argv ...string) *exec.Cmd { return b.command(append([]string{"exec", "-w", id, "--"}, argv...)...) }
	docker := func(argv ...string) *exec.Cmd { return exec.Command("docker", append([]string{"exec"}, argv...)...) }
	return errors.Join(
		b.compare("move "+size+" into a container", rounds, []timed{
			{name: "head | sero exec -- cat", do: func() error { return feed(head, sero("sh", "-c", "cat >/dev/null")) }},
			{name: "head | docker exec -i cat", do: func() error { return feed(head, docker("-i", sandbox, "sh", "-c", "cat >/dev/null")) }},
		}),
		b.compare("move "+size+" out of a container", rounds, []timed{
			{name: "sero exec -- head | drain", do: func() error { return drain(sero(head...)) }},
			{name: "docker exec head | drain", do: func() error { return drain(docker(append([]string{sandbox}, head...)...)) }},
		}),
	)
}

// engine speaks the Docker Engine API.
type engine struct {
	socket string
	client *http.Client
}

func newEngine() (*engine, error) {
	socket := "/var/run/docker.sock"
	if host := os.Getenv("DOCKER_HOST"); host != "" {
		var unix bool
		if socket, unix = strings.CutPrefix(host, "unix://"); !unix {
			return nil, fmt.Errorf("the engine at %s is not on this machine", host)
		}
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	return &engine{socket, &http.Client{Transport: &http.Transport{DialContext: dial}}}, nil
}

// exec makes an exec, starts it, reads its output to the end and asks for its
// code, as docker exec does.
func (e *engine) exec(container string, argv ...string) error {
	var made struct{ ID string }
	config := map[string]any{"AttachStdout": true, "AttachStderr": true, "Cmd": argv}
	if err := e.call(http.MethodPost, "/containers/"+container+"/exec", config, &made); err != nil {
		return err
	}
	if err := e.call(http.MethodPost, "/exec/"+made.ID+"/start", map[string]any{"Detach": false}, nil); err != nil {
		return err
	}
	var state struct{ ExitCode int }
	if err := e.call(http.MethodGet, "/exec/"+made.ID+"/json", nil, &state); err != nil {
		return err
	}
	if state.ExitCode != 0 {
		return fmt.Errorf("exit code %d", state.ExitCode)
	}
	return nil
}

func (e *engine) call(method, path string, body, answer any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(context.Background(), method, "http://engine"+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := e.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("%s %s: %s", method, path, response.Status)
	}
	if answer == nil {
		_, err = io.Copy(io.Discard, response.Body)
		return err
	}
	return json.NewDecoder(response.Body).Decode(answer)
}
