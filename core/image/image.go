// Package image makes the images that workspaces run in available: it builds
// sero's own from the Dockerfile in this binary, pulls the others, and does
// either once for however many workspaces wait for it.
package image

import (
	"cmp"
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/sero-labs/sero-runtime/core/negotiate"
	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/imageref"
)

// Default is the image of a workspace that names none. It is built here when it
// is missing.
const Default = "sero-node:latest"

// workTimeout bounds one build or pull.
const workTimeout = 30 * time.Minute

// Drivers hands out drivers by name.
type Drivers interface {
	// Driver is a driver that runs, started if need be.
	Driver(ctx context.Context, name string) (driver.Driver, error)
}

// Chooser decides which driver is used where none is named.
type Chooser interface {
	Choose(ctx context.Context, request negotiate.Request) (negotiate.Choice, error)
}

// Options are what an Images works with. Drivers and Chooser are required.
type Options struct {
	StateDir     string // which images were built is kept in it
	Installation string // whose they are: the label's value
	Drivers      Drivers
	Chooser      Chooser
	Base         string   // what Default is built on; empty: PublicBase, else LocalBase
	Certificates []string // where certificates are that Default is to trust; see MachineCertificates
	Log          *slog.Logger
}

// Images keeps the images. It is safe for concurrent use.
type Images struct {
	options Options
	log     *slog.Logger
	record  *record

	life context.Context // ends with Close
	end  context.CancelCauseFunc
	work sync.WaitGroup

	mu   sync.Mutex // guards what follows
	jobs map[string]*job
	door map[string]chan struct{} // by driver: one build at a time
}

var errClosed = driver.Errorf(driver.Canceled, "sero is shutting down")

// New makes an Images. Close ends it.
func New(options Options) *Images {
	s := &Images{
		options: options, log: cmp.Or(options.Log, slog.Default()),
		jobs: map[string]*job{}, door: map[string]chan struct{}{},
	}
	s.record = openRecord(options.StateDir, func(problem string) { s.log.Warn("images", "problem", problem) })
	s.life, s.end = context.WithCancelCause(context.Background())
	return s
}

// Close ends what is being built or pulled, and waits for its end.
func (s *Images) Close() {
	s.mu.Lock()
	s.end(errClosed)
	s.mu.Unlock()
	s.work.Wait()
}

// Ensure gives the local image of a reference. A missing one is built, if it is
// Default and the driver can build, else pulled; callers that wait for the same
// image share that, its progress and its error. One that gives up is not felt by
// the others.
//
// Errors: ImageNotFound, ImageBuildFailed, Unsupported, and those of the driver.
func (s *Images) Ensure(ctx context.Context, d driver.Driver, reference string, report func(driver.Progress)) (driver.Image, error) {
	if err := imageref.Check("image", reference); err != nil {
		return driver.Image{}, err
	}
	ensurer, err := driver.ImageEnsurerOf(d)
	if err != nil {
		return driver.Image{}, err
	}
	local, err := look(ctx, ensurer, reference)
	if driver.ReasonOf(err) != driver.ImageNotFound {
		return local, err
	}
	return s.share(ctx, d.Info().Name+" ensure "+reference, report, func(ctx context.Context, report func(driver.Progress)) (driver.Image, error) {
		if IsDefault(reference) && driver.Has(d, driver.CapImageBuild) {
			return s.build(ctx, d, BuildOptions{Reference: reference}, report)
		}
		report(driver.Progress{Phase: "pull", Message: "pulling the image " + reference})
		return ensurer.EnsureImage(ctx, reference, driver.PullMissing, report)
	})
}

// IsDefault tells whether a reference means Default.
func IsDefault(reference string) bool {
	return strings.TrimSuffix(reference, ":latest") == strings.TrimSuffix(Default, ":latest")
}

// Status is what is known of one image in a driver.
type Status struct {
	Driver    string
	Reference string
	Present   bool
	Image     driver.Image // if it is present
	Ours      bool         // this installation built it
	Outdated  bool         // this binary would build another one now
}

// Status looks an image up; an empty reference is Default. Neither builds nor
// pulls.
func (s *Images) Status(ctx context.Context, driverName, reference string) (Status, error) {
	if err := imageref.Check("reference", cmp.Or(reference, Default)); err != nil {
		return Status{}, err
	}
	d, err := s.driver(ctx, driverName, driver.CapImagePull)
	if err != nil {
		return Status{}, err
	}
	ensurer, err := driver.ImageEnsurerOf(d)
	if err != nil {
		return Status{}, err
	}
	status := Status{Driver: d.Info().Name, Reference: cmp.Or(reference, Default)}
	found, err := look(ctx, ensurer, status.Reference)
	if driver.ReasonOf(err) == driver.ImageNotFound {
		return status, nil
	}
	if err != nil {
		return Status{}, err
	}
	return s.statusOf(d, status.Reference, found), nil
}

