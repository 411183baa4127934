package fake

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// StartSystem starts the imaginary engine.
func (d *Driver) StartSystem(ctx context.Context, report func(driver.Progress)) error {
	s, err := d.begin(ctx, "StartSystem", "")
	if err != nil {
		return err
	}
	s.progress(report, driver.Progress{Phase: "start", Message: "starting the imaginary engine", Current: 1, Total: 1, Unit: "steps"})
	d.mu.Lock()
	d.down = false
	d.mu.Unlock()
	d.changed.notify()
	s.end()
	return nil
}

// StopSystem stops the imaginary engine and everything in it.
func (d *Driver) StopSystem(ctx context.Context, report func(driver.Progress)) error {
	s, err := d.begin(ctx, "StopSystem", "")
	if err != nil {
		return err
	}
	s.progress(report, driver.Progress{Phase: "stop", Message: "stopping the imaginary engine", Current: 1, Total: 1, Unit: "steps"})
	d.mu.Lock()
	d.down = true
	all := slices.Collect(maps.Values(d.sandboxes))
	d.mu.Unlock()
	for _, sb := range all {
		if !d.has("survives-system") {
			sb.stop(0)
		}
	}
	d.changed.notify()
	s.end()
	return nil
}

func newImage(ref string, now time.Time, labels map[string]string) driver.Image {
	return driver.Image{
		Reference: ref, Digest: fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(ref))),
		SizeBytes: 1 << 20, Created: now, Labels: labels,
	}
}

