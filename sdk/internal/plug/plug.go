// Package plug holds what the two ends of a driver process agree on before the
// first call: go-plugin's handshake, the environment, the lifeline's descriptor
// and who may connect.
package plug

import (
	"context"
	"errors"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
)

// ProtocolVersion is the wire major, tied to the package sero.driver.v1.
const ProtocolVersion = 1

// Name is the one plugin of the set.
const Name = "driver"

// Version is the SDK's own version; the core may refuse versions with known
// faults.
const Version = "0.1.0"

// What the launcher puts into a driver's environment, besides go-plugin's own.
const (
	CookieKey   = "SERO_DRIVER"                            // go-plugin's magic cookie
	CookieValue = "b7a1c0de-5e50-4d72-9f0a-driver-of-sero" // not a secret: it tells a launch from a run by hand
	HostPIDEnv  = "SERO_HOST_PID"                          // the only process that may connect
	LifelineEnv = "SERO_LIFELINE_FD"                       // the descriptor that reads end-of-file when the core is gone
	LifelineFD  = 3
)

// Handshake is go-plugin's.
var Handshake = plugin.HandshakeConfig{
	ProtocolVersion:  ProtocolVersion,
	MagicCookieKey:   CookieKey,
	MagicCookieValue: CookieValue,
}

// Plugin registers a service on the driver's side and gives the connection on
// the core's.
type Plugin struct {
	plugin.NetRPCUnsupportedPlugin
	Register func(grpc.ServiceRegistrar)
}

// GRPCServer registers the service.
func (p *Plugin) GRPCServer(_ *plugin.GRPCBroker, s *grpc.Server) error {
	if p.Register == nil {
		return errors.New("nothing to serve")
	}
	p.Register(s)
	return nil
}

// GRPCClient gives the connection.
func (p *Plugin) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return conn, nil
}
