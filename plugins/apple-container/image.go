package applecontainer

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/imageref"
)

const (
	pullLimit  = 30 * time.Minute
	buildLimit = time.Hour
)

// imageDocument is an image as list and inspect print it. Its parts moved between
// releases: name and index up to 0.12, configuration from 1.0.
type imageDocument struct {
	Name          string     `json:"name"`
	Reference     string     `json:"reference"`  // list up to 0.12
	Descriptor    descriptor `json:"descriptor"` // list up to 0.12
	Index         descriptor `json:"index"`
	Configuration struct {
		Name         string     `json:"name"`
		Descriptor   descriptor `json:"descriptor"`
		CreationDate moment     `json:"creationDate"`
	} `json:"configuration"`
	Variants []variant `json:"variants"`
}

type descriptor struct {
	Digest string `json:"digest"`
}

// UnmarshalJSON reads a descriptor, and one that is wrapped in an object.
func (d *descriptor) UnmarshalJSON(data []byte) error {
	var both struct {
		Digest     string `json:"digest"`
		Descriptor struct {
			Digest string `json:"digest"`
		} `json:"descriptor"`
	}
	err := json.Unmarshal(data, &both)
	if d.Digest = both.Digest; d.Digest == "" {
		d.Digest = both.Descriptor.Digest
	}
	return err
}

type variant struct {
	Platform struct {
		OS           string `json:"os"`
		Architecture string `json:"architecture"`
	} `json:"platform"`
	Size   int64 `json:"size"`
	Config struct {
		Created time.Time `json:"created"`
		Config  struct {
			Labels map[string]string `json:"Labels"`
		} `json:"config"`
	} `json:"config"`
}

func (i imageDocument) name() string {
	for _, name := range []string{i.Configuration.Name, i.Name, i.Reference} {
		if name != "" {
			return familiar(name)
		}
	}
	return ""
}

// image is the document in the protocol's terms. Of its variants the one for
// this machine counts; attestations are variants for an unknown platform.
func (i imageDocument) image() driver.Image {
	image := driver.Image{Reference: i.name(), Created: i.Configuration.CreationDate.Time}
	for _, d := range []descriptor{i.Configuration.Descriptor, i.Index, i.Descriptor} {
		if image.Digest == "" {
			image.Digest = d.Digest
		}
	}
	var chosen *variant
	for n, v := range i.Variants {
		if v.Platform.OS == "linux" && (chosen == nil || v.Platform.Architecture == runtime.GOARCH) {
			chosen = &i.Variants[n]
		}
	}
	if chosen != nil {
		image.SizeBytes, image.Labels = chosen.Size, maps.Clone(chosen.Config.Config.Labels)
		if !chosen.Config.Created.IsZero() {
			image.Created = chosen.Config.Created
		}
	}
	return image
}

func parseImages(text string) ([]imageDocument, error) {
	if len(bytes.TrimSpace([]byte(text))) == 0 {
		return nil, nil // of an image that it hides, up to 0.12
	}
	var all []imageDocument
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		return nil, fmt.Errorf("%w: %w", errHalf, err)
	}
	return all, nil
}

// localImage is an image of this machine. How the CLI says that there is none
// differs from release to release; that it is not in the answer does not.
func (d *Driver) localImage(ctx context.Context, reference string) (driver.Image, error) {
	if err := imageref.Check("reference", reference); err != nil {
		return driver.Image{}, err
	}
	var found []imageDocument
	err := d.read(ctx, command{limit: quickLimit, args: []string{"image", "inspect", reference}}, reference, func(text string) (err error) {
		found, err = parseImages(text)
		return err
	})
	if err != nil {
		return driver.Image{}, err
	}
	if len(found) == 0 {
		return driver.Image{}, failureOf(classNoImage, reference)
	}
	image := found[0].image()
	image.Reference = reference
	return image, nil
}

// EnsureImage gives the local image, pulled if it is missing and may be.
func (d *Driver) EnsureImage(ctx context.Context, reference string, policy driver.PullPolicy, report func(driver.Progress)) (driver.Image, error) {
	if policy != driver.PullAlways {
		image, err := d.localImage(ctx, reference)
		if driver.ReasonOf(err) != driver.ImageNotFound || policy == driver.PullNever {
			return image, err
		}
	}
	e, err := d.cli.engine(ctx)
	if err != nil {
		return driver.Image{}, err
	}
	if err := imageref.Check("reference", reference); err != nil {
		return driver.Image{}, err
	}
	report(driver.Progress{Phase: "pull", Message: "pulling " + reference})
	_, err = d.try(ctx, command{
		limit: pullLimit, free: true, output: asProgress("pull", report),
		args: []string{"image", "pull", "--progress", e.pullProgress, "--platform", "linux/" + runtime.GOARCH, reference},
	}, reference)
	if driver.ReasonOf(err) == driver.Internal {
		failed := driver.AsError(err)
		return driver.Image{}, driver.Errorf(driver.ImageNotFound, "there is no image %s here, and it cannot be pulled: %s", reference, failed.Message).About(reference).
			Remedy("check its name, or build it")
	}
	if err != nil {
		return driver.Image{}, err
	}
	return d.localImage(ctx, reference)
}

// asProgress passes what the CLI prints on as progress.
func asProgress(phase string, report func(driver.Progress)) func(string) {
	return func(line string) { report(driver.Progress{Phase: phase, Message: oneLine(line, maxWords)}) }
}

