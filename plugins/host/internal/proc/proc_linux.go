package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
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

func read(pid int, buf []byte) (Process, error) {
	f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return Process{}, err
	}
	defer f.Close()
	n, err := f.Read(buf)
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
	fields := bytes.Fields(line[end+1:])
	const state, parent, group, session, start = 0, 1, 2, 3, 19
	if len(fields) <= start {
		return Process{}, errStat
	}
	p := Process{ID: ID{PID: pid}}
	var err error
	for field, to := range map[int]*int{parent: &p.Parent, group: &p.Group, session: &p.Session} {
		if *to, err = strconv.Atoi(string(fields[field])); err != nil {
			return Process{}, errStat
		}
	}
	if p.Start, err = strconv.ParseUint(string(fields[start]), 10, 64); err != nil {
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
	environ, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return ""
	}
	return markerIn(environ)
}

// Command is a process's command line, empty if it may not be read.
func Command(pid int) string {
	line, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if err != nil {
		return ""
	}
	return joinArguments(line)
}
