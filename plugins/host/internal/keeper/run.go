package keeper

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/sero-labs/sero-runtime/plugins/host/internal/proc"
)

const (
	prefixEnv = "SERO_HOST_KEEPER"
	pipeFD    = 3
)

// grace is the time that commands have to end before they are killed: all is
// gone a second after the driver.
const grace = 400 * time.Millisecond

// A process that was started as a keeper is one before its main function: the
// same binary may be a driver, the whole of sero, or a test.
func init() {
	prefix, ok := os.LookupEnv(prefixEnv)
	if !ok || !validPrefix(prefix) {
		return
	}
	var stat syscall.Stat_t
	if err := syscall.Fstat(pipeFD, &stat); err != nil || stat.Mode&syscall.S_IFMT != syscall.S_IFIFO {
		return
	}
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM)
	run(prefix, os.NewFile(pipeFD, "driver"))
	os.Exit(0) //nolint:forbidigo // this is a keeper's main function
}

// run reads until the driver is gone and then ends what it left.
func run(prefix string, driver io.Reader) {
	leaders := read(driver)
	var trees []*proc.Tree
	for leader := range leaders {
		trees = append(trees, proc.NewTree("", leader))
	}
	find := func() ([]proc.Process, error) {
		table, err := proc.Snapshot()
		if err != nil {
			return nil, err
		}
		found := proc.Marked(table, prefix)
		for _, members := range proc.Assign(table, trees) {
			found = append(found, members...)
		}
		return found, nil
	}
	// There is nobody to tell of an error.
	_ = proc.End(context.Background(), find, proc.Politeness{Grace: grace})
}

func read(driver io.Reader) map[proc.ID]bool {
	leaders := make(map[proc.ID]bool)
	lines := bufio.NewScanner(driver)
	for lines.Scan() {
		var verb rune
		var leader proc.ID
		if _, err := fmt.Sscanf(lines.Text(), "%c %d %d", &verb, &leader.PID, &leader.Start); err != nil {
			continue // cut off by the driver's death
		}
		if verb == add {
			leaders[leader] = true
		} else {
			delete(leaders, leader)
		}
	}
	return leaders
}
