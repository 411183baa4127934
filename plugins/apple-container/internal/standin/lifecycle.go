package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sero-labs/sero-runtime/plugins/apple-container/internal/standin/engine"
)

func idsOrAll(s *session) error { return oneOf(s, "container-ids", "container") }

func imagesOrAll(s *session) error { return oneOf(s, "images", "image") }

// oneOf is validate() of the commands that take ids or --all.
func oneOf(s *session, args, noun string) error {
	ids := len(s.call.Args(args))
	switch {
	case ids == 0 && !s.call.Has("--all"):
		return failure(invalidArgument, "no %ss specified and --all not supplied", noun)
	case ids > 0 && s.call.Has("--all"):
		return failure(invalidArgument, "explicitly supplied %s ID(s) conflict with the --all flag", noun)
	}
	return nil
}

func startContainer(ctx context.Context, s *session) error {
	id := s.call.Arg("container-id")
	attach := s.call.Has("--attach") || s.call.Has("--interactive")
	all, err := s.snapshots(ctx)
	if err != nil {
		return err
	}
	snap, ok := all[id]
	if !ok {
		return failure(notFound, "get failed: container %s not found", id)
	}
	if snap.status == "running" {
		if attach {
			return failure(invalidArgument, "attach is currently unsupported on already running containers")
		}
		s.printf("%s\n", id)
		return nil
	}
	if attach {
		return failure(unsupported, "the stand-in starts only detached")
	}
	if err := s.start(ctx, id); err != nil {
		return err
	}
	s.printf("%s\n", id)
	return nil
}

func (s *session) start(ctx context.Context, id string) error {
	release, err := s.state.lock("container-" + id)
	if err != nil {
		return err
	}
	defer release()
	wrapped := func(cause error) error {
		return failure(internalError, "failed to bootstrap container").because(cause)
	}
	switch s.state.brokenness(id) {
	case "ghost", "ghost-inspectable":
		return wrapped(failure(internalError, "failed to bootstrap container %s", id).because(ghostError(s, id)))
	case "storage-gone":
		return wrapped(plain(`Error Domain=VZErrorDomain Code=2 "Invalid storage device attachment." UserInfo={NSLocalizedFailure=Invalid virtual machine configuration., NSLocalizedFailureReason=The storage device attachment is invalid.}`))
	}
	r, found, err := s.state.load(id)
	if err != nil {
		return err
	}
	if !found {
		return failure(notFound, "get failed: container %s not found", id)
	}
	if s.strikes("start-fails") {
		return wrapped(failure(invalidState, "container expected to be in created state, got: shuttingDown"))
	}
	if err := s.checkShares(r); err != nil {
		return err
	}
	if err := s.forwardAgent(r); err != nil {
		return err
	}
	if err := s.moveNetwork(ctx, r); err != nil {
		return err
	}
	began := time.Now()
	if err := s.engine.Call(ctx, http.MethodPost, "/containers/"+r.EngineID+"/start", nil, nil, nil); err != nil {
		return wrapped(s.startError(r, err))
	}
	return s.state.write(runtimeRecord{Began: began, Started: time.Now()}, "containers", id, "runtime.json")
}

// checkShares is what start looks at again: facts 4.2 and 5.3.
func (s *session) checkShares(r record) error {
	seen := map[string]bool{}
	for _, m := range r.Mounts {
		if m.Kind != "virtiofs" {
			continue
		}
		if _, err := os.Stat(m.Source); err != nil {
			if s.version.AtLeast(0, 12) {
				return failure(invalidState, "mount source path '%s' does not exist", m.Source)
			}
			return failure(invalidState, "path '%s' is not a directory", m.Source)
		}
		if seen[realPath(m.Source)] && s.has("duplicate-share") {
			return failure(internalError, "failed to bootstrap container").because(
				plain(`Error Domain=VZErrorDomain Code=2 "A directory sharing device configuration is invalid: the tag is not unique."`))
		}
		seen[realPath(m.Source)] = true
	}
	return nil
}

