package image

import (
	"context"
	"sync"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// job is one build or pull, shared by all who wait for it. When the last of them
// has given up, it ends.
type job struct {
	done chan struct{} // closed when image and err are set
	end  context.CancelCauseFunc

	image driver.Image
	err   error

	mu        sync.Mutex // guards what follows
	waiting   map[chan driver.Progress]struct{}
	abandoned bool
	latest    *driver.Progress // for those who come later; nil: nothing yet
}

var errAbandoned = driver.Errorf(driver.Canceled, "nobody waits for the image any more")

// share runs work, or joins the one of the same key that runs already.
func (s *Images) share(ctx context.Context, key string, report func(driver.Progress),
	work func(ctx context.Context, report func(driver.Progress)) (driver.Image, error),
) (driver.Image, error) {
	if report == nil {
		report = ignore
	}
	for {
		if ctx.Err() != nil {
			return driver.Image{}, driver.AsError(context.Cause(ctx))
		}
		s.mu.Lock()
		j := s.jobs[key]
		if j == nil {
			if s.life.Err() != nil {
				s.mu.Unlock()
				return driver.Image{}, errClosed
			}
			j = s.launch(key, work)
		}
		s.mu.Unlock()
		if steps, ok := j.join(); ok {
			return j.wait(ctx, steps, report)
		}
		select { // it is ending because nobody was left
		case <-j.done:
		case <-ctx.Done():
		}
	}
}

// launch starts a job. mu must be held.
func (s *Images) launch(key string, work func(ctx context.Context, report func(driver.Progress)) (driver.Image, error)) *job {
	ctx, end := context.WithCancelCause(s.life)
	j := &job{done: make(chan struct{}), end: end, waiting: map[chan driver.Progress]struct{}{}}
	s.jobs[key] = j
	s.work.Go(func() {
		defer end(nil)
		late := driver.Errorf(driver.Timeout, "the image was not ready after %s", workTimeout)
		late.Retryable = true
		timed, stop := context.WithTimeoutCause(ctx, workTimeout, late)
		defer stop()
		image, err := work(timed, j.report)
		if cause := context.Cause(timed); err != nil && cause != nil {
			err = driver.AsError(cause)
		}
		s.mu.Lock()
		delete(s.jobs, key)
		s.mu.Unlock()
		j.image, j.err = image, err
		close(j.done)
	})
	return j
}

func (j *job) join() (chan driver.Progress, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.abandoned {
		return nil, false
	}
	steps := make(chan driver.Progress, 64)
	if j.latest != nil {
		steps <- *j.latest
	}
	j.waiting[steps] = struct{}{}
	return steps, true
}

func (j *job) leave(steps chan driver.Progress) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.waiting, steps)
	if len(j.waiting) == 0 {
		j.abandoned = true
		j.end(errAbandoned)
	}
}

// report tells everybody; one who is slow misses steps.
func (j *job) report(p driver.Progress) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.latest = &p
	for steps := range j.waiting {
		select {
		case steps <- p:
		default:
		}
	}
}

// wait passes progress on until the job is done or ctx ends.
func (j *job) wait(ctx context.Context, steps chan driver.Progress, report func(driver.Progress)) (driver.Image, error) {
	defer j.leave(steps)
	for {
		select {
		case p := <-steps:
			report(p)
		case <-j.done:
			for {
				select {
				case p := <-steps:
					report(p)
				default:
					return j.image, j.err
				}
			}
		case <-ctx.Done():
			return driver.Image{}, driver.AsError(context.Cause(ctx))
		}
	}
}
