package mount

import (
	"slices"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// systemDirectories are not workspaces as wholes; what is in them may be one.
var systemDirectories = []string{
	"/bin", "/boot", "/lib", "/lib64", "/run", "/sbin", "/usr", "/var", "/System", "/Library", "/Applications", "/private",
}

// CheckWorkspace refuses a workspace's own directory where a sandbox must not
// show it: it is, is in or holds a place that no mount may show either. In host
// mode nothing is shown, and only sero's own directories and the kernel's are
// refused. The error is MountDenied.
func (p Policy) CheckWorkspace(hostMode bool) error {
	mounts := readMounts()
	ask := Ask{Field: "workspace.directory", Source: p.Workspace}
	dir, err := mounts.look(p.Workspace)
	if err != nil {
		return denied(ask, "%s cannot be looked at: %w", shown(p.Workspace), err).Remedy("change its permissions, or put it back")
	}
	places := p.places(mounts)
	for _, name := range systemDirectories {
		if d, err := mounts.look(name); err == nil {
			places = append(places, place{directory: d, what: "the system's"})
		}
	}
	if hostMode {
		places = slices.DeleteFunc(places, func(p place) bool { return !p.always })
	}
	for _, place := range places {
		if err := place.refusesWorkspace(ask, dir, hostMode); err != nil {
			return err
		}
	}
	if p, found := otherName(dir, places); found {
		return denied(ask, "%s holds another name of %s, which is %s", shown(dir.path), shown(p.path), p.what).Remedy("remove that name")
	}
	return nil
}

// refusesWorkspace is why a workspace must not be in a directory.
func (p place) refusesWorkspace(a Ask, dir directory, hostMode bool) error {
	within, holds, at := p.relation(dir)
	var err *driver.Error
	switch {
	case within && holds:
		err = denied(a, "%s is %s", shown(dir.path), p.what)
	case holds && hostMode && at != p.path:
		return nil // the same can be reached there by its own name
	case holds:
		err = denied(a, "%s holds %s, which is %s", shown(dir.path), shown(at), p.what)
	case within && p.inside:
		err = denied(a, "%s is in %s, which is %s", shown(dir.path), shown(p.path), p.what)
	default:
		return nil
	}
	err = err.Remedy("open a directory that holds the project and nothing else")
	if !p.always {
		err = err.Remedy("work in it without a sandbox, as a plain process of yours", "sero", "up", "--driver", "host", dir.path)
	}
	return err
}
