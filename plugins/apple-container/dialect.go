package applecontainer

import (
	"fmt"
	"regexp"
	"sync"

	goversion "github.com/hashicorp/go-version"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// dialect is what the driver has to know about a release of the CLI and those
// after it. What is the same in all of them is not here: the options that the
// driver gives were checked against the grammar of every release.
type dialect struct {
	since *goversion.Version

	statusJSON   bool   // system status --format json
	startTimeout bool   // system start --timeout
	pullProgress string // image pull --progress: what prints lines to read
	minMemory    int64  // bytes; less is refused, or does not boot
	maxName      int    // of a container
	sameSource   bool   // one host directory can be mounted at two targets
	sharedMemory bool   // create --shm-size
	sshSocket    string // where --ssh puts the agent's socket
}

const (
	agentSocketOld = "/run/host-services/ssh-auth.sock"
	agentSocketNew = "/var/host-services/ssh-auth.sock"
	minMemory      = 200 << 20
)

// dialects, oldest first. 0.9 is the oldest that is supported: before it the
// system takes the container away when a command in it fails to start
// (apple/container#1080).
var dialects = []dialect{
	{since: release("0.9.0"), pullProgress: "none", minMemory: minMemory, maxName: 64, sshSocket: agentSocketOld},
	{since: release("0.10.0"), statusJSON: true, startTimeout: true, pullProgress: "none", minMemory: minMemory, maxName: 64, sameSource: true, sshSocket: agentSocketOld},
	{since: release("0.12.0"), statusJSON: true, startTimeout: true, pullProgress: "plain", minMemory: minMemory, maxName: 64, sameSource: true, sshSocket: agentSocketNew},
	{since: release("1.0.0"), statusJSON: true, startTimeout: true, pullProgress: "plain", minMemory: minMemory, maxName: 64, sameSource: true, sharedMemory: true, sshSocket: agentSocketNew},
	{since: release("1.2.0"), statusJSON: true, startTimeout: true, pullProgress: "plain", minMemory: minMemory, maxName: 63, sameSource: true, sharedMemory: true, sshSocket: agentSocketNew},
}

// newest is the last release whose sources were read.
var newest = release("1.2.2")

func release(s string) *goversion.Version { return goversion.Must(goversion.NewVersion(s)) }

// engine is the CLI that is installed.
type engine struct {
	dialect
	version *goversion.Version
	newer   bool // than all that is known; the newest dialect is used
}

// engineOf picks the dialect of a release. EngineTooOld for one that is not
// supported.
func engineOf(v *goversion.Version) (engine, error) {
	core := v.Core() // a build between releases counts as the release before it
	e := engine{version: v, newer: core.GreaterThan(newest)}
	for _, d := range dialects {
		if core.GreaterThanOrEqual(d.since) {
			e.dialect = d
		}
	}
	if e.since == nil {
		return e, driver.Errorf(driver.EngineTooOld, "Apple's container %s is too old: %s or newer is needed, for older ones lose the container when a command fails to start",
			v, dialects[0].since).Remedy("install a current release from https://github.com/apple/container/releases")
	}
	return e, nil
}

// versionLine is what container --version prints: "container CLI version 1.2.2
// (build: release, commit: 1234567)". A build between releases has what git
// describe says.
var versionLine = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\bversion v?(\d+\.\d+(?:\.\d+)?\S*)`) })

func parseVersion(text string) (*goversion.Version, error) {
	m := versionLine().FindStringSubmatch(text)
	if m == nil {
		return nil, fmt.Errorf("no version in %.100q", text)
	}
	return goversion.NewVersion(m[1])
}
