package doctor

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// fewWatches is the number of inotify watches below which a large project's
// dev server fails to watch its files.
const fewWatches = 65536

func platform() []Check {
	c := Check{Name: "file watching"}
	const path = "/proc/sys/fs/inotify/max_user_watches"
	b, err := os.ReadFile(path)
	n, convErr := strconv.Atoi(strings.TrimSpace(string(b)))
	switch {
	case err != nil || convErr != nil:
		c.Verdict, c.Message = Warn, "the limit of file watches is not known"
	case n < fewWatches:
		c.Verdict, c.Message = Warn, fmt.Sprintf("only %d files can be watched; dev servers of large projects need more", n)
		c.Remedies = []driver.Remedy{{Text: "raise the limit", Command: []string{"sudo", "sysctl", "fs.inotify.max_user_watches=524288"}}}
	default:
		c.Message = fmt.Sprintf("%d files can be watched", n)
	}
	return []Check{c}
}

func freeBytes(path string) (uint64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(path, &st); err != nil {
		return 0, err
	}
	return st.Bavail * uint64(st.Bsize), nil
}
