// Package sockets finds the TCP sockets that processes listen on.
package sockets

import (
	"cmp"
	"net/netip"
	"slices"
)

// Socket is one listening TCP socket.
type Socket struct {
	Address netip.Addr // without a zone
	Port    uint16
	PID     int // of the process that holds it
}

// Finder finds sockets. It is not safe for concurrent use.
type Finder struct {
	finder
}

// MinInterval is how often it makes sense to look, by what a look costs.
const MinInterval = minInterval

// Close frees what the Finder holds.
func (f *Finder) Close() { f.close() }

// Changed tells whether another set of sockets may be found than by the last
// Find, as far as this can be told cheaply. The sockets of all processes count.
func (f *Finder) Changed() bool { return f.changed() }

// Find lists the listening sockets of some processes, ordered by port, address
// and process. Where several processes hold one socket, the first of pids has it.
func (f *Finder) Find(pids []int) ([]Socket, error) {
	if len(pids) == 0 {
		return nil, nil
	}
	found, err := f.find(pids)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(found, func(a, b Socket) int {
		return cmp.Or(cmp.Compare(a.Port, b.Port), a.Address.Compare(b.Address), cmp.Compare(a.PID, b.PID))
	})
	return slices.CompactFunc(found, func(a, b Socket) bool { return a == b }), nil
}
