package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/gofrs/flock"
)

// state is what the API server keeps between calls: a directory.
//
//	system.json                    whether it runs
//	images.json                    the image store
//	networks.json                  networks that were created
//	containers/ID/config.json      what a container was created with
//	containers/ID/runtime.json     when it was started
//	containers/ID/fault            what is broken about it
//	faults, counts/                the fault script, and how often each has struck
//	locks/                         a lock for each container, and for the whole
type state struct {
	dir string
	id  string // the same directory is the same id, on labels of the engine
}

func openState(dir string) (*state, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	for _, part := range []string{"containers", "counts", "locks"} {
		if err := os.MkdirAll(filepath.Join(dir, part), 0o700); err != nil {
			return nil, err
		}
	}
	sum := sha256.Sum256([]byte(dir))
	st := &state{dir: dir, id: hex.EncodeToString(sum[:6])}
	if _, err := os.Stat(st.path("id")); err == nil {
		return st, nil
	}
	return st, os.WriteFile(st.path("id"), []byte(st.id), 0o600) // for whoever clears away
}

func (st *state) path(parts ...string) string {
	return filepath.Join(append([]string{st.dir}, parts...)...)
}

// lock takes a lock by name; what it returns releases it.
func (st *state) lock(name string) (func(), error) {
	lock := flock.New(st.path("locks", name))
	if err := lock.Lock(); err != nil {
		return nil, err
	}
	return func() { _ = lock.Unlock() }, nil
}

// count says how often it was called for a name before.
func (st *state) count(name string) (int, error) {
	release, err := st.lock("counts")
	if err != nil {
		return 0, err
	}
	defer release()
	path := st.path("counts", hex.EncodeToString([]byte(name)))
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	n, _ := strconv.Atoi(string(text)) // nothing is none
	return n, os.WriteFile(path, []byte(strconv.Itoa(n+1)), 0o600)
}

// read fills v from a JSON file. A missing one leaves v as it is.
func (st *state) read(v any, parts ...string) (found bool, err error) {
	text, err := os.ReadFile(st.path(parts...))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, json.Unmarshal(text, v)
}

// write replaces a JSON file as a whole.
func (st *state) write(v any, parts ...string) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	path := st.path(parts...)
	temporary, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(temporary.Name()) }() // gone when all went well
	if _, err := temporary.Write(text); err != nil {
		return errors.Join(err, temporary.Close())
	}
	if err := temporary.Close(); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), path)
}

// system is the API server.
type system struct {
	Running    bool
	NoKernel   bool
	Generation int // of the default network's subnet
}

func (st *state) system() (system, error) {
	var sys system
	_, err := st.read(&sys, "system.json")
	return sys, err
}

// record is what a container was created with: its config.json.
type record struct {
	ID         string
	EngineID   string // of the container below
	Created    time.Time
	Image      imageRecord
	Labels     map[string]string
	Mounts     []mountRecord
	Ports      []portRecord
	Process    processRecord
	CPUs       int64
	Memory     int64
	SharedMem  int64 // bytes of /dev/shm; zero: the default
	Networks   []networkRequest
	DNS        *dnsRecord
	SSH        bool
	ReadOnly   bool
	Init       bool
	Remove     bool
	CapAdd     []string
	CapDrop    []string
	Rosetta    bool
	Virtual    bool // the builder: nothing is below it
	VirtualRun bool
}

type mountRecord struct {
	Kind        string // virtiofs, tmpfs, volume
	Source      string
	Destination string
	Options     []string
}

func (m mountRecord) readOnly() bool { return slices.Contains(m.Options, "ro") }

type portRecord struct {
	HostAddress   string
	HostPort      int
	ContainerPort int
	Protocol      string
}

type processRecord struct {
	Executable string
	Arguments  []string
	Env        []string
	Workdir    string
	User       string
	Terminal   bool
}

type networkRequest struct {
	Network string
	MAC     string
	MTU     int
}

type dnsRecord struct {
	Nameservers []string
	Domain      string
	Search      []string
	Options     []string
}

// runtimeRecord is what changes with each start.
type runtimeRecord struct {
	Began   time.Time // when the start was asked for
	Started time.Time
}

func (st *state) exists(id string) bool {
	_, err := os.Stat(st.path("containers", id))
	return id != "" && err == nil
}

func (st *state) ids() ([]string, error) {
	entries, err := os.ReadDir(st.path("containers"))
	var ids []string
	for _, e := range entries {
		ids = append(ids, e.Name())
	}
	return ids, err
}

// load reads a container. Its config.json, or, of a ghost, what the server still
// has in memory.
func (st *state) load(id string) (r record, found bool, err error) {
	found, err = st.read(&r, "containers", id, "config.json")
	if !found && err == nil {
		found, err = st.read(&r, "containers", id, "memory.json")
	}
	return r, found, err
}

// brokenness is the fault that a container has, or "".
func (st *state) brokenness(id string) string {
	text, err := os.ReadFile(st.path("containers", id, "fault"))
	if err != nil {
		return ""
	}
	return string(text)
}

// breakContainer makes a container have a fault until it is deleted.
func (s *session) breakContainer(ctx context.Context, id, how string) error {
	dir := s.state.path("containers", id)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if how == "ghost" || how == "ghost-inspectable" {
		if r, found, err := s.state.load(id); err == nil && found {
			if err := s.halt(ctx, r); err != nil {
				return err
			}
		}
		if err := os.Rename(filepath.Join(dir, "config.json"), filepath.Join(dir, "memory.json")); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "fault"), []byte(how), 0o600)
}
