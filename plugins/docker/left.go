package docker

import (
	"bytes"
	"context"
	_ "embed" // for the script
	"errors"
	"log/slog"
	"os"
	"regexp"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

//go:embed left.sh
var leftScript string

// commandName is what a command's script is called in a list of processes. One
// that is to end with its caller says who that is, for a driver that is killed
// ends nothing.
func commandName(detach bool, mark string) string {
	if detach {
		return "sero-exec"
	}
	return "sero-exec-" + strconv.Itoa(os.Getpid()) + "-" + mark
}

// adoption remembers in which containers the commands of drivers before this one
// have been ended; who finds that under way waits for it.
type adoption struct {
	mu sync.Mutex
	of map[string]chan struct{}
}

// adopt ends what a driver that was killed left running in a container, before
// the first command that this one runs there.
func (d *Driver) adopt(ctx context.Context, container string) error {
	d.adopted.mu.Lock()
	done := d.adopted.of[container]
	if done == nil {
		done = make(chan struct{})
		d.adopted.of[container] = done
		d.commands.Go(func() { // ends by the limits of its calls
			defer close(done)
			if err := d.endLeft(context.WithoutCancel(ctx), container); err != nil {
				slog.Warn("what an earlier driver left running could not be ended", "container", container, "error", err)
			}
		})
	}
	d.adopted.mu.Unlock()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctxError(ctx)
	}
}

func (a *adoption) forget(container string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.of, container)
}

// maxLeft bounds what a container may say of its commands, in bytes.
const maxLeft = 1 << 20

// endLeft ends the commands in a container whose drivers are gone.
func (d *Driver) endLeft(ctx context.Context, container string) error {
	running, err := call(ctx, d, readLimit, func(ctx context.Context, c *connection) (int, error) {
		found, err := c.ContainerInspect(ctx, container, client.ContainerInspectOptions{})
		return len(found.Container.ExecIDs), err
	})
	if err != nil || running == 0 {
		return err
	}
	var list bytes.Buffer
	bounded := writer(func(p []byte) (int, error) {
		return list.Write(p[:min(len(p), maxLeft-list.Len())]) // short where it is too much
	})
	if err := d.control(ctx, container, "0", startLimit, bounded, leftScript); err != nil {
		return err
	}
	var group errgroup.Group
	group.SetLimit(8)
	for _, l := range leftIn(list.String()) {
		if l.driver != os.Getpid() && isAlive(l.driver) {
			continue
		}
		slog.Info("ending what a driver that is gone left running", "container", container, "driver", l.driver)
		group.Go(func() error { return d.endCommand(ctx, container, l.user, l.leader, l.mark, driver.DefaultKillGrace) })
	}
	return group.Wait()
}

// left is a command that still runs.
type left struct {
	leader, user, mark string
	driver             int // its process
}

var leftPattern = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?m)^([0-9]+) ([0-9]+:[0-9]+) sero-exec-([0-9]+)-([0-9A-Z]+)$`)
})

// leftIn reads what left.sh lists, which is any container's word.
func leftIn(list string) (found []left) {
	known := map[string]bool{}
	for _, m := range leftPattern().FindAllStringSubmatch(list, -1) {
		pid, err := strconv.Atoi(m[3])
		if leader, _ := strconv.Atoi(m[1]); err != nil || leader <= 1 || known[m[4]] {
			continue
		}
		known[m[4]] = true
		found = append(found, left{leader: m[1], user: m[2], mark: m[4], driver: pid})
	}
	return found
}

// isAlive tells of a process of this machine, where all drivers of an engine
// are. A number that is used again keeps what is left alive.
func isAlive(pid int) bool {
	err := syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}

// endCommand ends a command and all that it started.
func (d *Driver) endCommand(ctx context.Context, container, user, leader, mark string, grace time.Duration) error {
	err := d.endProcesses(ctx, container, "0", leader, mark, grace)
	if user != "" { // whose environments even root may not be shown
		err = errors.Join(err, d.endProcesses(ctx, container, user, "none", mark, grace))
	}
	return err
}
