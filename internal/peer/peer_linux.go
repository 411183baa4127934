package peer

import "golang.org/x/sys/unix"

func credentials(fd int) (Process, error) {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return Process{}, err
	}
	return Process{PID: int(cred.Pid), UID: int(cred.Uid)}, nil
}
