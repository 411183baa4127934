package plug

import (
	"context"
	"fmt"
	"net"
	"os"
	"syscall"

	"google.golang.org/grpc/credentials"

	"github.com/sero-labs/sero-runtime/internal/peer"
)

// PeerCredentials are gRPC transport credentials that encrypt nothing and admit
// only the processes that allow accepts: the socket is private already, and
// this keeps out other programs of the same user. TLS would cost 33 ms a start.
func PeerCredentials(allow func(peer.Process) error) credentials.TransportCredentials {
	return peerCredentials{allow}
}

type peerCredentials struct{ allow func(peer.Process) error }

type peerInfo struct{ credentials.CommonAuthInfo }

func (peerInfo) AuthType() string { return "unix-peer" }

func (c peerCredentials) ClientHandshake(_ context.Context, _ string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return c.check(conn)
}

func (c peerCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return c.check(conn)
}

func (c peerCredentials) check(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	p, err := peer.Of(conn)
	if err == nil {
		err = c.allow(p)
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

// OnlyHost admits the launching process of the same user.
func OnlyHost(hostPID int) func(peer.Process) error {
	return func(p peer.Process) error {
		if p.UID != os.Getuid() || p.PID != hostPID {
			return fmt.Errorf("process %d of user %d is not the host (process %d)", p.PID, p.UID, hostPID)
		}
		return nil
	}
}

// OnlyGroup admits a process of the given process group and the same user: the
// driver itself, or the binary behind a wrapper script.
func OnlyGroup(pgid int) func(peer.Process) error {
	return func(p peer.Process) error {
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
