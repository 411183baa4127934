package sockets

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/sero-labs/sero-runtime/plugins/host/internal/proc"
)

const minInterval = 100 * time.Millisecond

// finder asks the kernel for listening sockets only, by netlink: reading
// /proc/net/tcp walks every connection of the machine. It keeps what a look
// needs, as looks are made several times a second.
type finder struct {
	fd   int
	open bool
	last map[uint64]endpoint // of the last find; nil: there was none
	next map[uint64]endpoint // of the last dump
	buf  []byte              // for answers
}

type endpoint struct {
	address netip.Addr
	port    uint16
}

func (f *finder) close() {
	if f.open {
		_ = unix.Close(f.fd)
		f.open = false
	}
}

func (f *finder) changed() bool {
	err := f.dump()
	return err != nil || f.last == nil || !maps.Equal(f.next, f.last)
}

func (f *finder) find(pids []int) ([]Socket, error) {
	if err := f.dump(); err != nil {
		return nil, err
	}
	f.last, f.next = f.next, f.last
	var out []Socket
	taken := make(map[uint64]bool)
	for _, pid := range pids {
		for _, inode := range socketInodes(pid) {
			if at, ok := f.last[inode]; ok && !taken[inode] {
				taken[inode] = true
				out = append(out, Socket{Address: at.address, Port: at.port, PID: pid})
			}
		}
	}
	return out, nil
}

// socketInodes are the sockets that a process holds; none if it is gone or may
// not be looked at.
func socketInodes(pid int) (out []uint64) {
	_ = proc.AsOwner(pid, func() (err error) {
		out, err = readInodes(filepath.Join("/proc", strconv.Itoa(pid), "fd"))
		return err
	})
	return out
}

func readInodes(dir string) (out []uint64, err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		target, err := os.Readlink(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrPermission) {
			return nil, err // so it will be for the others
		}
		number, ok := strings.CutPrefix(target, "socket:[")
		if !ok {
			continue
		}
		if inode, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 64); err == nil {
			out = append(out, inode)
		}
	}
	return out, nil
}

// The layout of inet_diag_req and inet_diag_msg, from linux/inet_diag.h. This
// request is the one whose answer has both families: the kernel goes through its
// table, which is larger the more memory the machine has, once for it.
const (
	tcpDiagGetSock = 18 // TCPDIAG_GETSOCK
	requestSize    = 60
	offStates      = 52
	stateListen    = 10
	messageSize    = 72
	offFamily      = 0
	offSourcePort  = 4
	offSource      = 8
	offInode       = 68
)

// dump lists all listening TCP sockets by inode, in next.
func (f *finder) dump() error {
	err := f.connect()
	if err == nil {
		err = f.ask()
	}
	if err != nil {
		f.close() // half an answer may still be in it
		return fmt.Errorf("list listening sockets: %w", err)
	}
	return nil
}

func (f *finder) connect() (err error) {
	if f.open {
		return nil
	}
	f.fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_SOCK_DIAG)
	f.open = err == nil
	return err
}

func (f *finder) ask() error {
	if f.buf == nil {
		f.buf = make([]byte, 32<<10)
	}
	if f.next == nil {
		f.next = make(map[uint64]endpoint)
	}
	clear(f.next)
	var request [unix.SizeofNlMsghdr + requestSize]byte
	binary.NativeEndian.PutUint32(request[0:], uint32(len(request)))
	binary.NativeEndian.PutUint16(request[4:], tcpDiagGetSock)
	binary.NativeEndian.PutUint16(request[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	binary.NativeEndian.PutUint32(request[unix.SizeofNlMsghdr+offStates:], 1<<stateListen)
	if _, err := quick(unix.SYS_WRITE, f.fd, request[:]); err != nil {
		return err
	}
	for done := false; !done; {
		n, err := quick(unix.SYS_READ, f.fd, f.buf)
		if err != nil {
			return err
		}
		if done, err = f.take(f.buf[:n]); err != nil {
			return err
		}
	}
	return nil
}

// quick is a read or write that never waits, as it is with netlink: the kernel
// has the answer ready when the request is written. Go's scheduler is not told
// of it, which would wake its monitor, and that costs more than the call.
func quick(call uintptr, fd int, b []byte) (int, error) {
	n, _, err := unix.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	if err != 0 {
		return 0, err
	}
	return int(n), nil
}

// take reads a part of an answer, and tells whether it was the last.
func (f *finder) take(part []byte) (done bool, err error) {
	for len(part) > 0 {
		if len(part) < unix.SizeofNlMsghdr {
			return false, unix.EPROTO
		}
		size := int(binary.NativeEndian.Uint32(part))
		if size < unix.SizeofNlMsghdr || size > len(part) {
			return false, unix.EPROTO
		}
		data := part[unix.SizeofNlMsghdr:size]
		switch binary.NativeEndian.Uint16(part[4:]) {
		case unix.NLMSG_DONE:
			return true, nil
		case unix.NLMSG_ERROR:
			return false, netlinkError(data)
		}
		if inode, at, ok := parseMessage(data); ok {
			f.next[inode] = at
		}
		aligned := (size + unix.NLMSG_ALIGNTO - 1) &^ (unix.NLMSG_ALIGNTO - 1)
		part = part[min(aligned, len(part)):]
	}
	return false, nil
}

func netlinkError(data []byte) error {
	if len(data) < 4 {
		return unix.EPROTO
	}
	return unix.Errno(-int32(binary.NativeEndian.Uint32(data)))
}

func parseMessage(data []byte) (inode uint64, at endpoint, ok bool) {
	if len(data) < messageSize {
		return 0, endpoint{}, false
	}
	at.port = binary.BigEndian.Uint16(data[offSourcePort:])
	if data[offFamily] == unix.AF_INET {
		at.address = netip.AddrFrom4([4]byte(data[offSource:]))
	} else {
		at.address = netip.AddrFrom16([16]byte(data[offSource:])).Unmap()
	}
	return uint64(binary.NativeEndian.Uint32(data[offInode:])), at, true
}
