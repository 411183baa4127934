package applecontainer

import (
	"io"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/plugins/apple-container/internal/standintest"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// hesitant is a viewer that takes its time.
type hesitant struct{ bytes int }

// Write takes all of p, slowly.
func (h *hesitant) Write(p []byte) (int, error) {
	h.bytes += len(p)
	time.Sleep(time.Millisecond)
	return len(p), nil
}

// TestB39TerminalBytes: the CLI processes a raw terminal's output (#2299), and
// cuts what is not taken at once (#1148); neither reaches the viewer.
func TestB39TerminalBytes(t *testing.T) {
	for _, version := range standintest.Versions {
		t.Run(version, func(t *testing.T) {
			b := newBox(t, version)
			b.running("sero-terminal")
			spec := script("sero-terminal", `stty raw; printf 'a\nb\tc'; stty sane; printf 'd\ne'`)
			spec.Terminal = &driver.TerminalSize{Rows: 24, Cols: 80}
			if got := b.run(spec, nil); got.out != "a\nb\tcd\r\ne" || got.err != nil {
				t.Errorf("%+v", got)
			}
			const size = 1 << 20
			spec = script("sero-terminal", "head -c 1048576 /dev/zero")
			spec.Terminal = &driver.TerminalSize{Rows: 24, Cols: 80}
			viewer := &hesitant{}
			status, err := b.Exec(t.Context(), spec, driver.ExecIO{Stdout: viewer, Stderr: io.Discard})
			if viewer.bytes != size || status.Code != 0 || err != nil {
				t.Errorf("%d of %d bytes, %+v, %v", viewer.bytes, size, status, err)
			}
		})
	}
}
