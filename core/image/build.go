package image

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sero-labs/sero-runtime/images"
	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/imageref"
)

// What Default is built on.
const (
	PublicBase = "debian:bookworm-slim"
	LocalBase  = "sero-base:bookworm" // made by scripts/base-image.sh where no registry can be reached
)

// baseArg is the build argument of the base.
const baseArg = "BASE"

// LabelSource on an image of ours is the hash of what it was built from.
const LabelSource = "dev.sero.image-source"

// baseTimeout bounds the pull of the base, which is small.
const baseTimeout = 5 * time.Minute

// BuildOptions say what to build.
type BuildOptions struct {
	Reference  string            // the tag; empty for Build: Default
	ContextDir string            // absolute; empty: what this binary has for Default
	Dockerfile string            // relative to ContextDir; empty: Dockerfile
	Args       map[string]string // build arguments
	NoCache    bool
}

// Build builds and tags an image, sero's own unless the options name a
// directory. It is labelled as this installation's.
//
// Errors: InvalidArgument, ImageNotFound for a base that cannot be had,
// ImageBuildFailed, Unsupported, and those of the driver.
func (s *Images) Build(ctx context.Context, driverName string, options BuildOptions, report func(driver.Progress)) (Status, error) {
	options.Reference = cmp.Or(options.Reference, Default)
	if err := options.check(); err != nil {
		return Status{}, err
	}
	d, err := s.driver(ctx, driverName, driver.CapImageBuild)
	if err != nil {
		return Status{}, err
	}
	// A build that was asked for is never another's: its options are its own.
	key := fmt.Sprintf("%s build %+v", d.Info().Name, options) // maps are printed in order
	built, err := s.share(ctx, key, report, func(ctx context.Context, report func(driver.Progress)) (driver.Image, error) {
		return s.build(ctx, d, options, report)
	})
	if err != nil {
		return Status{}, err
	}
	return s.statusOf(d, options.Reference, built), nil
}

func (o BuildOptions) check() error {
	if err := imageref.CheckName("reference", o.Reference); err != nil {
		return err
	}
	if o.ContextDir == "" {
		return nil
	}
	name := filepath.Join(o.ContextDir, cmp.Or(o.Dockerfile, "Dockerfile"))
	switch info, err := os.Stat(name); {
	case !filepath.IsAbs(o.ContextDir):
		return driver.Errorf(driver.InvalidArgument, "the directory to build is not an absolute path").About(o.ContextDir).
			Remedy("give an absolute path")
	case o.Dockerfile != "" && !filepath.IsLocal(o.Dockerfile):
		return driver.Errorf(driver.InvalidArgument, "the Dockerfile is not below the directory to build").About(o.Dockerfile).
			Remedy("give a path below that directory")
	case err != nil || !info.Mode().IsRegular():
		return driver.Errorf(driver.NotFound, "there is no Dockerfile %q", name).About(name).
			Remedy("name the directory that has one").
			Remedy("see the one that sero has", "sero", "image", "build", "--show")
	}
	return nil
}

// build builds when its turn has come: one at a time in a driver.
func (s *Images) build(ctx context.Context, d driver.Driver, options BuildOptions, report func(driver.Progress)) (driver.Image, error) {
	builder, err := driver.ImageBuilderOf(d)
	if err != nil {
		return driver.Image{}, err
	}
	if err := s.ensureParent(ctx, d, options, report); err != nil {
		return driver.Image{}, err
	}
	leave, err := s.take(ctx, d.Info().Name, report)
	if err != nil {
		return driver.Image{}, err
	}
	defer leave()
	spec := driver.BuildSpec{
		Tag: options.Reference, ContextDir: options.ContextDir, Dockerfile: options.Dockerfile,
		NoCache: options.NoCache, Args: map[string]string{},
		Labels: map[string]string{driver.LabelManaged: "true", driver.LabelInstallation: s.options.Installation},
	}
	maps.Copy(spec.Args, proxyArgs())
	maps.Copy(spec.Args, options.Args)
	if options.ContextDir == "" {
		dir, err := s.writeContext()
		if err != nil {
			return driver.Image{}, err
		}
		defer func() { _ = os.RemoveAll(dir) }()
		spec.ContextDir = dir
		spec.Labels[LabelSource] = shippedSource()
		if spec.Args[baseArg] == "" {
			if spec.Args[baseArg], err = s.base(ctx, d, report); err != nil {
				return driver.Image{}, err
			}
		}
	}
	report(driver.Progress{Phase: "build", Message: "building the image " + spec.Tag})
	built, err := builder.BuildImage(ctx, spec, report)
	if err == nil {
		s.record.add(built)
	}
	return built, err
}