// EnsureImage finds an image among the local and the remote ones.
func (d *Driver) EnsureImage(ctx context.Context, ref string, policy driver.PullPolicy, report func(driver.Progress)) (driver.Image, error) {
	s, err := d.begin(ctx, "EnsureImage", "")
	if err != nil {
		return driver.Image{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	image, local := d.images[ref]
	if local && policy != driver.PullAlways {
		return image, nil
	}
	if policy == driver.PullNever || (!local && !slices.Contains(d.current.Remote, ref)) {
		return driver.Image{}, driver.Errorf(driver.ImageNotFound, "there is no image %s", ref).About(ref).Remedy("build it, or correct its name")
	}
	d.mu.Unlock()
	s.progress(report,
		driver.Progress{Phase: "pull", Message: "pulling " + ref, Current: 1 << 19, Total: 1 << 20, Unit: "bytes"},
		driver.Progress{Phase: "pull", Message: "pulled " + ref, Current: 1 << 20, Total: 1 << 20, Unit: "bytes"})
	now := d.clock().Now()
	d.mu.Lock()
	d.images[ref] = newImage(ref, now, nil)
	s.end()
	return d.images[ref], nil
}

// BuildImage knows FROM a local image, LABEL and comments; of what else a
// Dockerfile may say it does nothing.
func (d *Driver) BuildImage(ctx context.Context, spec driver.BuildSpec, report func(driver.Progress)) (driver.Image, error) {
	s, err := d.begin(ctx, "BuildImage", "")
	if err != nil {
		return driver.Image{}, err
	}
	text, err := os.ReadFile(filepath.Join(spec.ContextDir, cmp.Or(spec.Dockerfile, "Dockerfile")))
	if err != nil {
		return driver.Image{}, driver.Errorf(driver.ImageBuildFailed, "reading the Dockerfile: %w", err).Remedy("correct the path of the Dockerfile")
	}
	labels := maps.Clone(spec.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	whole := strings.ReplaceAll(string(text), "\\\n", " ")
	for name, value := range spec.Args {
		whole = strings.ReplaceAll(whole, "${"+name+"}", value)
	}
	lines := strings.Split(strings.TrimSpace(whole), "\n")
	for i, line := range lines {
		report(driver.Progress{Phase: "build", Message: line, Current: int64(i + 1), Total: int64(len(lines)), Unit: "steps"})
		if err := d.instruction(line, labels); err != nil {
			return driver.Image{}, err
		}
	}
	s.progress(report)
	image := newImage(spec.Tag, d.clock().Now(), labels)
	d.mu.Lock()
	defer d.mu.Unlock()
	image.Digest = fmt.Sprintf("sha256:%x", sha256.Sum256(text))
	if old, ok := d.images[spec.Tag]; ok && old.Digest != image.Digest { // it stays, without a name
		old.Reference = old.Digest
		d.images[old.Digest] = old
	}
	d.images[spec.Tag] = image
	s.end()
	return image, nil
}

var ignoredInstructions = []string{"ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "RUN", "USER", "WORKDIR"}

func (d *Driver) instruction(line string, labels map[string]string) error {
	word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	switch {
	case word == "" || strings.HasPrefix(word, "#"):
		return nil
	case word == "LABEL":
		pairs := strings.Fields(rest)
		if slices.ContainsFunc(pairs, func(p string) bool { return !strings.Contains(p, "=") }) {
			pairs = []string{rest} // a value with spaces in it
		}
		for _, pair := range pairs {
			k, v, _ := strings.Cut(pair, "=")
			labels[k] = v
		}
		return nil
	case slices.Contains(ignoredInstructions, word):
		return nil
	case word == "FROM":
		d.mu.Lock()
		_, ok := d.images[rest]
		d.mu.Unlock()
		if ok {
			return nil
		}
	}
	return driver.Errorf(driver.ImageBuildFailed, "the build failed at: %s", line).Remedy("correct the Dockerfile")
}

// RemoveImage removes a local image; an absent one is success.
func (d *Driver) RemoveImage(ctx context.Context, ref string, force bool) error {
	s, err := d.begin(ctx, "RemoveImage", "")
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, sb := range d.sandboxes {
		if (sb.spec.Image == ref || sb.describe().ImageDigest == ref) && !force {
			return driver.Errorf(driver.ImageInUse, "sandbox %s needs the image %s", sb.spec.ID, ref).About(ref).Remedy("remove the sandbox first")
		}
	}
	delete(d.images, ref)
	s.end()
	return nil
}

// ListImages lists local images with all the labels, ordered by reference.
func (d *Driver) ListImages(ctx context.Context, labels map[string]string) ([]driver.Image, error) {
	s, err := d.begin(ctx, "ListImages", "")
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []driver.Image
	for _, ref := range slices.Sorted(maps.Keys(d.images)) {
		if image := d.images[ref]; carries(image.Labels, labels) {
			out = append(out, image)
		}
	}
	s.end()
	return out, nil
}

// CopyIn unpacks a tar stream below an existing directory.
func (d *Driver) CopyIn(ctx context.Context, id, directory string, from io.Reader) error {
	s, err := d.begin(ctx, "CopyIn", id)
	if err != nil {
		return err
	}
	sb, err := d.find(id)
	if err != nil {
		return err
	}
	if !sb.files.isDir(sb.files.abs("/", directory)) {
		return driver.Errorf(driver.NotFound, "there is no directory %s", directory).About(directory)
	}
	for in := tar.NewReader(from); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			s.end()
			return nil
		}
		if err != nil {
			return driver.Errorf(driver.InvalidArgument, "the tar stream is broken: %w", err)
		}
		to := path.Join(sb.files.abs("/", directory), path.Clean("/"+h.Name))
		if h.FileInfo().IsDir() {
			err = sb.files.mkdir(to)
		} else {
			var data []byte
			if data, err = io.ReadAll(in); err == nil {
				err = errors.Join(sb.files.mkdir(path.Dir(to)), sb.files.write(to, data, false))
			}
		}
		if err != nil {
			return driver.Errorf(driver.Internal, "unpacking %s: %w", h.Name, err)
		}
	}
}

// CopyOut packs one path.
func (d *Driver) CopyOut(ctx context.Context, id, name string, to io.Writer) error {
	s, err := d.begin(ctx, "CopyOut", id)
	if err != nil {
		return err
	}
	sb, err := d.find(id)
	if err != nil {
		return err
	}
	at := sb.files.abs("/", name)
	if !sb.files.exists(at) {
		return driver.Errorf(driver.NotFound, "there is no file %s", name).About(name)
	}
	var buf bytes.Buffer
	out := tar.NewWriter(&buf)
	for _, file := range sb.files.below(at) {
		data, err := sb.files.read(file)
		rel := strings.TrimPrefix(strings.TrimPrefix(file, path.Dir(at)), "/")
		if err == nil {
			err = out.WriteHeader(&tar.Header{Name: rel, Mode: 0o644, Size: int64(len(data)), ModTime: Epoch})
		}
		if err == nil {
			_, err = out.Write(data)
		}
		if err != nil {
			return driver.Errorf(driver.Internal, "packing %s: %w", file, err)
		}
	}
	if err := out.Close(); err != nil {
		return err
	}
	_, err = buf.WriteTo(to)
	s.end()
	return err
}

// Stats counts processes and makes up the rest.
func (d *Driver) Stats(ctx context.Context, id string, interval time.Duration, report func(driver.Stats) error) error {
	if _, err := d.begin(ctx, "Stats", id); err != nil {
		return err
	}
	sb, err := d.running(id)
	if err != nil {
		return err
	}
	for {
		processes := int64(1 + len(sb.table(nil)))
		st := driver.Stats{
			CPUSeconds:  new(d.clock().Now().Sub(sb.describe().Started).Seconds()),
			MemoryBytes: new(processes << 20),
			Processes:   new(processes),
		}
		if limit := sb.spec.Resources.MemoryBytes; limit > 0 {
			st.MemoryLimitBytes = new(limit)
		}
		if err := report(st); err != nil || interval == 0 {
			return err
		}
		if err := d.clock().Sleep(ctx, interval); err != nil {
			return err
		}
	}
}

// Logs reads what the imaginary main process wrote.
func (d *Driver) Logs(ctx context.Context, id string, follow bool, tail int, out io.Writer) error {
	if _, err := d.begin(ctx, "Logs", id); err != nil {
		return err
	}
	sb, err := d.find(id)
	if err != nil {
		return err
	}
	sent := -1
	for {
		changed := d.changed.next()
		sb.mu.Lock()
		if sent < 0 {
			sent = tailOffset(sb.log, tail)
		}
		fresh, removed := slices.Clone(sb.log[sent:]), sb.removed
		sent = len(sb.log)
		sb.mu.Unlock()
		if _, err := out.Write(fresh); err != nil {
			return err
		}
		if !follow || removed {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// tailOffset is where the last n lines begin; 0 lines are all.
func tailOffset(log []byte, n int) int {
	if n == 0 {
		return 0
	}
	at := len(bytes.TrimSuffix(log, []byte("\n")))
	for ; n > 0 && at >= 0; n-- {
		at = bytes.LastIndexByte(log[:at], '\n')
	}
	return at + 1
}

// Events tells of every change from now on.
func (d *Driver) Events(ctx context.Context, report func(driver.Event) error) error {
	if _, err := d.begin(ctx, "Events", ""); err != nil {
		return err
	}
	d.mu.Lock()
	seen := len(d.events)
	d.mu.Unlock()
	for {
		changed := d.changed.next()
		d.mu.Lock()
		fresh := slices.Clone(d.events[seen:])
		seen = len(d.events)
		d.mu.Unlock()
		for _, e := range fresh {
			if err := report(e); err != nil {
				return err
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Listeners tells what the word listen has opened.
func (d *Driver) Listeners(ctx context.Context, id string, report func([]driver.Listener) error) error {
	if _, err := d.begin(ctx, "Listeners", id); err != nil {
		return err
	}
	sb, err := d.running(id)
	if err != nil {
		return err
	}
	var last []driver.Listener
	for {
		changed := d.changed.next()
		now := sb.listeners()
		if last == nil || !slices.Equal(now, last) {
			if err := report(now); err != nil {
				return err
			}
			last = now
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
