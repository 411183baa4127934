// Package loopback listens where only this machine can connect.
package loopback

import (
	"context"
	"errors"
	"net"
	"strconv"
	"syscall"
)

// Listen listens on a port of 127.0.0.1 and of ::1, on the first alone where the
// machine has no IPv6. Port 0 is chosen by the system. A port counts as taken
// when it is on either: the error then is EADDRINUSE.
func Listen(port uint16) (listeners []net.Listener, err error) {
	for range 16 { // the system's choice for one address may be taken on the other
		listeners, err = listen(port)
		if port != 0 || !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	return listeners, err
}

func listen(port uint16) ([]net.Listener, error) {
	var config net.ListenConfig
	v4, err := config.Listen(context.Background(), "tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))))
	if err != nil {
		return nil, err
	}
	if address, ok := v4.Addr().(*net.TCPAddr); ok {
		port = uint16(address.Port)
	}
	v6, err := config.Listen(context.Background(), "tcp6", net.JoinHostPort("::1", strconv.Itoa(int(port))))
	switch {
	case err == nil:
		return []net.Listener{v4, v6}, nil
	case errors.Is(err, syscall.EADDRINUSE):
		_ = v4.Close()
		return nil, err
	default: // no IPv6
		return []net.Listener{v4}, nil
	}
}
