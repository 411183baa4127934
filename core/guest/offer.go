package guest

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// offer is a socket for one connection, in the directory that a sandbox has at
// MountTarget. Other sandboxes may have the same directory: who connects must
// know the token, which goes through the driver.
type offer struct {
	listener *net.UnixListener
	dir      *os.File // by which the socket has a short path, however long the directory's is
	socket   string   // its path in the sandbox
	token    string
	met      chan *net.UnixConn // gets whoever knew the token

	mu      sync.Mutex
	waiting map[*net.UnixConn]bool // have not shown the token yet
	closed  bool
	tasks   sync.WaitGroup
}

const (
	offerSuffix = ".sock"
	offerPeers  = 64 // may be looked at, at the same time
	// offerLimit is how long the helper has to show the token once it connected,
	// and the core to answer it.
	offerLimit = 2 * time.Second
)

// newOffer makes one in dir, a directory of this machine, which is Linux.
func newOffer(dir string) (*offer, error) {
	opened, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	name := strings.ToLower(rand.Text()[:12]) + offerSuffix
	address := &net.UnixAddr{Name: fmt.Sprintf("/proc/self/fd/%d/%s", opened.Fd(), name), Net: "unix"}
	listener, err := net.ListenUnix("unix", address)
	if err != nil {
		return nil, errors.Join(err, opened.Close())
	}
	o := &offer{
		listener: listener, dir: opened, socket: path.Join(MountTarget, name), token: rand.Text(),
		met: make(chan *net.UnixConn, 1), waiting: map[*net.UnixConn]bool{},
	}
	if err := os.Chmod(filepath.Join(dir, name), 0o666); err != nil { // whoever the helper is
		return nil, errors.Join(err, listener.Close(), opened.Close())
	}
	o.tasks.Go(o.accept) // ends with close
	return o, nil
}

// sweep removes what a core that was killed has left in dir.
func sweep(dir string) {
	left, _ := filepath.Glob(filepath.Join(dir, "*"+offerSuffix)) // the pattern is right
	for _, name := range left {
		_ = os.Remove(name)
	}
}

// close takes the offer back, and ends every connection but the one that was met.
func (o *offer) close() {
	o.mu.Lock()
	o.closed = true
	_ = o.listener.Close() // and removes the socket
	for c := range o.waiting {
		_ = c.Close()
	}
	o.mu.Unlock()
	o.tasks.Wait()
	_ = o.dir.Close()
	select {
	case c := <-o.met: // nobody wanted it any more
		_ = c.Close()
	default:
	}
}

func (o *offer) accept() {
	for {
		c, err := o.listener.AcceptUnix()
		if err != nil {
			return
		}
		o.mu.Lock()
		welcome := !o.closed && len(o.waiting) < offerPeers
		if welcome {
			o.waiting[c] = true
			o.tasks.Go(func() { o.look(c) }) // ends with close, or soon
		}
		o.mu.Unlock()
		if !welcome {
			_ = c.Close()
		}
	}
}

// look gives a connection that begins with the token to met, and answers it with
// one byte.
func (o *offer) look(c *net.UnixConn) {
	_ = c.SetDeadline(time.Now().Add(offerLimit))
	token := make([]byte, len(o.token))
	_, err := io.ReadFull(c, token)
	known := err == nil && subtle.ConstantTimeCompare(token, []byte(o.token)) == 1
	if known {
		_, err = c.Write([]byte{1})
		known = err == nil && c.SetDeadline(time.Time{}) == nil
	}
	o.mu.Lock()
	delete(o.waiting, c)
	o.mu.Unlock()
	if known {
		select {
		case o.met <- c:
			return
		default: // the token was shown twice
		}
	}
	_ = c.Close()
}
