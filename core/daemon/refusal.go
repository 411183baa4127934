package daemon

import (
	"context"
	"net"

	"github.com/sero-labs/sero-runtime/internal/paths"
	"github.com/sero-labs/sero-runtime/internal/peer"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// judge is why a connection of this user is refused, or nil.
type judge func(net.Conn) *driver.Error

// judge refuses processes of other namespaces, unless the machine's configuration
// allows them: a sandbox that is shown the socket by mistake could have the host
// run whatever it likes.
func (p *parts) judge() judge {
	if p.machine.API.OtherNamespaces {
		return func(net.Conn) *driver.Error { return nil }
	}
	return func(conn net.Conn) *driver.Error {
		err := peer.SameNamespaces(conn)
		if err == nil {
			return nil
		}
		caller, _ := peer.Of(conn)
		p.log.Warn("a connection is refused", "pid", caller.PID, "uid", caller.UID, "error", err)
		file := paths.Config(p.config.Home)
		return driver.Errorf(driver.PermissionDenied, "the daemon does not serve this process: %w", err).About(file).
			Remedy("call from where the daemon was started").
			Remedy(`to allow it, which lets every container that sees the socket run commands on this machine, set "api": {"otherNamespaces": true} in ` + file + " and restart the daemon")
	}
}

// refusedConn is a connection whose calls are answered with an error.
type refusedConn struct {
	net.Conn
	why *driver.Error
}

type refusalKey struct{}

// noteRefusal gives calls of a refused connection the reason.
func noteRefusal(ctx context.Context, conn net.Conn) context.Context {
	if refused, ok := conn.(*refusedConn); ok {
		return context.WithValue(ctx, refusalKey{}, refused.why)
	}
	return ctx
}

// refusalOf is why a call's connection is refused, or nil.
func refusalOf(ctx context.Context) error {
	if why, ok := ctx.Value(refusalKey{}).(*driver.Error); ok {
		return why
	}
	return nil
}

// quietListener drops refused connections, where nothing can be answered.
type quietListener struct{ net.Listener }

// Accept waits for the next connection that is not refused.
func (l quietListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if _, refused := conn.(*refusedConn); !refused {
			return conn, nil
		}
		_ = conn.Close()
	}
}
