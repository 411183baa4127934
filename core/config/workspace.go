// Package config reads what people configure: sero.json in a workspace and
// config.json in sero's home. Both are JSON with comments and trailing commas.
// A key that is not known is a warning with its place and the nearest known
// one; anything else that is wrong is a ConfigInvalid error with its place.
package config

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/sero-labs/sero-runtime/core/egress/policy"
	"github.com/sero-labs/sero-runtime/core/environ"
	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/imageref"
)

// FileName is the name of a workspace's configuration file.
const FileName = "sero.json"

// The modes: which drivers may be chosen.
const (
	ModeAuto    = "auto"    // the strongest that works, the host if none does
	ModeRequire = "require" // one that isolates, or an error
	ModeHost    = "host"    // no isolation, on purpose
)

// FallbackHost as Workspace.Fallback accepts the host even where the file asks
// for what only isolation gives.
const FallbackHost = "host"

// Workspace is what a sero.json says. The zero value is that of a workspace
// without one. Its comments are short; the published schema describes each key.
type Workspace struct {
	Schema     string               `json:"$schema"`
	ID         string               `json:"id"`
	Driver     string               `json:"driver"`
	Mode       string               `json:"mode"`     // empty, ModeAuto, ModeRequire or ModeHost
	Fallback   string               `json:"fallback"` // empty or FallbackHost
	Image      string               `json:"image"`
	User       string               `json:"user"`    // who commands run as: a name or uid[:gid]; empty: whoever owns the files
	Env        map[string]string    `json:"env"`     // values are taken as they are written
	Path       []string             `json:"path"`    // put before PATH: absolute in the sandbox, or relative to the workspace
	Secrets    map[string]string    `json:"secrets"` // values are references: SecretEnv or SecretFile and a name
	Mounts     []Mount              `json:"mounts"`
	Roots      []string             `json:"roots"` // absolute, shown writable at the same path
	Resources  Resources            `json:"resources"`
	DevServers map[string]DevServer `json:"devServers"`
	Egress     Egress               `json:"egress"`

	Hash string `json:"-"` // of the file's text; empty without a file
}

// What a secret's value may be taken from, with a name behind it: a variable of
// the daemon's environment, or a file of the host's.
const (
	SecretEnv  = "env:"
	SecretFile = "file:"
)

// Mount is a directory of the host that the sandbox shows.
type Mount struct {
	Source   string `json:"source"` // absolute, on the host
	Target   string `json:"target"` // absolute, in the sandbox; empty: Source
	ReadOnly bool   `json:"readOnly"`
}

// Resources are limits; zero means the engine's default.
type Resources struct {
	CPUs   float64 `json:"cpus"`
	Memory string  `json:"memory"` // "512MiB", "4GiB"; see MemoryBytes

	Processes    int64  `json:"processes"`    // and threads, at once
	SharedMemory string `json:"sharedMemory"` // of /dev/shm, as Memory; see SharedMemoryBytes
}

// DevServer is a dev server that the workspace is known to have.
type DevServer struct {
	Command []string          `json:"command"`
	Dir     string            `json:"dir"` // relative to the workspace
	Port    uint16            `json:"port"`
	Env     map[string]string `json:"env"`
}

// Egress is what a workspace may reach; package policy reads the rules. Without
// any of it no proxy runs.
type Egress struct {
	Mode    string   `json:"mode"`    // empty, or one of policy.Modes; see Chosen
	Enforce bool     `json:"enforce"` // the proxy must be the only way out
	Allow   []string `json:"allow"`   // hosts, *.domains, addresses and networks, with ports
	Deny    []string `json:"deny"`    // wins over allow
}

// Asked tells whether there is anything that a proxy is needed for.
func (e Egress) Asked() bool {
	return e.Mode != "" || e.Enforce || e.Allow != nil || len(e.Deny) > 0
}

// Chosen is the mode. Where none is named an allow list says it, an empty one
// too: nobody who writes one means that all the rest may be reached.
func (e Egress) Chosen() policy.Mode {
	switch {
	case e.Mode != "":
		return policy.Mode(e.Mode)
	case e.Allow != nil:
		return policy.Allowlist
	default:
		return policy.Open
	}
}

// Strict tells whether the proxy should be the only way out.
func (e Egress) Strict() bool { return e.Enforce || e.Chosen() == policy.Allowlist }