// statusOf is the status of an image that is present.
func (s *Images) statusOf(d driver.Driver, reference string, i driver.Image) Status {
	status := Status{Driver: d.Info().Name, Reference: reference, Present: true, Image: i, Ours: s.Built(i)}
	source := i.Labels[LabelSource]
	status.Outdated = IsDefault(reference) && status.Ours && source != "" && source != shippedSource()
	return status
}

// List gives the images that sero built, ordered by reference.
func (s *Images) List(ctx context.Context, driverName string) ([]Status, error) {
	d, err := s.driver(ctx, driverName, driver.CapImageList)
	if err != nil {
		return nil, err
	}
	lister, err := driver.ImageListerOf(d)
	if err != nil {
		return nil, err
	}
	list, err := lister.ListImages(ctx, map[string]string{driver.LabelManaged: "true", driver.LabelInstallation: s.options.Installation})
	if err != nil {
		return nil, err
	}
	statuses := make([]Status, 0, len(list))
	for _, i := range list {
		if s.Built(i) {
			statuses = append(statuses, s.statusOf(d, i.Reference, i))
		}
	}
	return statuses, nil
}

// Pull fetches an image anew, whether it is here or not.
func (s *Images) Pull(ctx context.Context, driverName, reference string, report func(driver.Progress)) (Status, error) {
	if err := imageref.Check("reference", reference); err != nil {
		return Status{}, err
	}
	d, err := s.driver(ctx, driverName, driver.CapImagePull)
	if err != nil {
		return Status{}, err
	}
	ensurer, err := driver.ImageEnsurerOf(d)
	if err != nil {
		return Status{}, err
	}
	pulled, err := s.share(ctx, d.Info().Name+" pull "+reference, report, func(ctx context.Context, report func(driver.Progress)) (driver.Image, error) {
		report(driver.Progress{Phase: "pull", Message: "pulling the image " + reference})
		return ensurer.EnsureImage(ctx, reference, driver.PullAlways, report)
	})
	if err != nil {
		return Status{}, err
	}
	return s.statusOf(d, reference, pulled), nil
}

// Remove takes an image away that sero built. Removing an absent one succeeds;
// one that sero did not build is ForeignResource, one in use ImageInUse unless
// force is set.
func (s *Images) Remove(ctx context.Context, driverName, reference string, force bool) error {
	if err := imageref.Check("reference", reference); err != nil {
		return err
	}
	d, err := s.driver(ctx, driverName, driver.CapImageRemove)
	if err != nil {
		return err
	}
	remover, err := driver.ImageRemoverOf(d)
	if err != nil {
		return err
	}
	ensurer, err := driver.ImageEnsurerOf(d)
	if err != nil {
		return err
	}
	found, err := look(ctx, ensurer, reference)
	switch {
	case driver.ReasonOf(err) == driver.ImageNotFound:
		return nil
	case err != nil:
		return err
	case !s.Built(found):
		return driver.Errorf(driver.ForeignResource, "the image %s was not built by this sero; it is left alone", reference).About(reference).
			Remedy("remove it with the tool that made it")
	}
	return remover.RemoveImage(ctx, reference, force)
}

// driver is the named one, or the best that isolates and has the capability. Its
// engine is started if it is stopped.
func (s *Images) driver(ctx context.Context, name string, need driver.Capability) (driver.Driver, error) {
	if name != "" {
		return s.options.Drivers.Driver(ctx, name)
	}
	choice, err := s.options.Chooser.Choose(ctx, negotiate.Request{Mode: negotiate.ModeRequire, Needs: []driver.Capability{need}})
	switch driver.ReasonOf(err) {
	case "":
	case driver.IsolationRequired, driver.NoDriver:
		none := driver.Errorf(driver.NoDriver, "no driver that has images works on this machine")
		none.Remedies = driver.AsError(err).Remedies
		return nil, none
	default:
		return nil, err
	}
	d, err := s.options.Drivers.Driver(ctx, choice.Actual)
	if err != nil || !choice.WillStart {
		return d, err
	}
	starter, err := driver.SystemStarterOf(d)
	if err != nil {
		return nil, err
	}
	return d, starter.StartSystem(ctx, ignore)
}

// lookTimeout bounds the look for a local image.
const lookTimeout = 30 * time.Second

// look gives a local image, or ImageNotFound.
func look(ctx context.Context, images driver.ImageEnsurer, reference string) (driver.Image, error) {
	late := driver.Errorf(driver.Timeout, "whether there is an image %s was not answered in %s", reference, lookTimeout).About(reference).
		Remedy("see whether the engine works", "sero", "doctor")
	late.Retryable = true
	bounded, cancel := context.WithTimeoutCause(ctx, lookTimeout, late)
	defer cancel()
	found, err := images.EnsureImage(bounded, reference, driver.PullNever, ignore)
	if err != nil && bounded.Err() != nil {
		err = driver.AsError(context.Cause(bounded))
	}
	return found, err
}

func ignore(driver.Progress) {}
