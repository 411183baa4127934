package guest

import (
	"context"
	"errors"
	"time"

	"github.com/sero-labs/sero-runtime/core/guest/frame"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// claimLimit is how long the helper may take to say what became of a command.
const claimLimit = 5 * time.Second

// lost is why a command was not seen to begin on a connection.
type lost struct {
	link   *link
	stream uint64 // 0: it was not sent
	err    error
}

// Error is that of why.
func (l *lost) Error() string { return l.err.Error() }

// Unwrap is why.
func (l *lost) Unwrap() error { return l.err }

// exec runs a command in the helper that may be given it, and elsewhere where there
// is none. Where the connection breaks before the command was seen to begin, and the
// helper says that it has not and never will, it is given to the helper once more.
func (g *Guest) exec(ctx context.Context, spec driver.ExecSpec, keep *Keep, stdio driver.ExecIO) (driver.ExitStatus, error) {
	for try := 1; ; try++ {
		l, err := g.living(ctx)
		if err != nil {
			return driver.ExitStatus{}, err
		}
		if l == nil || spec.User != "" && l.about.UID != 0 { // only root can become another user
			return g.plain.exec(ctx, spec, stdio)
		}
		given := spec
		var kept Keep
		if keep != nil {
			given.Detach, kept = true, *keep
		}
		status, err := l.exec(ctx, given, kept, stdio)
		gone, ok := errors.AsType[*lost](err)
		if !ok {
			return status, err
		}
		if ctx.Err() != nil || l.alive() || try == helperTries || !g.neverBegins(ctx, gone) {
			return status, gone.err
		}
	}
}

// neverBegins reports whether a command that was lost with its connection has not
// begun and never will, as far as the helper knows.
func (g *Guest) neverBegins(ctx context.Context, gone *lost) bool {
	if gone.stream == 0 {
		return true
	}
	if gone.link.about.Connection == "" {
		return false // an older helper
	}
	l, err := g.living(ctx)
	if err != nil || l == nil {
		return false
	}
	ctx, cancel := context.WithTimeoutCause(ctx, claimLimit, driver.Errorf(driver.Timeout, "the guest helper did not answer in %s", claimLimit))
	defer cancel()
	claim := &frame.Claim{Connection: gone.link.about.Connection, Stream: gone.stream}
	return l.ask(ctx, &frame.Open{Claim: claim}, func(*frame.Frame) (bool, error) { return true, nil }) == nil
}
