// Package mount decides which directories of the host a sandbox shows. Rules are
// held on what a path leads to, not on how it is spelled: symbolic links are
// followed, and directories are told apart by identity, so that a second name
// for a directory is that directory.
package mount

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"github.com/sero-labs/sero-runtime/internal/brief"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// WorkspaceTarget is where a sandbox shows its workspace.
const WorkspaceTarget = "/workspace"

// Ask is a mount that is asked for.
type Ask struct {
	Field    string // where, for messages: "mounts[2]"
	Source   string // absolute, on the host
	Target   string // absolute, in the sandbox; empty: Source
	ReadOnly bool
}

// Skip is an asked mount that is left out, and why.
type Skip struct {
	Ask
	Why string
}

// String is one line for people.
func (s Skip) String() string {
	return fmt.Sprintf("%s: %s is left out: %s", s.Field, shown(s.Source), s.Why)
}

// Policy is what asks are held against. Its paths may be missing.
type Policy struct {
	Workspace string   // the workspace's directory on the host
	Others    []string // those of other workspaces, in which their sandboxes write
	Home      string   // the user's: not as a whole
	Homes     []string // other people's, and the account's own where Home is another: likewise
	Private   []string // sero's own directories: never
	Engines   []string // sockets and directories of container engines: never
}

// denied is a refusal.
func denied(a Ask, format string, args ...any) *driver.Error {
	err := driver.Errorf(driver.MountDenied, a.Field+": "+format, args...).About(a.Source)
	err.Field = a.Field
	return err
}

// Plan gives the mounts for what is asked, in its order. A source that is
// missing is left out and never created. The first that is refused fails all of
// them, with MountDenied and its field.
func (p Policy) Plan(asks []Ask) ([]driver.Mount, []Skip, error) {
	if len(asks) == 0 {
		return nil, nil, nil
	}
	var planned []plan
	var skipped []Skip
	mounts := readMounts()
	places := p.places(mounts)
	for _, a := range asks {
		a.Target = cmp.Or(a.Target, a.Source)
		if err := cmp.Or(checkPath(a, "source", a.Source), checkPath(a, "target", a.Target), checkTarget(a)); err != nil {
			return nil, nil, err
		}
		source, err := mounts.look(a.Source)
		if err == nil {
			if err := checkPath(a, "source", source.path); err != nil {
				return nil, nil, err
			}
		}
		switch {
		case errors.Is(err, fs.ErrNotExist):
			skipped = append(skipped, Skip{a, "it does not exist"})
			continue
		case err != nil:
			return nil, nil, denied(a, "%s cannot be looked at: %w", shown(a.Source), err).Remedy("mend its permissions, or remove it")
		case !source.info.IsDir():
			return nil, nil, denied(a, "%s is not a directory", shown(a.Source)).Remedy("name the directory that it is in")
		}
		for _, place := range places {
			if err := place.refuses(a, source); err != nil {
				return nil, nil, err
			}
		}
		if err := refuseSockets(a, source, places); err != nil {
			return nil, nil, err
		}
		planned = append(planned, plan{a, source})
	}
	if err := p.refuseOverlaps(planned, mounts); err != nil {
		return nil, nil, err
	}
	var shows []driver.Mount
	for _, m := range planned {
		// The resolved path: what was looked at is what is shown.
		shows = append(shows, driver.Mount{Source: m.source.path, Target: path.Clean(m.Target), ReadOnly: m.ReadOnly})
	}
	return shows, skipped, nil
}

// plan is an ask that passed by itself.
type plan struct {
	Ask
	source directory
}

// directory is one that exists, with all that it is in.
type directory struct {
	path   string // resolved
	info   fs.FileInfo
	within []fs.FileInfo // the directory itself and those above it, up to the root
	links  []directory   // those that hold a link which led here
	origin origin        // tells it from others where a part of a tree is mounted again
	under  []mounted     // what is mounted in it
}

// look follows every link of a path.
func (t mountTable) look(name string) (directory, error) {
	resolved, holders, err := resolve(name)
	if err != nil {
		return directory{}, err
	}
	d, err := t.lookAt(resolved)
	for _, holder := range holders {
		at, holderErr := t.lookAt(holder)
		err = cmp.Or(err, holderErr)
		d.links = append(d.links, at)
	}
	return d, err
}

// lookAt is look for a path without links.
func (t mountTable) lookAt(resolved string) (directory, error) {
	info, err := os.Stat(resolved)
	if err != nil {
		return directory{}, err
	}
	d := directory{path: resolved, info: info, within: []fs.FileInfo{info}, origin: t.of(resolved), under: t.under(resolved)}
	for at := resolved; at != filepath.Dir(at); {
		at = filepath.Dir(at)
		if info, err := os.Stat(at); err == nil {
			d.within = append(d.within, info)
		}
	}
	return d, nil
}

// mostLinks is how many links a path may have, as in the kernel.
const mostLinks = 40

// resolve follows the links of an absolute path, and says in which directories
// they are.
func resolve(name string) (resolved string, holders []string, err error) {
	at, rest := "/", strings.Split(name, "/")
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]
		next := filepath.Join(at, part) // at has no links, so ".." is what it seems
		info, err := os.Lstat(next)
		switch {
		case err != nil:
			return "", nil, err
		case info.Mode()&fs.ModeSymlink == 0:
			at = next
			continue
		case len(holders) == mostLinks:
			return "", nil, &fs.PathError{Op: "resolve", Path: name, Err: syscall.ELOOP}
		}
		target, err := os.Readlink(next)
		if err != nil {
			return "", nil, err
		}
		holders = append(holders, at)
		if filepath.IsAbs(target) {
			at = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return at, holders, nil
}

