package proc

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

func list() ([]Process, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	buf := make([]byte, 1024)
	out := make([]Process, 0, len(names))
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if p, err := read(pid, buf); err == nil {
			out = append(out, p)
		}
	}
	return out, nil
}

// Read is one process, a zombie too.
func Read(pid int) (Process, error) { return read(pid, make([]byte, 1024)) }

// read makes bare system calls: it runs once for each process of the machine,
// often, and os.File costs more than the rest of it.
func read(pid int, buf []byte) (Process, error) {
	fd, err := unix.Open("/proc/"+strconv.Itoa(pid)+"/stat", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return Process{}, err
	}
	n, err := unix.Read(fd, buf)
	_ = unix.Close(fd)
	if err != nil {
		return Process{}, err
	}
	return parseStat(pid, buf[:n])
}

var errStat = errors.New("unexpected form of /proc/PID/stat")

// parseStat reads "pid (comm) state ppid pgrp session …"; comm may hold
// anything, so the fields are counted from the last parenthesis.
func parseStat(pid int, line []byte) (Process, error) {
	end := bytes.LastIndexByte(line, ')')
	if end < 0 {
		return Process{}, errStat
	}
	const state, parent, group, session, start = 0, 1, 2, 3, 19
	fields := bytes.SplitN(bytes.TrimLeft(line[end+1:], " "), []byte(" "), start+2)
	if len(fields) <= start || len(fields[state]) == 0 {
		return Process{}, errStat
	}
	p := Process{ID: ID{PID: pid}}
	var errs [4]error
	p.Parent, errs[0] = strconv.Atoi(string(fields[parent]))
	p.Group, errs[1] = strconv.Atoi(string(fields[group]))
	p.Session, errs[2] = strconv.Atoi(string(fields[session]))
	p.Start, errs[3] = strconv.ParseUint(string(fields[start]), 10, 64)
	if errs != [4]error{} {
		return Process{}, errStat
	}
	switch fields[state][0] {
	case 'Z', 'X', 'x':
		p.Zombie = true
	case 'T':
		p.Stopped = true
	}
	return p, nil
}

// Marker is the value of MarkerEnv in the environment of a process, empty if it
// has none or may not be read.
func Marker(pid int) string {
	var environ []byte
	err := AsOwner(pid, func() (err error) {
		environ, err = os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
		return err
	})
	if err != nil {
		return ""
	}
	return markerIn(environ)
}

// AsOwner looks at a process, and once more in its owner's name if that is not
// permitted: in a container, root may often not look at what other users run.
func AsOwner(pid int, look func() error) error {
	err := look()
	if !errors.Is(err, fs.ErrPermission) || os.Geteuid() != 0 {
		return err
	}
	var owner unix.Stat_t
	if statErr := unix.Stat("/proc/"+strconv.Itoa(pid), &owner); statErr != nil {
		return statErr
	}
	runtime.LockOSThread() // whose files a thread sees is the thread's alone
	defer runtime.UnlockOSThread()
	gid, _ := unix.SetfsgidRetGid(int(owner.Gid))
	defer func() { _, _ = unix.SetfsgidRetGid(gid) }()
	uid, _ := unix.SetfsuidRetUid(int(owner.Uid))
	defer func() { _, _ = unix.SetfsuidRetUid(uid) }()
	return look()
}

// Command is a process's command line, empty if it may not be read.
func Command(pid int) string {
	line, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if err != nil {
		return ""
	}
	return joinArguments(line)
}