// proxyArgs are the proxies of this process's environment, which a build needs to
// fetch anything where there is one. Engines know these arguments, and keep them
// out of the image. One on the loopback is not to be reached from a build.
func proxyArgs() map[string]string {
	args := map[string]string{}
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"} {
		for _, name := range []string{name, strings.ToLower(name)} {
			if value := os.Getenv(name); value != "" {
				args[name] = value
			}
		}
	}
	for name, value := range args {
		proxy, err := url.Parse(value)
		if err != nil || proxy.Hostname() == "localhost" || net.ParseIP(proxy.Hostname()).IsLoopback() {
			delete(args, name)
		}
	}
	return args
}

// ensureParent makes Default if a Dockerfile begins with it, for no registry has
// it.
func (s *Images) ensureParent(ctx context.Context, d driver.Driver, options BuildOptions, report func(driver.Progress)) error {
	if options.ContextDir == "" || IsDefault(options.Reference) {
		return nil
	}
	text, err := os.ReadFile(filepath.Join(options.ContextDir, cmp.Or(options.Dockerfile, "Dockerfile")))
	if err != nil {
		return driver.Errorf(driver.Internal, "the Dockerfile cannot be read: %w", err).About(options.ContextDir).Remedy("make it readable")
	}
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) > 1 && strings.EqualFold(words[0], "FROM") && IsDefault(words[1]) {
			_, err := s.Ensure(ctx, d, Default, report)
			return err
		}
	}
	return nil
}

// take waits for the turn to build in a driver.
func (s *Images) take(ctx context.Context, name string, report func(driver.Progress)) (leave func(), err error) {
	s.mu.Lock()
	if s.door[name] == nil {
		s.door[name] = make(chan struct{}, 1)
	}
	door := s.door[name]
	s.mu.Unlock()
	select {
	case door <- struct{}{}:
		return func() { <-door }, nil
	default:
		report(driver.Progress{Phase: "build", Message: "waiting for another build"})
	}
	select {
	case door <- struct{}{}:
		return func() { <-door }, nil
	case <-ctx.Done():
		return nil, driver.AsError(context.Cause(ctx))
	}
}

// base finds what to build Default on: the configured one, the public one or,
// where that cannot be had, the one made on this machine.
func (s *Images) base(ctx context.Context, d driver.Driver, report func(driver.Progress)) (string, error) {
	wanted := cmp.Or(s.options.Base, PublicBase)
	ensurer, err := driver.ImageEnsurerOf(d)
	if err != nil {
		return wanted, nil //nolint:nilerr // the build itself fetches it
	}
	late := driver.Errorf(driver.Timeout, "the image %s was not pulled in %s", wanted, baseTimeout).About(wanted)
	bounded, cancel := context.WithTimeoutCause(ctx, baseTimeout, late)
	defer cancel()
	report(driver.Progress{Phase: "pull", Message: "pulling " + wanted + " to build on"})
	_, err = ensurer.EnsureImage(bounded, wanted, driver.PullMissing, report)
	if err == nil {
		return wanted, nil
	}
	if ctx.Err() != nil {
		return "", driver.AsError(context.Cause(ctx))
	}
	if s.options.Base == "" {
		if _, localErr := look(ctx, ensurer, LocalBase); localErr == nil {
			s.log.Info("the public base image cannot be had; the local one is used", "base", LocalBase, "error", err)
			report(driver.Progress{Phase: "build", Message: "no " + wanted + " can be had; building on " + LocalBase})
			return LocalBase, nil
		}
	}
	if bounded.Err() != nil {
		err = late
	}
	failed := *driver.AsError(err)
	failed.Remedies = append(slices.Clone(failed.Remedies),
		driver.Remedy{Text: "see that this machine reaches the registry of " + wanted},
		driver.Remedy{Text: "or make a base from Debian's packages with scripts/base-image.sh of sero's sources, which tags it " + LocalBase})
	return "", &failed
}

// writeContext puts what Default is built from, and the certificates that the
// machine trusts, into a new directory.
func (s *Images) writeContext() (string, error) {
	dir, err := os.MkdirTemp("", "sero-image-")
	if err != nil {
		return "", driver.Errorf(driver.Internal, "the build cannot be prepared: %w", err)
	}
	err = os.CopyFS(dir, images.SeroNode())
	if err == nil {
		err = copyCertificates(filepath.Join(dir, "certificates"), s.options.Certificates)
	}
	if err != nil {
		_ = os.RemoveAll(dir)
		return "", driver.Errorf(driver.Internal, "the build cannot be prepared: %w", err).About(dir).Remedy("make room in " + os.TempDir())
	}
	return dir, nil
}

// shippedSource is the hash of what this binary builds Default from.
func shippedSource() string {
	sum := sha256.New()
	_ = fs.WalkDir(images.SeroNode(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := fs.ReadFile(images.SeroNode(), name)
		sum.Write([]byte(name + "\x00"))
		sum.Write(text)
		return err
	})
	return hex.EncodeToString(sum.Sum(nil)[:16])
}
