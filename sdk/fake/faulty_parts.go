package fake

import (
	"context"
	"io"
	"slices"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// EnsureImage may give too little, or too much.
func (f *faulty) EnsureImage(ctx context.Context, ref string, policy driver.PullPolicy, report func(driver.Progress)) (driver.Image, error) {
	if f.has("no-progress") {
		report = func(driver.Progress) {}
	}
	image, err := f.Driver.EnsureImage(ctx, ref, policy, report)
	if f.has("no-digest") {
		image.Digest = ""
	}
	if f.has("pull-never-pulls") && policy == driver.PullNever && err != nil {
		return newImage(ref, Epoch, nil), nil
	}
	return image, err
}

// BuildImage may lose labels, progress, and what went wrong.
func (f *faulty) BuildImage(ctx context.Context, spec driver.BuildSpec, report func(driver.Progress)) (driver.Image, error) {
	if f.has("no-progress") {
		report = func(driver.Progress) {}
	}
	if f.has("build-labels") {
		spec.Labels = nil
	}
	image, err := f.Driver.BuildImage(ctx, spec, report)
	if e := driver.AsError(err); e != nil && f.has("build-vague") {
		e.Message = "the build failed"
	}
	return image, err
}

// RemoveImage may fail, or not fail.
func (f *faulty) RemoveImage(ctx context.Context, ref string, force bool) error {
	if f.has("image-absent") {
		f.Driver.mu.Lock()
		_, ok := f.images[ref]
		f.Driver.mu.Unlock()
		if !ok {
			return driver.Errorf(driver.ImageNotFound, "there is no image %s", ref).About(ref)
		}
	}
	return f.Driver.RemoveImage(ctx, ref, force || f.has("image-in-use"))
}

// ListImages may have no order.
func (f *faulty) ListImages(ctx context.Context, labels map[string]string) ([]driver.Image, error) {
	images, err := f.Driver.ListImages(ctx, labels)
	if f.has("images-unordered") {
		slices.Reverse(images)
	}
	return images, err
}

// CopyIn may refuse what is declared.
func (f *faulty) CopyIn(ctx context.Context, id, directory string, from io.Reader) error {
	if f.has("claims-copy") {
		return driver.Lacks(f.info.Name, driver.CapCopy)
	}
	return f.Driver.CopyIn(ctx, id, directory, from)
}

// CopyOut may refuse, mangle, or find what is not there.
func (f *faulty) CopyOut(ctx context.Context, id, path string, to io.Writer) error {
	if f.has("claims-copy") {
		return driver.Lacks(f.info.Name, driver.CapCopy)
	}
	if f.has("copy-text") {
		to = mangle{to}
	}
	err := f.Driver.CopyOut(ctx, id, path, to)
	if f.has("copy-absent") && driver.ReasonOf(err) == driver.NotFound {
		return nil
	}
	return err
}

// Stats may measure nonsense, or once.
func (f *faulty) Stats(ctx context.Context, id string, interval time.Duration, report func(driver.Stats) error) error {
	if f.has("stats-once") {
		interval = 0
	}
	return f.Driver.Stats(ctx, id, interval, func(st driver.Stats) error {
		if f.has("stats-negative") {
			st.MemoryBytes = new(int64(-1))
		}
		return report(st)
	})
}

// Logs may read the wrong end, and not end.
func (f *faulty) Logs(ctx context.Context, id string, follow bool, tail int, out io.Writer) error {
	if f.has("logs-head") && tail > 0 {
		_, err := io.WriteString(out, "fake: main process started\n")
		return err
	}
	err := f.Driver.Logs(ctx, id, follow, tail, out)
	if f.has("logs-for-ever") && follow && err == nil {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return err
}

// Events may lose some.
func (f *faulty) Events(ctx context.Context, report func(driver.Event) error) error {
	return f.Driver.Events(ctx, func(e driver.Event) error {
		if f.has("events-lost") && e.Type == driver.EventRemoved {
			return nil
		}
		if f.has("future-fields") {
			if err := report(driver.Event{Type: 77, SandboxID: e.SandboxID}); err != nil {
				return err
			}
		}
		return report(e)
	})
}

// Listeners may tell too much or too little.
func (f *faulty) Listeners(ctx context.Context, id string, report func([]driver.Listener) error) error {
	if f.has("listeners-absent") {
		if _, err := f.find(id); err != nil {
			return report(nil)
		}
	}
	if f.has("listeners-all") {
		return f.allListeners(ctx, id, report)
	}
	var before []driver.Listener
	return f.Driver.Listeners(ctx, id, func(ls []driver.Listener) error {
		told := slices.Clone(ls)
		if f.has("listeners-new") {
			told = slices.DeleteFunc(told, func(l driver.Listener) bool { return slices.Contains(before, l) })
		}
		if f.has("servers-hidden") {
			told = slices.DeleteFunc(told, func(l driver.Listener) bool { return l.Port < 4000 })
		}
		before = ls
		return report(told)
	})
}

// allListeners tells of every sandbox's sockets.
func (f *faulty) allListeners(ctx context.Context, id string, report func([]driver.Listener) error) error {
	if _, err := f.running(id); err != nil {
		return err
	}
	for {
		changed := f.changed.next()
		var all []driver.Listener
		f.Driver.mu.Lock()
		sandboxes := make([]*sandbox, 0, len(f.sandboxes))
		for _, sb := range f.sandboxes {
			sandboxes = append(sandboxes, sb)
		}
		f.Driver.mu.Unlock()
		for _, sb := range sandboxes {
			all = append(all, sb.listeners()...)
		}
		if err := report(all); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// neighbours tells whether another sandbox has the port, where all share one
// network by a fault.
func (d *Driver) neighbours(sb *sandbox, port uint16) bool {
	if !d.has("one-network") {
		return false
	}
	d.mu.Lock()
	others := make([]*sandbox, 0, len(d.sandboxes))
	for _, o := range d.sandboxes {
		if o != sb {
			others = append(others, o)
		}
	}
	d.mu.Unlock()
	for _, o := range others {
		if slices.ContainsFunc(o.listeners(), func(l driver.Listener) bool { return l.Port == port }) {
			return true
		}
	}
	return false
}
