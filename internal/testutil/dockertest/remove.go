package dockertest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// network is a bridge of a private engine.
type network struct {
	bridge string
}

// newNetwork makes a bridge with the first number that is free. Making it is
// what takes the number.
func newNetwork() (network, error) {
	var last error
	for n := 1; n < 250; n++ {
		bridge := fmt.Sprintf("serotest%d", n)
		if last = ip("link", "add", "name", bridge, "type", "bridge"); last != nil {
			continue
		}
		made := network{bridge: bridge}
		err := errors.Join(
			ip("addr", "add", fmt.Sprintf("10.213.%d.1/24", n), "dev", bridge),
			ip("link", "set", bridge, "up"))
		if err != nil {
			return network{}, errors.Join(err, made.remove())
		}
		return made, nil
	}
	return network{}, last
}

func (n network) remove() error {
	if n.bridge == "" {
		return nil
	}
	return ip("link", "del", n.bridge)
}

func ip(args ...string) error {
	ctx, cancel := within(10 * time.Second)
	defer cancel()
	_, err := output(exec.CommandContext(ctx, "ip", args...))
	return err
}

// remove takes away the engine and whatever it left: containers first, so that
// none outlives it, then processes, mounts, the bridge and the files.
func (d *Daemon) remove() {
	if d.process != nil {
		if d.frozen {
			_ = d.process.Signal(syscall.SIGCONT)
			d.frozen = false
		}
		d.removeContainers()
		if err := d.end(syscall.SIGTERM, 30*time.Second); err != nil {
			d.t.Error(err)
			_ = d.end(syscall.SIGKILL, 10*time.Second)
		}
	}
	for begin := time.Now(); d.killRest() && time.Since(begin) < 10*time.Second; {
		time.Sleep(20 * time.Millisecond) // a killed process takes a moment to go
	}
	if err := errors.Join(d.unmount(), d.network.remove(), os.RemoveAll(d.dir)); err != nil {
		d.t.Errorf("clearing away a private engine: %v", err)
	}
}

func (d *Daemon) removeContainers() {
	ctx, cancel := within(30 * time.Second)
	defer cancel()
	ids, err := output(command(ctx, d.Host, "ps", "--all", "--quiet", "--no-trunc"))
	if err != nil || ids == "" {
		return // it was stopped, or has none; what is left is killed below
	}
	_, _ = output(command(ctx, d.Host, append([]string{"rm", "--force"}, strings.Fields(ids)...)...))
}

// killRest kills every process that this engine's directory is on the command
// line of (containerd, shims) with all its descendants; it tells whether there
// was one.
func (d *Daemon) killRest() bool {
	children := map[int][]int{}
	var doomed []int
	entries, _ := os.ReadDir("/proc")
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		children[parent(pid)] = append(children[parent(pid)], pid)
		line, _ := os.ReadFile(filepath.Join("/proc", entry.Name(), "cmdline"))
		if bytes.Contains(line, []byte(filepath.Base(d.dir))) {
			doomed = append(doomed, pid)
		}
	}
	for i := 0; i < len(doomed); i++ {
		doomed = append(doomed, children[doomed[i]]...)
	}
	for _, pid := range doomed {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	return len(doomed) > 0
}

func parent(pid int) int {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(stat[bytes.LastIndexByte(stat, ')')+1:]), " ")
	fields := strings.Fields(rest)
	if len(fields) < 2 {
		return 0
	}
	ppid, _ := strconv.Atoi(fields[1])
	return ppid
}

// unmount undoes every mount below the engine's directory, the last one first.
func (d *Daemon) unmount() error {
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	var points []string
	for line := range strings.Lines(string(info)) {
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4], d.dir+"/") {
			points = append(points, fields[4])
		}
	}
	slices.Reverse(points)
	for _, point := range points {
		err = errors.Join(err, unmount(point))
	}
	return err
}
