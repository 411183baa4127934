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
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/sero-labs/sero-runtime/plugins/host/internal/proc"
)

const minInterval = 100 * time.Millisecond

// finder asks the kernel for listening sockets only, by netlink: reading
// /proc/net/tcp walks every connection of the machine.
type finder struct {
	fd   int
	open bool
	last map[uint64]endpoint
	buf  []byte // for answers; made once, as a look is made several times a second
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
	now, err := f.dump()
	return err != nil || f.last == nil || !maps.Equal(now, f.last)
}

func (f *finder) find(pids []int) ([]Socket, error) {
	listening, err := f.dump()
	if err != nil {
		return nil, err
	}
	f.last = listening
	var out []Socket
	taken := make(map[uint64]bool)
	for _, pid := range pids {
		for _, inode := range socketInodes(pid) {
			if at, ok := listening[inode]; ok && !taken[inode] {
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

// The layout of inet_diag_req_v2 and inet_diag_msg, from linux/inet_diag.h.
const (
	requestSize   = 56
	stateListen   = 10
	messageSize   = 72
	offFamily     = 0
	offSourcePort = 4
	offSource     = 8
	offInode      = 68
)

// dump lists all listening TCP sockets by inode.
func (f *finder) dump() (map[uint64]endpoint, error) {
	if err := f.connect(); err != nil {
		return nil, err
	}
	found := make(map[uint64]endpoint)
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		if err := f.dumpFamily(family, found); err != nil {
			f.close() // half an answer may still be in it
			return nil, fmt.Errorf("list listening sockets: %w", err)
		}
	}
	return found, nil
}

func (f *finder) connect() error {
	if f.open {
		return nil
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return fmt.Errorf("list listening sockets: %w", err)
	}
	timeout := unix.NsecToTimeval(int64(lookTimeout))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		_ = unix.Close(fd)
		return fmt.Errorf("list listening sockets: %w", err)
	}
	f.fd, f.open = fd, true
	return nil
}

func (f *finder) dumpFamily(family byte, found map[uint64]endpoint) error {
	request := make([]byte, unix.SizeofNlMsghdr+requestSize)
	*(*unix.NlMsghdr)(unsafe.Pointer(&request[0])) = unix.NlMsghdr{
		Len:   uint32(len(request)),
		Type:  unix.SOCK_DIAG_BY_FAMILY,
		Flags: unix.NLM_F_REQUEST | unix.NLM_F_DUMP,
	}
	body := request[unix.SizeofNlMsghdr:]
	body[0], body[1] = family, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(body[4:], 1<<stateListen)
	if err := unix.Sendto(f.fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	if f.buf == nil {
		f.buf = make([]byte, 32<<10)
	}
	for {
		n, _, err := unix.Recvfrom(f.fd, f.buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		messages, err := syscall.ParseNetlinkMessage(f.buf[:n])
		if err != nil {
			return err
		}
		for _, m := range messages {
			switch m.Header.Type {
			case unix.NLMSG_DONE:
				return nil
			case unix.NLMSG_ERROR:
				return netlinkError(m.Data)
			}
			if inode, at, ok := parseMessage(m.Data); ok {
				found[inode] = at
			}
		}
	}
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