// LoadWorkspace reads the sero.json of a directory. A directory without one has
// the zero Workspace. A file that is a symlink out of the directory is refused,
// as is everything else that is wrong, with ConfigInvalid.
func LoadWorkspace(dir string) (Workspace, []Warning, error) {
	name := filepath.Join(dir, FileName)
	root, err := os.OpenRoot(dir)
	if err != nil {
		return Workspace{}, nil, unreadable(name, err)
	}
	defer root.Close()
	f, err := root.OpenFile(FileName, openFlags, 0)
	if errors.Is(err, fs.ErrNotExist) {
		if _, linkErr := root.Lstat(FileName); linkErr != nil {
			return Workspace{}, nil, nil
		}
	}
	if err != nil {
		return Workspace{}, nil, unreadable(name, err)
	}
	text, err := readFile(f, name)
	if err != nil {
		return Workspace{}, nil, err
	}
	return ParseWorkspace(name, text)
}

// ParseWorkspace reads the text of a sero.json; file is for messages.
func ParseWorkspace(file string, text []byte) (Workspace, []Warning, error) {
	d, err := parse(file, text)
	if err != nil {
		return Workspace{}, nil, err
	}
	var w Workspace
	if err := d.decode(&w); err != nil {
		return Workspace{}, nil, err
	}
	if err := w.check(d); err != nil {
		return Workspace{}, nil, err
	}
	w.warn(d)
	sum := sha256.Sum256(text)
	w.Hash = hex.EncodeToString(sum[:])
	return w, d.allWarnings(), nil
}

// NeedsIsolation lists the keys of the file that a sandbox without isolation
// cannot honour, sorted.
func (w Workspace) NeedsIsolation() []string {
	var needs []string
	if w.Egress.Asked() {
		needs = append(needs, "egress")
	}
	if w.Image != "" {
		needs = append(needs, "image")
	}
	if w.Resources != (Resources{}) {
		needs = append(needs, "resources")
	}
	return needs
}

// MemoryBytes is the memory limit in bytes, 0 for none.
func (r Resources) MemoryBytes() int64 {
	n, _ := parseMemory(r.Memory)
	return n
}

// SharedMemoryBytes is the size of /dev/shm in bytes, 0 for the default.
func (r Resources) SharedMemoryBytes() int64 {
	n, _ := parseMemory(r.SharedMemory)
	return n
}

var (
	idPattern     = newPattern(`^[a-z0-9]([a-z0-9-]{0,56}[a-z0-9])?$`)
	driverPattern = newPattern(`^[a-z][a-z0-9-]{0,31}$`)
	envPattern    = newPattern(`^[A-Za-z_][A-Za-z0-9_]*$`)
	pathPattern   = newPattern(`^[^:\x00-\x1f\x7f$~]+$`)
	secretPattern = newPattern(`^(env:[A-Za-z_][A-Za-z0-9_]*|file:(/|~/)[^\x00-\x1f\x7f]{1,1000})$`)
	serverPattern = newPattern(`^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$`)
	memoryPattern = newPattern(`^([0-9]{1,12})([KMGTkmgt]?)(?:[iI]?[bB])?$`)
	imagePattern  = newPattern(`^[A-Za-z0-9][A-Za-z0-9._/:@-]{0,254}$`)
	userPattern   = newPattern(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,31})?$`)
	modes         = []string{ModeAuto, ModeRequire, ModeHost}
	fallbacks     = []string{FallbackHost}
)

func (w Workspace) check(d *document) error {
	err := cmp.Or(
		matches(d, "id", w.ID, idPattern, "lower-case letters, digits and inner hyphens, at most 58"),
		matches(d, "driver", w.Driver, driverPattern, "a driver's name, as in sero driver ls"),
		oneOf(d, "mode", w.Mode, modes),
		oneOf(d, "fallback", w.Fallback, fallbacks),
		imageReference(d, "image", w.Image),
		matches(d, "user", w.User, userPattern, `a user's name or number, with ":" and a group if need be, such as "root" or "1000:1000"`),
		checkEnv(d, "env", w.Env),
		checkPath(d, w.Path),
		w.checkSecrets(d),
		checkRoots(d, w.Roots),
		w.Resources.check(d),
		w.Egress.check(d),
	)
	for i, m := range w.Mounts {
		err = cmp.Or(err, m.check(d, fmt.Sprintf("mounts[%d]", i)))
	}
	for _, name := range slices.Sorted(maps.Keys(w.DevServers)) {
		err = cmp.Or(err, w.DevServers[name].check(d, name))
	}
	if err == nil && w.Mode == ModeHost && w.Driver != "" && w.Driver != ModeHost {
		err = d.errorAt("driver", "the mode is host, so the driver cannot be %s", w.Driver).
			Remedy("remove one of mode and driver")
	}
	return asError(err)
}