// forwardAgent gives the guest the socket in the environment of whoever starts
// it, until the next start. (Up to 0.11 it is the helper's own, which launchd
// started; here they are the same.)
func (s *session) forwardAgent(r record) error {
	if !r.SSH {
		return nil
	}
	guest := s.state.path("ssh", r.ID, "ssh-auth.sock")
	if err := os.Remove(guest); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	host := os.Getenv("SSH_AUTH_SOCK")
	if host == "" {
		fmt.Fprintln(os.Stderr, "warning: SSH_AUTH_SOCK is not set")
		return nil
	}
	if err := os.Link(host, guest); err != nil {
		return fmt.Errorf("the stand-in forwards only sockets on the file system of its state: %w", err)
	}
	return nil
}

// startError says in Apple's words why the engine did not start a container.
func (s *session) startError(r record, err error) error {
	var refused *engine.Error
	if !errors.As(err, &refused) {
		return err
	}
	switch {
	case strings.Contains(refused.Message, "address already in use"), strings.Contains(refused.Message, "port is already allocated"):
		return failure(internalError, "failed to bootstrap container %s", r.ID).because(plain("bind(descriptor:ptr:bytes:): Address already in use) (errno: 48)"))
	case strings.Contains(refused.Message, "no such file or directory"), strings.Contains(refused.Message, "executable file not found"):
		return s.noExecutable(r.ID, r.ID, r.Process.Executable)
	default:
		return failure(internalError, "%s", refused.Message)
	}
}

// waitStopped waits until the engine says that a container has ended.
func (s *session) waitStopped(ctx context.Context, r record) error {
	err := s.engine.Call(ctx, http.MethodPost, "/containers/"+r.EngineID+"/wait", nil, nil, nil)
	if engine.NotFound(err) {
		return nil
	}
	return err
}

// halt kills what a container runs, if it runs.
func (s *session) halt(ctx context.Context, r record) error {
	if r.Virtual {
		r.VirtualRun = false
		return s.state.write(r, "containers", r.ID, "config.json")
	}
	return s.stop(ctx, r, "KILL", 0)
}

// stop sends a signal, waits, and kills.
func (s *session) stop(ctx context.Context, r record, signal string, seconds int) error {
	err := s.signal(ctx, r, signal)
	if err != nil || signal == "KILL" {
		if refused, ok := errors.AsType[*engine.Error](err); ok && refused.Status == http.StatusConflict || engine.NotFound(err) {
			return nil // it does not run
		}
		if err != nil {
			return err
		}
		return s.waitStopped(ctx, r)
	}
	patience, cancel := context.WithTimeoutCause(ctx, time.Duration(seconds)*time.Second, errors.New("it did not end"))
	defer cancel()
	if s.waitStopped(patience, r) == nil {
		return nil
	}
	return s.stop(ctx, r, "KILL", 0)
}

func (s *session) signal(ctx context.Context, r record, signal string) error {
	query := url.Values{"signal": {signal}}
	return s.engine.Call(ctx, http.MethodPost, "/containers/"+r.EngineID+"/kill", query, nil, nil)
}

func stopContainers(ctx context.Context, s *session) error {
	seconds := 5
	if text, ok := s.call.Last("--time"); ok {
		seconds, _ = strconv.Atoi(text) // the grammar has checked it
	}
	signal, err := s.signalFor("SIGTERM")
	if err != nil {
		return err
	}
	return s.each(ctx, func(snap snapshot, found bool, id string) error {
		if !found {
			// Up to 0.10 the CLI filters its list and finds nothing to do: facts 4.3.
			if !s.version.AtLeast(0, 11) {
				return errSilent
			}
			return failure(internalError, "failed to stop container").because(failure(notFound, "container with ID %s not found", id))
		}
		if snap.status != "running" {
			return nil
		}
		if err := s.stop(ctx, snap.record, signal, seconds); err != nil {
			return err
		}
		if snap.Remove {
			return s.forget(ctx, id)
		}
		return nil
	}, "stop failed for one or more containers %s", "failed to stop container")
}

func killContainers(ctx context.Context, s *session) error {
	signal, err := s.signalFor("KILL")
	if err != nil {
		return err
	}
	return s.each(ctx, func(snap snapshot, found bool, id string) error {
		switch {
		case !found && !s.version.AtLeast(0, 10), found && snap.status != "running" && !s.version.AtLeast(0, 10):
			return errSilent
		case !found:
			return failure(internalError, "failed to kill container").because(failure(notFound, "container with ID %s not found", id))
		case snap.status != "running":
			return failure(internalError, "failed to kill container").because(failure(invalidState, "cannot kill: container is not running"))
		}
		if err := s.signal(ctx, snap.record, signal); err != nil {
			return err
		}
		if signal == "KILL" && s.version.AtLeast(1, 0) {
			return s.waitStopped(ctx, snap.record)
		}
		return nil
	}, "kill failed for one or more containers %s", "failed to kill container")
}

