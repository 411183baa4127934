package view

import (
	"fmt"
	"sync"
	"time"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
)

// spinnerDelay keeps work that is quick from flickering.
const spinnerDelay = 200 * time.Millisecond

// spinnerPeriod is the time between two frames.
const spinnerPeriod = 100 * time.Millisecond

const eraseLine = "\r\x1b[K"

// Progress shows a long operation on standard error: on a terminal one line
// that moves, elsewhere a line with the time for each step. With JSON it is
// silent. The zero value is silent too.
type Progress struct {
	view    *View
	moving  bool
	now     func() time.Time
	started time.Time
	stop    chan struct{}
	stopped sync.WaitGroup

	mu   sync.Mutex // guards what follows
	text string
	last string
}

// NewProgress starts showing progress; Done ends it.
func (v *View) NewProgress() *Progress {
	p := &Progress{view: v, now: time.Now, started: time.Now()}
	if v.JSON {
		return &Progress{}
	}
	if v.Terminal && !v.Plain {
		p.moving = true
		p.stop = make(chan struct{})
		p.stopped.Go(p.spin)
	}
	return p
}

// Quiet is progress that is shown on a terminal only, for commands whose
// standard error is somebody else's.
func (v *View) Quiet() *Progress {
	if !v.Terminal {
		return &Progress{}
	}
	return v.NewProgress()
}

// Step shows where the operation is.
func (p *Progress) Step(s *apipb.Progress) {
	if p.view == nil || s == nil {
		return
	}
	text := clean(s.GetMessage())
	if text == "" {
		text = clean(s.GetPhase())
	}
	p.mu.Lock()
	p.text = text + amount(s)
	isNew := text != p.last
	if !p.moving {
		p.last = text
	}
	p.mu.Unlock()
	if !p.moving && isNew {
		_, _ = fmt.Fprintf(p.view.Err, "%s %s\n", p.now().Format(time.TimeOnly), text)
	}
}

// Done removes the moving line. It may be called more than once.
func (p *Progress) Done() {
	if !p.moving {
		return
	}
	p.moving = false
	close(p.stop)
	p.stopped.Wait()
}

func (p *Progress) spin() {
	timer := time.NewTimer(spinnerDelay)
	defer timer.Stop()
	shown := false
	for frame := 0; ; frame++ {
		select {
		case <-timer.C:
			shown = p.draw(frame) || shown
			timer.Reset(spinnerPeriod)
		case <-p.stop:
			if shown {
				steer(p.view.Err, eraseLine)
			}
			return
		}
	}
}

func (p *Progress) draw(frame int) bool {
	p.mu.Lock()
	text := p.text
	p.mu.Unlock()
	if text == "" {
		return false
	}
	seconds := int(p.now().Sub(p.started).Seconds())
	steer(p.view.Err, fmt.Sprintf("%s%c %s %ds", eraseLine, `|/-\`[frame%4], text, seconds))
	return true
}

// amount is how much of the step is done, if that is known.
func amount(s *apipb.Progress) string {
	if s.GetTotal() <= 0 {
		return ""
	}
	if s.GetUnit() == "bytes" {
		return fmt.Sprintf(" %.1f/%.1f MB", float64(s.GetCurrent())/1e6, float64(s.GetTotal())/1e6)
	}
	return fmt.Sprintf(" %d/%d", s.GetCurrent(), s.GetTotal())
}