func matches(d *document, path, value string, allowed pattern, rule string) *driver.Error {
	if value == "" && d.positions[path] == 0 || allowed.MatchString(value) {
		return nil
	}
	return d.errorAt(path, "%s is not allowed: %s", shown(value), rule).Remedy("use " + rule)
}

// imageReference refuses what is no reference to an image. The pattern is the
// published schema's, which cannot say all that the parser knows.
func imageReference(d *document, path, value string) *driver.Error {
	const rule = `an image reference such as "node:22"`
	err := matches(d, path, value, imagePattern, rule)
	if err == nil && value != "" && imageref.Check(path, value) != nil {
		err = d.errorAt(path, "%s is not allowed: %s", shown(value), rule).Remedy("use " + rule)
	}
	return err
}

func oneOf(d *document, path, value string, allowed []string) *driver.Error {
	if value == "" && d.positions[path] == 0 || slices.Contains(allowed, value) {
		return nil
	}
	rule := strings.Join(allowed, ", ")
	return d.errorAt(path, "%s is not one of: %s", shown(value), rule).Remedy("use one of " + rule)
}

func checkEnv(d *document, path string, env map[string]string) *driver.Error {
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if !envPattern.MatchString(name) {
			return d.errorAtOffset(d.positions[join(path, name)], path,
				fmt.Sprintf("%s: %s is not a variable's name", path, shown(name))).
				Remedy("use letters, digits and underscores, not starting with a digit")
		}
	}
	if what := environ.Oversize(environ.Of(env)); what != "" {
		return d.errorAt(path, "%s", what).Remedy("put what is large into a file, and its path into a variable")
	}
	return nil
}

// checkPath refuses what cannot be one directory of PATH.
func checkPath(d *document, dirs []string) *driver.Error {
	for i, dir := range dirs {
		if !pathPattern.MatchString(dir) {
			return d.errorAt(fmt.Sprintf("path[%d]", i), "%s is not a directory for PATH: it must be one, without : $ ~ and control characters", shown(dir)).
				Remedy(`give a directory such as "./node_modules/.bin" or "/opt/tools/bin"; PATH itself follows without being named`)
		}
	}
	return nil
}

// checkSecrets refuses what is not a reference, without repeating it: it may be
// the secret itself.
func (w Workspace) checkSecrets(d *document) *driver.Error {
	if err := checkEnv(d, "secrets", w.Secrets); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(w.Secrets)) {
		at := join("secrets", name)
		if !secretPattern.MatchString(w.Secrets[name]) {
			return d.errorAt(at, "this is not a reference to a secret").
				Remedy(`name where it is: "env:NAME" for a variable of yours, "file:/path" or "file:~/path" for a file`)
		}
		if _, twice := w.Env[name]; twice {
			return d.errorAt(at, "env has a variable of that name too").Remedy("keep one of them")
		}
	}
	return nil
}

// warn reports what is allowed and hardly meant: references to secrets, and to the
// variable itself, where values are taken as they are written.
func (w Workspace) warn(d *document) {
	lists := map[string]map[string]string{"env": w.Env}
	for name, server := range w.DevServers {
		lists["devServers."+name+".env"] = server.Env
	}
	for _, list := range slices.Sorted(maps.Keys(lists)) {
		for _, name := range slices.Sorted(maps.Keys(lists[list])) {
			value := lists[list][name]
			if at := join(list, name); secretPattern.MatchString(value) && !strings.HasPrefix(value, "file://") { // that is a URL
				d.warn(d.positions[at], "%s is given to commands as it is written; if it is a reference to a secret, put it under %q", at, "secrets")
			}
			if at := join(list, name); namesItself(name, value) {
				advice := "write the whole value"
				if name == "PATH" {
					advice = `name the directories to put before PATH under "path"`
				}
				d.warn(d.positions[at], "%s is given to commands as it is written, and no variable in it is replaced; %s", at, advice)
			}
		}
	}
}

