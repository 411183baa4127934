package proc

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// The values of p_stat in sys/proc.h.
const (
	statStopped = 4
	statZombie  = 5
)

func list() ([]Process, error) {
	infos, err := unix.SysctlKinfoProcSlice("kern.proc.all")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	out := make([]Process, 0, len(infos))
	for i := range infos {
		out = append(out, fromInfo(&infos[i]))
	}
	return out, nil
}

// Read is one process, a zombie too.
func Read(pid int) (Process, error) {
	info, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil {
		return Process{}, fmt.Errorf("read process %d: %w", pid, err)
	}
	return fromInfo(info), nil
}

func fromInfo(info *unix.KinfoProc) Process {
	p := Process{
		ID: ID{
			PID:   int(info.Proc.P_pid),
			Start: uint64(info.Proc.P_starttime.Sec)*1_000_000 + uint64(info.Proc.P_starttime.Usec),
		},
		Parent:  int(info.Eproc.Ppid),
		Group:   int(info.Eproc.Pgid),
		Zombie:  info.Proc.P_stat == statZombie,
		Stopped: info.Proc.P_stat == statStopped,
	}
	if session, err := unix.Getsid(p.PID); err == nil {
		p.Session = session
	}
	return p
}

// Marker is the value of MarkerEnv in the environment of a process, empty if it
// has none or may not be read.
func Marker(pid int) string {
	_, environ := arguments(pid)
	return markerIn(environ)
}

// Command is a process's command line, empty if it may not be read.
func Command(pid int) string {
	argv, _ := arguments(pid)
	return joinArguments(argv)
}

func arguments(pid int) (argv, environ []byte) {
	data, err := unix.SysctlRaw("kern.procargs2", pid)
	if err != nil {
		return nil, nil
	}
	return splitProcargs(data)
}
