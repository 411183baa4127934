// Package forward leads ports of this machine's loopback into workspaces: what
// connects to 127.0.0.1:5173 here talks to a server in a container, whatever it
// listens on there. It carries bytes and looks at none. How many connections it
// carries is bounded; what comes above is closed at once.
//
// A Forward is one such port, for whoever knows how to reach the server. A Service
// opens the ports that a person asks for by number.
package forward

import (
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/sero-labs/sero-runtime/internal/loopback"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// Bounds of a Forward.
const (
	tries     = 100              // ports after the wanted one
	dialLimit = 10 * time.Second // of one connection to the server
	mostHere  = 256              // connections of one Forward
)

// shared counts the connections of all Forwards of this process: each has two
// descriptors, and the rest of the process needs some, too.
var shared = sync.OnceValue(func() chan struct{} { return make(chan struct{}, loopback.Share()) })

// Forward is one port of this machine that leads to a server. It ends with
// Close.
type Forward struct {
	port   uint16
	wanted uint16
	dial   func(ctx context.Context) (net.Conn, error)

	life context.Context // ends with Close
	end  context.CancelCauseFunc
	work sync.WaitGroup

	listeners   []net.Listener
	slots       chan struct{} // a token for each connection
	mu          sync.Mutex    // guards what follows
	connections map[net.Conn]bool
}

var errClosed = errors.New("the port leads nowhere any more")

// Open listens on the wanted port of the loopback addresses, or on the next free
// one, and leads each connection to one that dial makes. A port that only the
// system may open is wanted at 8000 above. PortInUse when no port can be had.
func Open(wanted uint16, dial func(ctx context.Context) (net.Conn, error)) (*Forward, error) {
	const privileged, above = 1024, 8000
	if wanted < privileged {
		wanted += above
	}
	var failure error
	for n := range tries {
		port := int(wanted) + n
		if port > 0xffff {
			break
		}
		listeners, err := loopback.Listen(uint16(port))
		if err == nil {
			return begin(listeners, wanted, dial), nil
		}
		failure = err
		if !errors.Is(err, syscall.EADDRINUSE) && !errors.Is(err, syscall.EACCES) {
			break
		}
	}
	return nil, driver.Errorf(driver.PortInUse, "no port of this machine could be had: %w", failure).About(strconv.Itoa(int(wanted))).
		Remedy("use the preview's address")
}

// begin makes a Forward of listeners on one port.
func begin(listeners []net.Listener, wanted uint16, dial func(ctx context.Context) (net.Conn, error)) *Forward {
	f := &Forward{wanted: wanted, dial: dial, listeners: listeners, connections: map[net.Conn]bool{}, slots: make(chan struct{}, mostHere)}
	if address, ok := listeners[0].Addr().(*net.TCPAddr); ok {
		f.port = uint16(address.Port)
	}
	f.life, f.end = context.WithCancelCause(context.Background())
	for _, l := range f.listeners {
		f.work.Go(func() { f.accept(l) })
	}
	return f
}

// Port is the port on this machine; 0 without a Forward.
func (f *Forward) Port() uint16 {
	if f == nil {
		return 0
	}
	return f.port
}

// Conflict is the port that was wanted and that somebody else holds; 0 when it
// was had, and without a Forward.
func (f *Forward) Conflict() uint16 {
	if f == nil || f.port == f.wanted {
		return 0
	}
	return f.wanted
}

// Close frees the port and ends what it carries. It may be called twice, and
// without a Forward.
func (f *Forward) Close() {
	if f == nil {
		return
	}
	f.mu.Lock()
	f.end(errClosed)
	for c := range f.connections {
		_ = c.Close()
	}
	f.mu.Unlock()
	for _, l := range f.listeners {
		_ = l.Close()
	}
	f.work.Wait()
}

func (f *Forward) accept(l net.Listener) {
	for {
		near, err := l.Accept()
		if err != nil {
			if f.life.Err() != nil {
				return
			}
			select { // out of descriptors, perhaps
			case <-f.life.Done():
				return
			case <-time.After(50 * time.Millisecond):
				continue
			}
		}
		done, ok := f.admit()
		if !ok { // the client sees its connection end, as with a server that is full
			_ = near.Close()
			continue
		}
		f.work.Go(func() {
			defer done()
			f.carry(near)
		})
	}
}

// admit counts one more connection, unless there are too many.
func (f *Forward) admit() (done func(), ok bool) {
	all := shared()
	select {
	case f.slots <- struct{}{}:
	default:
		return nil, false
	}
	select {
	case all <- struct{}{}:
		return func() { <-all; <-f.slots }, true
	default:
		<-f.slots
		return nil, false
	}
}

// hold makes a connection end with the Forward, unless that has ended already.
func (f *Forward) hold(c net.Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.life.Err() == nil {
		f.connections[c] = true
	}
	return f.life.Err() == nil
}

func (f *Forward) drop(c net.Conn) {
	_ = c.Close()
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.connections, c)
}

// carry leads one connection to the server until both sides have ended.
func (f *Forward) carry(near net.Conn) {
	defer f.drop(near)
	if !f.hold(near) {
		return
	}
	ctx, cancel := context.WithTimeoutCause(f.life, dialLimit, errors.New("the server does not answer"))
	far, err := f.dial(ctx)
	cancel()
	if err != nil {
		return // the client sees its connection end, as with a server that dies
	}
	defer f.drop(far)
	if !f.hold(far) {
		return
	}
	var there sync.WaitGroup
	there.Go(func() { send(far, near) })
	send(near, far)
	there.Wait()
}

// send copies to its end, and passes that on. A side that fails ends both.
func send(to, from net.Conn) {
	_, err := io.Copy(to, from)
	half, ok := to.(interface{ CloseWrite() error })
	if err != nil || !ok || half.CloseWrite() != nil {
		_ = to.Close()
		_ = from.Close()
	}
}
