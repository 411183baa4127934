package fake

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

var (
	errNoFile   = errors.New("No such file or directory") //nolint:staticcheck // as tools print it
	errReadOnly = errors.New("Read-only file system")     //nolint:staticcheck // as tools print it
)

// files is a sandbox's file system: memory, with the host's directories where
// they are mounted.
type files struct {
	mounts []driver.Mount // longest target first

	mu   sync.Mutex
	data map[string][]byte // regular files, by absolute path
	dirs map[string]bool
}

func newFiles(workspace, source string, mounts []driver.Mount) *files {
	f := &files{data: map[string][]byte{}, dirs: map[string]bool{"/": true, "/tmp": true, "/root": true, workspace: true}}
	f.mounts = slices.Clone(mounts)
	if !slices.ContainsFunc(mounts, func(m driver.Mount) bool { return m.Target == workspace }) && source != "" {
		f.mounts = append(f.mounts, driver.Mount{Source: source, Target: workspace})
	}
	slices.SortFunc(f.mounts, func(a, b driver.Mount) int { return len(b.Target) - len(a.Target) })
	return f
}

// limits writes the files that tell a container of its limits.
func (f *files) limits(r driver.Resources) {
	f.data["/sys/fs/cgroup/memory.max"] = []byte("max\n")
	f.data["/sys/fs/cgroup/cpu.max"] = []byte("max 100000\n")
	f.data["/sys/fs/cgroup/pids.max"] = fmt.Appendln(nil, cmp.Or(r.Processes, driver.DefaultProcesses))
	f.data["/proc/mounts"] = fmt.Appendf(nil, "shm /dev/shm tmpfs rw,nosuid,nodev,noexec,relatime,size=%dk 0 0\n", cmp.Or(r.SharedMemoryBytes, driver.DefaultSharedMemory)>>10)
	if r.MemoryBytes > 0 {
		f.data["/sys/fs/cgroup/memory.max"] = []byte(strconv.FormatInt(r.MemoryBytes, 10) + "\n")
	}
	if r.CPUs > 0 {
		f.data["/sys/fs/cgroup/cpu.max"] = fmt.Appendf(nil, "%d 100000\n", int(r.CPUs*100000))
	}
}

// routes writes the routing tables of the kernel.
func (f *files) routes(n driver.Network) {
	f.data["/proc/net/route"] = []byte("Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n")
	f.data["/proc/net/ipv6_route"] = nil
	if n == driver.NetworkDefault {
		f.data["/proc/net/route"] = append(f.data["/proc/net/route"], "eth0\t00000000\tFEFF630A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"...)
	}
}

// abs is name as an absolute path, seen from dir.
func (f *files) abs(dir, name string) string {
	if name == "" {
		return path.Clean(dir)
	}
	if path.IsAbs(name) {
		return path.Clean(name)
	}
	return path.Join(dir, name)
}

// host finds the mount that a path is under.
func (f *files) host(p string) (m driver.Mount, rel string, ok bool) {
	for _, m := range f.mounts {
		if p == m.Target {
			return m, ".", true
		}
		if rel, under := strings.CutPrefix(p, strings.TrimSuffix(m.Target, "/")+"/"); under {
			return m, rel, true
		}
	}
	return driver.Mount{}, "", false
}

// do does something below a mount's source, never outside of it.
func (m driverMount) do(write bool, act func(*os.Root) error) error {
	if write && m.ReadOnly {
		return errReadOnly
	}
	root, err := os.OpenRoot(m.Source)
	if err != nil {
		return err
	}
	defer root.Close()
	return act(root)
}

type driverMount driver.Mount

func (f *files) read(p string) (data []byte, err error) {
	if m, rel, ok := f.host(p); ok {
		err = driverMount(m).do(false, func(r *os.Root) error {
			data, err = r.ReadFile(rel)
			return err
		})
		return data, unixError(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	data, ok := f.data[p]
	if !ok {
		return nil, errNoFile
	}
	return slices.Clone(data), nil
}

func (f *files) write(p string, data []byte, appending bool) error {
	if m, rel, ok := f.host(p); ok {
		flags := os.O_WRONLY | os.O_CREATE | os.O_TRUNC
		if appending {
			flags = os.O_WRONLY | os.O_CREATE | os.O_APPEND
		}
		return unixError(driverMount(m).do(true, func(r *os.Root) error {
			file, err := r.OpenFile(rel, flags, 0o644)
			if err != nil {
				return err
			}
			_, err = file.Write(data)
			return errors.Join(err, file.Close())
		}))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.dirs[path.Dir(p)] {
		return errNoFile
	}
	if appending {
		data = append(slices.Clone(f.data[p]), data...)
	}
	f.data[p] = slices.Clone(data)
	return nil
}

func (f *files) mkdir(p string) error {
	if m, rel, ok := f.host(p); ok {
		return unixError(driverMount(m).do(true, func(r *os.Root) error { return r.MkdirAll(rel, 0o755) }))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for ; p != "/"; p = path.Dir(p) {
		f.dirs[p] = true
	}
	return nil
}

func (f *files) remove(p string) error {
	if m, rel, ok := f.host(p); ok {
		return unixError(driverMount(m).do(true, func(r *os.Root) error { return r.RemoveAll(rel) }))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.data, p)
	delete(f.dirs, p)
	return nil
}

func (f *files) exists(p string) bool {
	if f.isDir(p) {
		return true
	}
	_, err := f.read(p)
	return err == nil
}

func (f *files) isDir(p string) bool {
	if m, rel, ok := f.host(p); ok {
		dir := false
		_ = driverMount(m).do(false, func(r *os.Root) error {
			info, err := r.Stat(rel)
			dir = err == nil && info.IsDir()
			return nil
		})
		return dir
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dirs[p]
}

// below lists the regular files at and under a path, sorted.
func (f *files) below(p string) []string {
	var out []string
	if m, rel, ok := f.host(p); ok {
		_ = driverMount(m).do(false, func(r *os.Root) error {
			return fs.WalkDir(r.FS(), rel, func(name string, e fs.DirEntry, err error) error {
				if err == nil && e.Type().IsRegular() {
					out = append(out, path.Join(m.Target, name))
				}
				return nil
			})
		})
		slices.Sort(out)
		return out
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for name := range f.data {
		if name == p || strings.HasPrefix(name, strings.TrimSuffix(p, "/")+"/") {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

func unixError(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return errNoFile
	}
	return err
}
