package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// devcontainer is the devcontainers CLI with a workspace of its own, of the same
// image as sero's (npm install -g @devcontainers/cli).
type devcontainer struct{ program, dir string }

// newDevcontainer gives nil where the CLI is not on PATH.
func newDevcontainer(dir, image string) (*devcontainer, error) {
	program, err := exec.LookPath("devcontainer")
	if err != nil {
		return nil, nil //nolint:nilerr,nilnil // nothing to compare with
	}
	d := &devcontainer{program: program, dir: dir}
	config := fmt.Sprintf(`{"name": "bench", "image": %q}`, image)
	return d, errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, ".devcontainer.json"), []byte(config), 0o600))
}

func (d *devcontainer) up() error { return d.run("up", "--workspace-folder", d.dir) }

func (d *devcontainer) exec(argv ...string) error {
	return d.run(append([]string{"exec", "--workspace-folder", d.dir}, argv...)...)
}

// remove ends the container, for which the CLI has no command.
func (d *devcontainer) remove() error {
	out, err := exec.Command("docker", "ps", "--all", "--quiet", "--filter", "label=devcontainer.local_folder="+d.dir).Output()
	if err != nil {
		return err
	}
	for id := range strings.FieldsSeq(string(out)) {
		if err := exec.Command("docker", "rm", "--force", id).Run(); err != nil {
			return err
		}
	}
	return nil
}

func (d *devcontainer) run(args ...string) error {
	if out, err := exec.Command(d.program, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("devcontainer %s: %w: %s", args[0], err, out)
	}
	return nil
}

// ready compares how long it takes until there is a workspace to work in.
func (b *bench) ready(rounds int, dir, id string, peer *devcontainer) error {
	anew := []timed{{name: "sero up, a new sandbox", do: b.cli("up", dir), prepare: b.cli("rm", "-w", id)}}
	again := []timed{{name: "sero up, it runs", do: b.cli("up", dir)}}
	if peer != nil {
		anew = append(anew, timed{name: "devcontainer up, a new container", do: peer.up, prepare: peer.remove})
		again = append(again, timed{name: "devcontainer up, it runs", do: peer.up})
	}
	return errors.Join(b.compare("make a workspace", rounds, anew), b.compare("find a workspace ready", rounds, again))
}
