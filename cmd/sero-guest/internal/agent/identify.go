//go:build linux

package agent

import (
	"fmt"
	"io"

	"github.com/sero-labs/sero-runtime/internal/identity"
)

// identify prints one line for each path; a zero identity for one that is not there.
func identify(out io.Writer, paths []string) {
	for _, path := range paths {
		id, _ := identity.Of(path)
		fmt.Fprintln(out, id)
	}
}