// isIn reports whether d is other, or below it, under whatever name.
func (d directory) isIn(other directory) bool {
	if d.origin.isIn(other.origin) {
		return true
	}
	for _, info := range d.within {
		if os.SameFile(info, other.info) {
			return true
		}
	}
	return false
}

// leadsThrough tells whether a link in other, or below it, led to d.
func (d directory) leadsThrough(other directory) bool {
	return slices.ContainsFunc(d.links, func(holder directory) bool { return holder.isIn(other) })
}

// longest is more than any path that systems take.
const longest = 1024

// checkPath holds the rules on how a path is written. Drivers hand mounts to
// engines in texts with separators of their own, so the separators of all of
// them are refused for all.
func checkPath(a Ask, which, p string) error {
	var why string
	switch clean := strings.TrimSuffix(p, "/"); {
	case p == "" || !path.IsAbs(p):
		why = "is not an absolute path"
	case len(p) > longest:
		why = fmt.Sprintf("is longer than %d bytes", longest)
	case !utf8.ValidString(p):
		why = "is not UTF-8"
	case strings.ContainsFunc(p, func(r rune) bool {
		return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029'
	}):
		why = "holds control characters"
	case strings.ContainsAny(p, `,:="\`):
		why = `holds one of , : = " \, which not every engine can be told`
	case p != strings.TrimSpace(p):
		why = "begins or ends with a space"
	case clean != "" && clean != path.Clean(p):
		why = `is not written plainly: it has "..", "." or "//" in it`
	default:
		return nil
	}
	return denied(a, "the %s %s %s", which, shown(p), why).Remedy("write an absolute path plainly, or rename the directory")
}

// What a sandbox needs of its own. Nothing may be shown over, above or below the
// first; nothing in place of the second, though well below it.
var (
	guestTrees = []string{
		WorkspaceTarget, "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/opt/sero", "/proc", "/run", "/sbin", "/sys",
		"/usr", "/var/lib/dpkg", "/var/run",
	}
	guestPlaces = []string{"/", "/home", "/opt", "/root", "/srv", "/tmp", "/var", "/var/cache", "/var/lib", "/var/log", "/var/tmp"}
)

func checkTarget(a Ask) error {
	target := path.Clean(a.Target)
	for _, tree := range guestTrees {
		if below(target, tree) || below(tree, target) {
			return denied(a, "the target %s would hide the sandbox's own %s", shown(target), tree).
				Remedy("give another target, such as /mnt/" + path.Base(target))
		}
	}
	if slices.Contains(guestPlaces, target) {
		return denied(a, "the target %s would hide the sandbox's own", shown(target)).
			Remedy("give another target, such as " + path.Join(target, "data"))
	}
	return nil
}

// below tells whether a path is another, or below it.
func below(p, of string) bool {
	return p == of || strings.HasPrefix(p, strings.TrimSuffix(of, "/")+"/")
}

// refuseOverlaps holds the rules between mounts. An engine follows a source again
// at each start: one that lies in what the sandbox may write could by then be a
// link to anywhere.
func (p Policy) refuseOverlaps(planned []plan, mounts mountTable) error {
	workspace, err := mounts.look(p.Workspace)
	known := err == nil
	var others []directory
	for _, name := range p.Others {
		if other, err := mounts.look(name); err == nil {
			others = append(others, other)
		}
	}
	for i, m := range planned {
		switch {
		case slices.ContainsFunc(others, m.source.leadsThrough):
			return denied(m.Ask, "a link in another workspace leads to %s, and could be changed from inside its sandbox", shown(m.source.path)).
				Remedy("name the directory itself")
		case known && m.source.leadsThrough(workspace):
			return denied(m.Ask, "a link in the workspace leads to %s, and could be changed from inside", shown(m.source.path)).
				Remedy("name the directory itself")
		case known && m.source.isIn(workspace):
			return denied(m.Ask, "%s is in the workspace, which is at %s already", shown(m.Source), WorkspaceTarget).
				Remedy("remove it, and use " + WorkspaceTarget)
		case known && !m.ReadOnly && workspace.isIn(m.source):
			return denied(m.Ask, "%s holds the workspace's directory, which could then be exchanged from inside", shown(m.Source)).
				Remedy("make it read-only, or name a directory in it")
		}
		for j, other := range planned {
			if i == j {
				continue
			}
			switch {
			case below(path.Clean(m.Target), path.Clean(other.Target)) && (i > j || path.Clean(m.Target) != path.Clean(other.Target)):
				return denied(m.Ask, "the target %s is taken by %s, which has %s", shown(m.Target), other.Field, shown(other.Target)).
					Remedy("remove one of them, or give another target")
			case m.source.leadsThrough(other.source) && !other.ReadOnly:
				return denied(m.Ask, "a link in %s of %s, which is writable, leads to %s, and could be changed from inside",
					shown(other.Source), other.Field, shown(m.source.path)).Remedy("name the directory itself")
			case m.source.isIn(other.source) && !other.source.isIn(m.source) && !other.ReadOnly: // the directory itself is the same mount again
				return denied(m.Ask, "%s is in %s of %s, which is writable, and could be exchanged from inside", shown(m.Source), shown(other.Source), other.Field).
					Remedy("remove one of them, or make " + other.Field + " read-only")
			}
		}
	}
	return nil
}

// shown is a path as a message may carry it.
func shown(p string) string { return brief.Text(p) }
