package docker

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/client"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"

	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/imageref"
)

// lastLines is how many lines of a failed build its error tells.
const lastLines = 12

// BuildImage builds an image from a directory, in the engine.
func (d *Driver) BuildImage(ctx context.Context, spec driver.BuildSpec, report func(driver.Progress)) (driver.Image, error) {
	if err := imageref.CheckName("tag", spec.Tag); err != nil {
		return driver.Image{}, err
	}
	files, err := buildFiles(spec)
	if err != nil {
		return driver.Image{}, err
	}
	progress := &buildProgress{report: report, trace: trace{begun: map[string]bool{}, ended: map[string]bool{}}}
	err = do(ctx, d, imageLimit, func(ctx context.Context, c *connection) error {
		r, w := io.Pipe()
		go func() { w.CloseWithError(files.write(w)) }() // ends when r is closed
		defer r.CloseWithError(errSlow)
		options := client.ImageBuildOptions{
			Tags: []string{spec.Tag}, Dockerfile: files.dockerfile, Labels: spec.Labels, NoCache: spec.NoCache,
			Remove: true, ForceRemove: true, BuildArgs: map[string]*string{}, Version: build.BuilderV1,
		}
		for name, value := range spec.Args {
			options.BuildArgs[name] = &value
		}
		if c.buildKit {
			id, end, err := session(ctx, c)
			if err != nil {
				return err
			}
			defer end()
			options.Version, options.SessionID = build.BuilderBuildKit, id
		}
		said, err := c.ImageBuild(ctx, r, options)
		if err != nil {
			return err
		}
		defer said.Body.Close()
		return messages(said.Body, progress.add)
	})
	if err != nil {
		return driver.Image{}, progress.failed(spec.Tag, err)
	}
	return d.image(ctx, spec.Tag)
}

// buildProgress turns an engine's lines into progress and keeps the last ones.
type buildProgress struct {
	report      func(driver.Progress)
	step, steps int64
	trace       trace
	last        []string
}

func (p *buildProgress) add(m message) {
	if m.ID == traceID {
		lines := p.trace.lines(m.Aux)
		p.step, p.steps = int64(len(p.trace.ended)), int64(len(p.trace.begun))
		for _, line := range lines {
			p.tell(line)
		}
		return
	}
	text := m.Stream
	if m.Status != "" {
		text = m.Status
		if m.ID != "" {
			text = m.ID + ": " + m.Status
		}
	}
	for line := range strings.Lines(text) {
		_, _ = fmt.Sscanf(line, "Step %d/%d :", &p.step, &p.steps) // other lines leave them
		p.tell(line)
	}
}

func (p *buildProgress) tell(line string) {
	if line = strings.TrimRight(line, "\r\n"); line == "" {
		return
	}
	p.last = append(p.last, line)
	if len(p.last) > lastLines {
		p.last = p.last[1:]
	}
	p.report(driver.Progress{Phase: "build", Message: line, Current: p.step, Total: p.steps, Unit: "steps"})
}

// failed is the error of a build that did not come to its end.
func (p *buildProgress) failed(tag string, err error) error {
	_, refused := errors.AsType[*messageError](err)
	if reason := driver.ReasonOf(err); reason == driver.OutOfDisk || !refused && reason != driver.InvalidArgument && reason != driver.Internal && reason != driver.NotFound {
		return err
	}
	message := driver.AsError(err).Message
	if len(p.last) > 0 {
		message += "; the last lines: " + strings.Join(p.last, " | ")
	}
	e := driver.Errorf(driver.ImageBuildFailed, "building %s failed: %s", tag, message).About(tag)
	e.Err = err
	return e.Remedy("mend the Dockerfile")
}

// buildContext is the directory that a build sees.
type buildContext struct {
	dir        string
	dockerfile string // with slashes, below dir
	ignored    *patternmatcher.PatternMatcher
}

func buildFiles(spec driver.BuildSpec) (*buildContext, error) {
	if info, err := os.Stat(spec.ContextDir); err != nil || !info.IsDir() {
		return nil, invalid("context_dir", "%s is not a directory", spec.ContextDir).About(spec.ContextDir)
	}
	files := &buildContext{dir: spec.ContextDir, dockerfile: filepath.ToSlash(spec.Dockerfile)}
	if files.dockerfile == "" {
		files.dockerfile = "Dockerfile"
	}
	if !filepath.IsLocal(files.dockerfile) {
		return nil, invalid("dockerfile", "the Dockerfile must be below %s", spec.ContextDir)
	}
	if _, err := os.Stat(filepath.Join(files.dir, files.dockerfile)); err != nil {
		return nil, driver.Errorf(driver.ImageBuildFailed, "there is no %s in %s", files.dockerfile, files.dir).About(files.dir)
	}
	var patterns []string
	for _, name := range []string{files.dockerfile + ".dockerignore", ".dockerignore"} {
		f, err := os.Open(filepath.Join(files.dir, name))
		if err != nil {
			continue
		}
		patterns, err = ignorefile.ReadAll(f)
		f.Close()
		if err != nil {
			return nil, invalid("context_dir", "%s cannot be read: %v", name, err)
		}
		break
	}
	var err error
	if files.ignored, err = patternmatcher.New(patterns); err != nil {
		return nil, invalid("context_dir", "a pattern in .dockerignore is wrong: %v", err)
	}
	return files, nil
}

// write packs the directory, without what .dockerignore names; the Dockerfile is
// always in it. Files belong to root, whoever has them here.
func (b *buildContext) write(w io.Writer) error {
	archive := tar.NewWriter(w)
	root, err := os.OpenRoot(b.dir)
	if err != nil {
		return err
	}
	defer root.Close()
	err = fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		ignored, err := b.ignored.MatchesOrParentMatches(name)
		switch {
		case err != nil:
			return err
		case ignored && name != b.dockerfile:
			if entry.IsDir() && !b.ignored.Exclusions() && !strings.HasPrefix(b.dockerfile, name+"/") {
				return fs.SkipDir
			}
			return nil
		}
		return pack(archive, root, name, entry)
	})
	return errors.Join(err, archive.Close())
}

func pack(archive *tar.Writer, root *os.Root, name string, entry fs.DirEntry) error {
	info, err := entry.Info()
	if err != nil {
		return err
	}
	link := ""
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		if link, err = root.Readlink(name); err != nil {
			return err
		}
	case !info.IsDir() && !info.Mode().IsRegular():
		return nil // a socket, a pipe
	}
	header, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return err
	}
	header.Name, header.Uid, header.Gid, header.Uname, header.Gname = name, 0, 0, "", ""
	if info.IsDir() {
		header.Name = path.Clean(name) + "/"
	}
	if err := archive.WriteHeader(header); err != nil || !info.Mode().IsRegular() {
		return err
	}
	f, err := root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.CopyN(archive, f, header.Size)
	return err
}
