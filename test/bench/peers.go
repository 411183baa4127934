package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// peer is another tool with a workspace of its own, in a container of the same
// image as sero's.
type peer struct {
	name   string
	up     func() error // makes the workspace ready
	run    func() error // runs true in it
	remove func() error
}

// peers are those whose programs are on PATH.
func (b *bench) peers(image string) ([]peer, error) {
	var all []peer
	for _, tool := range []struct {
		name string
		peer func(program, dir string) (peer, error)
	}{{"devcontainer", devcontainer}, {"devpod", devpod}} {
		path, err := exec.LookPath(tool.name)
		if err != nil {
			continue
		}
		dir := filepath.Join(b.dir, tool.name)
		config := fmt.Sprintf(`{"name": "bench", "image": %q}`, image)
		err = errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, ".devcontainer.json"), []byte(config), 0o600))
		if err != nil {
			return nil, err
		}
		p, err := tool.peer(path, dir)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// devcontainer is the devcontainers CLI (npm install -g @devcontainers/cli).
func devcontainer(program, dir string) (peer, error) {
	return peer{
		name: "devcontainer",
		up:   command(program, "up", "--workspace-folder", dir),
		run:  command(program, "exec", "--workspace-folder", dir, "true"),
		remove: func() error { // it has no command for that
			out, err := exec.Command("docker", "ps", "--all", "--quiet", "--filter", "label=devcontainer.local_folder="+dir).Output()
			for id := range strings.FieldsSeq(string(out)) {
				err = errors.Join(err, exec.Command("docker", "rm", "--force", id).Run())
			}
			return err
		},
	}, nil
}

// devpod is DevPod with its docker provider, whose state and settings stay in dir.
func devpod(program, dir string) (peer, error) {
	id := fmt.Sprintf("bench-%d", os.Getpid())
	own := []string{"--silent", "--devpod-home", dir + ".home"}
	with := func(args ...string) func() error { return command(program, append(args, own...)...) }
	return peer{
		name:   "devpod",
		up:     with("up", dir, "--id", id, "--ide", "none", "--configure-ssh=false"),
		run:    with("ssh", id, "--command", "true", "--start-services=false"),
		remove: with("delete", id, "--force", "--ignore-not-found"),
	}, with("provider", "add", "docker")()
}

func command(program string, args ...string) func() error {
	return func() error {
		if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s %s: %w: %s", program, args[0], err, out)
		}
		return nil
	}
}

// ready compares how long it takes until there is a workspace to work in.
func (b *bench) ready(rounds int, dir, id string, peers []peer) error {
	anew := []timed{{name: "sero up, a new sandbox", do: b.cli("up", dir), prepare: b.cli("rm", "-w", id)}}
	again := []timed{{name: "sero up, it runs", do: b.cli("up", dir)}}
	for _, p := range peers {
		anew = append(anew, timed{name: p.name + " up, a new container", do: p.up, prepare: p.remove})
		again = append(again, timed{name: p.name + " up, it runs", do: p.up})
	}
	return errors.Join(b.compare("make a workspace", rounds, anew), b.compare("find a workspace ready", rounds, again))
}
