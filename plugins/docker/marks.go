package docker

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// newMark makes what only this command's script and the driver know. It begins
// with bytes that text does not have.
func newMark() string { return "\x1e\x02" + rand.Text() }

// maxLine is more than a line of the script has.
const maxLine = 256

// wholeFrame is the size from which an engine's piece of output may end in the
// middle of what was written at once.
const wholeFrame = 4096

// holdTime is how long bytes that may be the beginning of a mark are held back.
const holdTime = 20 * time.Millisecond

// errEnded ends the reading of a command's output: what follows is not the
// command's.
var errEnded = errors.New("the command's output has ended")

// marked takes one output of a command, with the lines of the script in it, and
// passes on what is the command's.
type marked struct {
	mark     []byte
	terminal bool
	began    func(line string) error // takes the first line; nil: there is none
	lost     func(error)             // called when the caller's writer fails
	ended    func(end string)        // takes the last line

	muted atomic.Bool // nothing more is to be delivered
	over  atomic.Bool // the last line has come

	writing sync.Mutex // orders what goes to out
	out     io.Writer  // nil: nowhere
	held    []byte
	line    []byte // of the script, as far as it is there; nil: none has begun
	flush   *time.Timer
}

// Write takes a piece of output. It fails with errEnded once the last line has come.
func (m *marked) Write(p []byte) (int, error) {
	m.writing.Lock()
	defer m.writing.Unlock()
	if m.flush != nil {
		m.flush.Stop()
	}
	if err := m.take(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (m *marked) take(p []byte) error {
	if m.over.Load() {
		return errEnded
	}
	if m.began != nil {
		m.line = append(m.line, p...)
		end := bytes.IndexByte(m.line, '\n')
		if end < 0 && len(m.line) < maxLine {
			return nil
		}
		first, rest := m.line[:max(end, 0)], m.line[end+1:]
		if end < 0 {
			first, rest = m.line, nil
		}
		began := m.began
		m.began, m.line = nil, nil
		if err := began(string(first)); err != nil {
			return err
		}
		p = rest
	}
	if m.line == nil {
		data := append(m.held, p...)
		m.held = nil
		at := bytes.Index(data, m.mark)
		if at < 0 {
			m.pass(data, len(p) >= wholeFrame || m.terminal)
			return nil
		}
		m.deliver(data[:at])
		m.line, p = []byte{}, data[at:]
	}
	m.line = append(m.line, p...)
	end := bytes.IndexByte(m.line, '\n')
	if end < 0 && len(m.line) < maxLine {
		return nil
	}
	m.over.Store(true)
	m.ended(strings.TrimRight(string(m.line[len(m.mark)+1:max(end, len(m.mark)+1)]), "\r"))
	return errEnded
}

// pass delivers data, but for an end that may be a mark's beginning.
func (m *marked) pass(data []byte, hold bool) {
	keep := 0
	if hold {
		for n := min(len(data), len(m.mark)-1); n > 0; n-- {
			if bytes.HasSuffix(data, m.mark[:n]) {
				keep = n
				break
			}
		}
	}
	m.deliver(data[:len(data)-keep])
	if keep > 0 {
		m.held = bytes.Clone(data[len(data)-keep:])
		m.flush = time.AfterFunc(holdTime, m.release)
	}
}

func (m *marked) release() {
	m.writing.Lock()
	defer m.writing.Unlock()
	held := m.held
	m.held = nil
	m.deliver(held)
}

func (m *marked) deliver(p []byte) {
	for len(p) > 0 && m.out != nil && !m.muted.Load() {
		n := min(len(p), driver.MaxFrame)
		if _, err := m.out.Write(p[:n]); err != nil {
			m.out = nil
			m.lost(err)
		}
		p = p[n:]
	}
}

// mute drops what still comes. A write that blocks does not hold it up.
func (m *marked) mute() { m.muted.Store(true) }

// close delivers what was held back: no more comes.
func (m *marked) close() {
	m.writing.Lock()
	defer m.writing.Unlock()
	if m.flush != nil {
		m.flush.Stop()
	}
	if m.began == nil && m.line == nil {
		m.deliver(m.held)
	}
	m.held = nil
}

// statusOf reads the script's last line.
func statusOf(end string) (driver.ExitStatus, bool) {
	end, outOfMemory := strings.CutSuffix(end, "m")
	if len(end) < 2 {
		return driver.ExitStatus{}, false
	}
	n, err := strconv.Atoi(end[1:])
	if err != nil || n < 0 || n > 255 {
		return driver.ExitStatus{}, false
	}
	status := driver.ExitStatus{Code: n}
	if end[0] == 's' {
		status = diedFrom(n)
	}
	status.OutOfMemory = outOfMemory
	return status, end[0] == 's' || end[0] == 'e'
}

// realtimeSignals is the number of SIGRTMIN.
const realtimeSignals = 34

func diedFrom(number int) driver.ExitStatus {
	if name, ok := driver.SignalName(number); ok {
		return driver.ExitStatus{Signal: name}
	}
	return driver.ExitStatus{Signal: "SIGRTMIN+" + strconv.Itoa(number-realtimeSignals)}
}
