package plug

import (
	"context"
	"fmt"
	"net"
	"os"
	"syscall"

	"google.golang.org/grpc/credentials"
)

// Peer is who is at the other end of a unix socket.
type Peer struct {
	PID int
	UID int
}

// PeerCredentials are gRPC transport credentials that encrypt nothing and admit
// only the processes that allow accepts: the socket is private already, and
// this keeps out other programs of the same user. TLS would cost 33 ms a start.
func PeerCredentials(allow func(Peer) error) credentials.TransportCredentials {
	return peerCredentials{allow}
}

type peerCredentials struct{ allow func(Peer) error }

type peerInfo struct{ credentials.CommonAuthInfo }

func (peerInfo) AuthType() string { return "unix-peer" }

func (c peerCredentials) ClientHandshake(_ context.Context, _ string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return c.check(conn)
}

func (c peerCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return c.check(conn)
}

func (c peerCredentials) check(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	peer, err := peerOf(conn)
	if err == nil {
		err = c.allow(peer)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("peer refused: %w", err)
	}
	return conn, peerInfo{credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}}, nil
}

func (peerCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "unix-peer"}
}

func (c peerCredentials) Clone() credentials.TransportCredentials { return c }

func (peerCredentials) OverrideServerName(string) error { return nil }

// peerOf asks the kernel who connected, or who listens.
func peerOf(conn net.Conn) (Peer, error) {
	unix, ok := conn.(*net.UnixConn)
	if !ok {
		return Peer{}, fmt.Errorf("not a unix socket: %T", conn)
	}
	raw, err := unix.SyscallConn()
	if err != nil {
		return Peer{}, err
	}
	var peer Peer
	var peerErr error
	if err := raw.Control(func(fd uintptr) { peer, peerErr = peerOfFD(int(fd)) }); err != nil {
		return Peer{}, err
	}
	return peer, peerErr
}

// OnlyHost admits the launching process of the same user.
func OnlyHost(hostPID int) func(Peer) error {
	return func(p Peer) error {
		if p.UID != os.Getuid() || p.PID != hostPID {
			return fmt.Errorf("process %d of user %d is not the host (process %d)", p.PID, p.UID, hostPID)
		}
		return nil
	}
}

// OnlyGroup admits a process of the given process group and the same user: the
// driver itself, or the binary behind a wrapper script.
func OnlyGroup(pgid int) func(Peer) error {
	return func(p Peer) error {
		group, err := syscall.Getpgid(p.PID)
		if err != nil {
			return err
		}
		if p.UID != os.Getuid() || group != pgid {
			return fmt.Errorf("process %d of user %d is not the driver", p.PID, p.UID)
		}
		return nil
	}
}