// namesItself reports whether the value of a variable is one that a shell would
// have put its former value into, or for PATH any other.
func namesItself(name, value string) bool {
	if name == "PATH" {
		return strings.ContainsAny(value, "$%") || strings.HasPrefix(value, "~") || strings.Contains(value, ":~")
	}
	_, rest, found := strings.Cut(value, "$"+name)
	return strings.Contains(value, "${"+name) || found && !envPattern.MatchString("_"+rest[:min(1, len(rest))]) || found && rest == ""
}

func checkRoots(d *document, roots []string) *driver.Error {
	for i, root := range roots {
		at := fmt.Sprintf("roots[%d]", i)
		if !filepath.IsAbs(root) || filepath.Clean(root) == "/" {
			return d.errorAt(at, "%s is not an absolute directory", shown(root)).Remedy("give an absolute path below /")
		}
	}
	return nil
}

func (m Mount) check(d *document, at string) *driver.Error {
	if !filepath.IsAbs(m.Source) {
		return d.errorAt(at, "the source %s is not an absolute path", shown(m.Source)).Remedy("give an absolute path")
	}
	if m.Target != "" && (!path.IsAbs(m.Target) || path.Clean(m.Target) == "/") {
		return d.errorAt(at, "the target %s is not an absolute path below /", shown(m.Target)).Remedy("give an absolute path")
	}
	return nil
}

func (r Resources) check(d *document) *driver.Error {
	if r.CPUs < 0 || r.CPUs > 1024 || r.CPUs == 0 && d.positions["resources.cpus"] > 0 {
		return d.errorAt("resources.cpus", "the number of CPUs must be above 0 and at most 1024").Remedy("give a number such as 2 or 0.5")
	}
	for at, amount := range map[string]string{"resources.memory": r.Memory, "resources.sharedMemory": r.SharedMemory} {
		if n, ok := parseMemory(amount); d.positions[at] > 0 && (!ok || n == 0) {
			return d.errorAt(at, "%s is not an amount of memory", shown(amount)).Remedy(`give one such as "512MiB" or "4GiB"`)
		}
	}
	if d.positions["resources.processes"] > 0 && (r.Processes < 1 || r.Processes > maxProcesses) {
		return d.errorAt("resources.processes", "the number of processes must be from 1 to %d", maxProcesses).Remedy("give a number such as 4096")
	}
	return nil
}

// maxProcesses is as many as Linux can have.
const maxProcesses = 1 << 22

// parseMemory reads "512MiB"; units are powers of 1024, whatever their spelling.
func parseMemory(s string) (int64, bool) {
	m := memoryPattern.FindStringSubmatch(s)
	if m == nil {
		return 0, false
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	shift := map[string]uint{"": 0, "K": 10, "M": 20, "G": 30, "T": 40}[strings.ToUpper(m[2])]
	if err != nil || n > (1<<50)>>shift {
		return 0, false
	}
	return n << shift, true
}

func (s DevServer) check(d *document, name string) *driver.Error {
	at := "devServers." + name
	if !serverPattern.MatchString(name) {
		return d.errorAtOffset(d.positions[at], "devServers",
			fmt.Sprintf("devServers: %s is not allowed as a name", shown(name))).
			Remedy("use lower-case letters, digits and inner hyphens, at most 40")
	}
	if len(s.Command) == 0 || s.Command[0] == "" {
		return d.errorAt(at, "there is no command").Remedy(`give one such as "command": ["npm", "run", "dev"]`)
	}
	if s.Dir != "" && !filepath.IsLocal(s.Dir) {
		return d.errorAt(at+".dir", "%s is not a path below the workspace", shown(s.Dir)).Remedy("give a relative path without ..")
	}
	return checkEnv(d, at+".env", s.Env)
}

func (e Egress) check(d *document) *driver.Error {
	err := oneOf(d, "egress.mode", e.Mode, policy.Modes)
	for _, list := range []struct {
		key   string
		rules []string
	}{{"allow", e.Allow}, {"deny", e.Deny}} {
		for i, rule := range list.rules {
			if _, parseErr := policy.ParseRule(rule); parseErr != nil {
				err = cmp.Or(err, d.errorAt(fmt.Sprintf("egress.%s[%d]", list.key, i), "%s: %s", shown(rule), parseErr).
					Remedy(`give a host, a *.domain, an address or a network, such as "registry.npmjs.org", "*.github.com:443" or "10.0.0.0/8:5432"`))
			}
		}
	}
	return err
}
