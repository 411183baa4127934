package peer

import "golang.org/x/sys/unix"

func credentials(fd int) (Process, error) {
	cred, err := unix.GetsockoptXucred(fd, unix.SOL_LOCAL, unix.LOCAL_PEERCRED)
	if err != nil {
		return Process{}, err
	}
	pid, err := unix.GetsockoptInt(fd, unix.SOL_LOCAL, unix.LOCAL_PEERPID)
	if err != nil {
		return Process{}, err
	}
	return Process{PID: pid, UID: int(cred.Uid)}, nil
}
