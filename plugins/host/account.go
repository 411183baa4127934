package host

import (
	"errors"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// account is who a command runs as; the zero value is who this process does.
type account struct {
	credential *syscall.Credential
	name, home string
}

// findAccount finds the user "name", "uid" or either with ":group" or ":gid". A
// uid that no file knows is one without a name, with the root directory as home.
func findAccount(spec string) (account, error) {
	if spec == "" {
		return account{}, nil
	}
	name, groupName, withGroup := strings.Cut(spec, ":")
	u, err := user.Lookup(name)
	if err != nil {
		u, err = user.LookupId(name)
	}
	if _, numberErr := strconv.ParseUint(name, 10, 32); err != nil && numberErr == nil {
		u, err = &user.User{Uid: name, Gid: "0", HomeDir: "/"}, nil
	}
	if err != nil {
		return account{}, userError(spec, "there is no user "+printable(name))
	}
	groups := []string{}
	if withGroup {
		g, err := user.LookupGroup(groupName)
		if err == nil {
			groupName = g.Gid
		}
		u.Gid = groupName
	} else if all, err := u.GroupIds(); err == nil {
		groups = all
	}
	uid, uidErr := strconv.ParseUint(u.Uid, 10, 32)
	gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
	if errors.Join(uidErr, gidErr) != nil {
		return account{}, userError(spec, "there is no group "+printable(groupName))
	}
	a := account{name: u.Username, home: u.HomeDir}
	if int(uid) == os.Geteuid() && int(gid) == os.Getegid() {
		return a, nil
	}
	if os.Geteuid() != 0 {
		return account{}, &driver.Error{Reason: driver.PermissionDenied, Message: "only root can run commands as " + printable(spec), Field: "user", Resource: spec}
	}
	a.credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	for _, g := range groups {
		if n, err := strconv.ParseUint(g, 10, 32); err == nil {
			a.credential.Groups = append(a.credential.Groups, uint32(n))
		}
	}
	return a, nil
}

func userError(user, message string) error {
	return &driver.Error{Reason: driver.InvalidArgument, Message: message, Field: "user", Resource: user}
}

// environment sets what a user has, unless it was given.
func (a account) environment(env []string, given []driver.EnvVar) []string {
	for name, value := range map[string]string{"HOME": a.home, "USER": a.name, "LOGNAME": a.name} {
		if value != "" && !slices.ContainsFunc(given, func(v driver.EnvVar) bool { return v.Name == name }) {
			env = setEnv(env, name, value)
		}
	}
	return env
}
