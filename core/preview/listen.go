package preview

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/sero-labs/sero-runtime/internal/durable"
	"github.com/sero-labs/sero-runtime/internal/loopback"
	"github.com/sero-labs/sero-runtime/internal/ownpath"
	"github.com/sero-labs/sero-runtime/internal/portowner"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// DefaultPort is "sero" on a telephone's keys.
const DefaultPort = 7376

// tries is how many ports after the wanted one are tried.
const tries = 50

// portFile remembers the port, so that URLs stay what they were.
const portFile = "preview-port"

// listen takes the wanted port on the loopback addresses, or the next free one.
func (g *Gateway) listen() ([]net.Listener, error) {
	wanted := cmp.Or(g.options.Port, g.remembered(), DefaultPort)
	var first error
	for n := range tries {
		port := uint64(wanted) + uint64(n)
		if port > 0xffff {
			break
		}
		listeners, err := loopback.Listen(uint16(port))
		if err == nil {
			g.port = uint16(port)
			if n > 0 {
				g.conflict = fmt.Sprintf("port %d is held by %s; previews are on port %d",
					wanted, portowner.Name(context.Background(), wanted), g.port)
				g.log.Warn("the port of previews is taken", "conflict", g.conflict)
			}
			g.remember()
			return listeners, nil
		}
		first = cmp.Or(first, err)
		if !errors.Is(err, syscall.EADDRINUSE) && !errors.Is(err, syscall.EACCES) {
			break
		}
	}
	return nil, driver.Errorf(driver.PortInUse, "no port for previews could be had: %w", first).About(strconv.Itoa(int(wanted))).
		Remedy("name another one as preview.port in config.json")
}

func (g *Gateway) remembered() uint16 {
	if g.options.StateDir == "" {
		return 0
	}
	text, err := ownpath.Read(filepath.Join(g.options.StateDir, portFile))
	if err != nil {
		return 0
	}
	port, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 16)
	if err != nil || port < 1024 {
		return 0
	}
	return uint16(port)
}

// remember is best effort: a port that cannot be remembered is as good today.
func (g *Gateway) remember() {
	if g.options.StateDir == "" || g.remembered() == g.port {
		return
	}
	err := os.MkdirAll(g.options.StateDir, 0o700)
	if err == nil {
		err = durable.WriteFile(g.options.StateDir, portFile, fmt.Appendf(nil, "%d\n", g.port))
	}
	if err != nil {
		g.log.Warn("the port of previews cannot be remembered", "error", err)
	}
}

// loopbackFirst orders the addresses of a server as they are tried: those of
// IPv4 first, as most programs do.
func loopbackFirst(addresses []string) []string {
	return slices.SortedStableFunc(slices.Values(addresses), func(a, b string) int {
		return cmp.Compare(strings.Count(a, ":"), strings.Count(b, ":"))
	})
}