// errSilent is an id that is neither done nor an error.
var errSilent = errors.New("nothing to say")

// each does something to each container that is named, and prints what was done.
// Up to 0.9 reasons are logged and a summary follows; later they are the error.
func (s *session) each(ctx context.Context, do func(snapshot, bool, string) error, summary, logged string) error {
	all, err := s.snapshots(ctx)
	if err != nil {
		return err
	}
	ids := s.call.Args("container-ids")
	if s.call.Has("--all") {
		for id := range all {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	var reasons aggregate
	var failed []string
	for _, id := range slices.Compact(ids) {
		snap, found := all[id]
		switch err := do(snap, found, id); {
		case errors.Is(err, errSilent):
		case err != nil:
			reasons, failed = append(reasons, err), append(failed, id)
		default:
			s.printf("%s\n", id)
		}
	}
	switch {
	case len(reasons) == 0:
		return nil
	case s.version.AtLeast(0, 10):
		return reasons
	}
	for i, reason := range reasons {
		fmt.Fprintf(os.Stderr, "%s %s: %s\n", logged, failed[i], reason)
	}
	return failure(internalError, summary, strings.Join(failed, ","))
}

func deleteContainers(ctx context.Context, s *session) error {
	force := s.call.Has("--force")
	if missing := s.missing(); len(missing) > 0 && !s.version.AtLeast(0, 11) {
		return failure(notFound, "failed to delete one or more containers: [%s]", quoted(missing))
	}
	return s.each(ctx, func(snap snapshot, _ bool, id string) error {
		if s.call.Has("--all") && snap.status == "running" && !force {
			return errSilent
		}
		return s.remove(ctx, id, force)
	}, `delete failed for one or more containers: ["%s"]`, "failed to delete container")
}

func (s *session) missing() []string {
	var missing []string
	for _, id := range s.call.Args("container-ids") {
		if !s.state.exists(id) || s.state.brokenness(id) == "stale-name" { // not in the list
			missing = append(missing, id)
		}
	}
	return missing
}

func quoted(names []string) string {
	list := make([]string, 0, len(names))
	for _, name := range names {
		list = append(list, strconv.Quote(name))
	}
	return strings.Join(list, ", ")
}

// remove deletes one container.
func (s *session) remove(ctx context.Context, id string, force bool) error {
	release, err := s.state.lock("container-" + id)
	if err != nil {
		return err
	}
	defer release()
	wrapped := func(cause error) error {
		return failure(internalError, "failed to delete container").because(cause)
	}
	how := s.state.brokenness(id)
	switch {
	case !s.state.exists(id):
		return wrapped(failure(notFound, "container with ID %s not found", id))
	case how == "stale-name" && !force:
		return wrapped(failure(notFound, "container with ID %s not found", id))
	case strings.HasPrefix(how, "ghost") && (!force || !s.version.AtLeast(0, 10)):
		return wrapped(ghostError(s, id))
	case s.strikes("delete-fails"):
		return wrapped(failure(internalError, "deleteProcess: exec %s does not exist in container %s", newUUID(), id))
	}
	all, err := s.snapshots(ctx)
	if err != nil {
		return err
	}
	switch status := all[id].status; {
	case status == "stopping":
		return wrapped(failure(invalidState, "container %s is stopping and can not be deleted", id))
	case status == "running" && !force && s.version.AtLeast(0, 11):
		return wrapped(failure(invalidState, "container %s is running and can not be deleted", id))
	case status == "running" && !force:
		return failure(invalidState, "container is running")
	}
	return s.forget(ctx, id)
}

// forget removes all that there is of a container.
func (s *session) forget(ctx context.Context, id string) error {
	query := url.Values{"force": {"1"}, "v": {"1"}}
	err := s.engine.Call(ctx, http.MethodDelete, "/containers/"+s.engineName(id), query, nil, nil)
	if err != nil && !engine.NotFound(err) {
		return err
	}
	return errors.Join(os.RemoveAll(s.state.path("containers", id)), os.RemoveAll(s.state.path("ssh", id)))
}
