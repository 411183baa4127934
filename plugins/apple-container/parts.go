package applecontainer

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// statsLimit leaves stats the two seconds between its two samples.
const statsLimit = 20 * time.Second

// Stats measures a sandbox. One measurement takes the CLI two seconds.
func (d *Driver) Stats(ctx context.Context, id string, interval time.Duration, report func(driver.Stats) error) error {
	if err := checkID(id); err != nil {
		return err
	}
	for {
		s, err := d.measure(ctx, id)
		if err != nil {
			return err
		}
		if err := report(s); err != nil || interval <= 0 {
			return err
		}
		if err := d.wait(ctx, nil, interval); err != nil {
			return err
		}
	}
}

// measurement is what stats prints of a sandbox.
type measurement struct {
	ID          string `json:"id"`
	CPU         *int64 `json:"cpuUsageUsec"`
	Memory      *int64 `json:"memoryUsageBytes"`
	MemoryLimit *int64 `json:"memoryLimitBytes"`
	Processes   *int64 `json:"numProcesses"`
	Received    *int64 `json:"networkRxBytes"`
	Sent        *int64 `json:"networkTxBytes"`
}

func (d *Driver) measure(ctx context.Context, id string) (driver.Stats, error) {
	var all []measurement
	err := d.read(ctx, command{limit: statsLimit, args: []string{"stats", "--format", "json", "--no-stream", id}, free: true}, id, func(text string) error {
		return json.Unmarshal([]byte(text), &all)
	})
	if err != nil {
		return driver.Stats{}, err
	}
	for _, m := range all {
		if m.ID != id { // up to 0.9 an id is the beginning of one
			continue
		}
		s := driver.Stats{
			MemoryBytes: m.Memory, MemoryLimitBytes: m.MemoryLimit, Processes: m.Processes,
			NetworkReceivedBytes: m.Received, NetworkSentBytes: m.Sent,
		}
		if m.CPU != nil {
			seconds := float64(*m.CPU) / 1e6
			s.CPUSeconds = &seconds
		}
		return s, nil
	}
	return driver.Stats{}, failureOf(classNotRunning, id) // what is stopped is left out
}

// missing is the exit code of the copy scripts for a path that is not there.
const missing = 66

// CopyIn unpacks a tar stream below a directory of the sandbox. The CLI's own
// copy exists from 1.0 only, and has defects (#1738, #1873, #2258).
func (d *Driver) CopyIn(ctx context.Context, id, directory string, tar io.Reader) error {
	return d.copy(ctx, id, directory, `cd -- "$1" 2>/dev/null || exit 66; exec tar -xf -`, driver.ExecIO{Stdin: tar})
}

// CopyOut packs a path of the sandbox.
func (d *Driver) CopyOut(ctx context.Context, id, path string, tar io.Writer) error {
	return d.copy(ctx, id, path,
		`[ -e "$1" ] || [ -L "$1" ] || exit 66; cd -- "$(dirname -- "$1")" && exec tar -cf - -- "$(basename -- "$1")"`, driver.ExecIO{Stdout: tar})
}

func (d *Driver) copy(ctx context.Context, id, path, script string, stdio driver.ExecIO) error {
	var said bytes.Buffer
	stdio.Stderr = &said
	status, err := d.Exec(ctx, driver.ExecSpec{SandboxID: id, Argv: []string{"sh", "-c", script, "sero-copy", path}, User: "0"}, stdio)
	switch {
	case err != nil:
		return err
	case status.Code == missing:
		return driver.Errorf(driver.NotFound, "there is no %s in sandbox %s", path, id).About(path)
	case status.ShellCode() != 0:
		return driver.Errorf(driver.Internal, "tar ended with %d: %s", status.ShellCode(), oneLine(fmt.Sprint(said.String()), maxWords)).About(path)
	}
	return nil
}