// BuildImage builds an image. One build at a time: the first ones at once would
// each make the builder (apple/container#2167), which build starts by itself.
func (d *Driver) BuildImage(ctx context.Context, spec driver.BuildSpec, report func(driver.Progress)) (driver.Image, error) {
	if err := imageref.CheckName("tag", spec.Tag); err != nil {
		return driver.Image{}, err
	}
	// The builder follows no link on the way to the context (#588, #1899, #2037).
	dir, err := filepath.EvalSymlinks(spec.ContextDir)
	if err != nil || !filepath.IsAbs(dir) {
		return driver.Image{}, argument("context_dir", "the directory %s cannot be built from: it has to be an absolute path that exists", spec.ContextDir).About(spec.ContextDir).
			Remedy("give the directory that the Dockerfile is in")
	}
	file := spec.Dockerfile
	if file == "" {
		file = "Dockerfile"
	}
	if file = filepath.Join(dir, file); !isFile(file) {
		return driver.Image{}, argument("dockerfile", "there is no file %s", file).About(file).Remedy("name the Dockerfile, relative to the directory")
	}
	args := []string{"build", "--progress", "plain", "--tag", spec.Tag, "--file", file}
	for _, name := range slices.Sorted(maps.Keys(spec.Args)) {
		args = append(args, "--build-arg", name+"="+spec.Args[name])
	}
	for _, name := range slices.Sorted(maps.Keys(spec.Labels)) {
		args = append(args, "--label", name+"="+spec.Labels[name])
	}
	if spec.NoCache {
		args = append(args, "--no-cache")
	}
	report(driver.Progress{Phase: "build", Message: "building " + spec.Tag})
	select {
	case d.builds <- struct{}{}:
		defer func() { <-d.builds }()
	case <-ctx.Done():
		return driver.Image{}, ctxError(ctx)
	}
	_, err = d.try(ctx, command{limit: buildLimit, free: true, output: asProgress("build", report), args: append(args, dir)}, spec.Tag)
	switch driver.ReasonOf(err) {
	case "":
		return d.localImage(ctx, spec.Tag)
	case driver.EngineNotRunning, driver.EngineWedged, driver.EngineTooOld, driver.EngineNotInstalled, driver.Unsupported, driver.OutOfDisk, driver.Canceled, driver.Timeout:
		return driver.Image{}, err
	default:
		failed := driver.AsError(err)
		return driver.Image{}, driver.Errorf(driver.ImageBuildFailed, "building %s failed: %s", spec.Tag, failed.Message).About(spec.Tag).
			Remedy("mend the Dockerfile; the message has its last lines")
	}
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// RemoveImage removes an image. The CLI would remove one that is in use.
func (d *Driver) RemoveImage(ctx context.Context, reference string, force bool) error {
	image, err := d.localImage(ctx, reference)
	if driver.ReasonOf(err) == driver.ImageNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	if !force {
		all, err := d.List(ctx, nil)
		if err != nil {
			return err
		}
		for _, sb := range all {
			if sb.Image == familiar(reference) || sb.ImageDigest == image.Digest && sb.ImageDigest != "" {
				return driver.Errorf(driver.ImageInUse, "sandbox %s needs the image %s", sb.ID, reference).About(reference).
					Remedy("remove the sandbox first")
			}
		}
	}
	_, err = d.try(ctx, command{limit: deleteLimit, args: []string{"image", "delete", reference}, free: true}, reference)
	if driver.ReasonOf(err) == driver.ImageNotFound {
		return nil
	}
	return err
}

// ListImages lists the images with the given labels.
func (d *Driver) ListImages(ctx context.Context, labels map[string]string) ([]driver.Image, error) {
	var listed []imageDocument
	err := d.read(ctx, command{limit: quickLimit, args: []string{"image", "list", "--format", "json"}}, "images", func(text string) (err error) {
		listed, err = parseImages(text)
		return err
	})
	if err != nil || len(listed) == 0 {
		return nil, err
	}
	var names []string
	for _, i := range listed {
		if name := i.name(); name != "" {
			names = append(names, name)
		}
	}
	images, err := d.describeImages(ctx, names)
	if err != nil {
		return nil, err
	}
	images = slices.DeleteFunc(images, func(i driver.Image) bool {
		has := func(name string) bool { v, ok := i.Labels[name]; return ok && v == labels[name] }
		return slices.ContainsFunc(slices.Collect(maps.Keys(labels)), func(name string) bool { return !has(name) })
	})
	slices.SortFunc(images, func(a, b driver.Image) int { return strings.Compare(a.Reference, b.Reference) })
	return images, nil
}

// describeImages inspects images by one call. Where that fails, one of them may
// have gone meanwhile, which up to 0.12 is an error beside the answers for the
// others and from 1.0 on instead of them: what has no answer is asked for by
// itself, and left out when it is not there.
func (d *Driver) describeImages(ctx context.Context, names []string) ([]driver.Image, error) {
	r, err := d.cli.call(ctx, command{limit: quickLimit, args: append([]string{"image", "inspect"}, names...)})
	if err != nil {
		return nil, err
	}
	documents, parsed := parseImages(r.stdout)
	if r.code != 0 {
		switch failed := failure(r, "images"); failed.Reason {
		case driver.ImageNotFound, driver.NotFound, driver.Internal:
		default:
			return nil, failed
		}
	}
	var images []driver.Image
	for _, i := range documents {
		images = append(images, i.image())
	}
	if r.code == 0 && parsed == nil {
		return images, nil
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		return slices.ContainsFunc(images, func(i driver.Image) bool { return i.Reference == name })
	})
	alone := make([]driver.Image, len(names))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for n, name := range names {
		group.Go(func() (err error) {
			alone[n], err = d.localImage(ctx, name)
			if driver.ReasonOf(err) == driver.ImageNotFound {
				return nil
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return append(images, slices.DeleteFunc(alone, func(i driver.Image) bool { return i.Reference == "" })...), nil
}
