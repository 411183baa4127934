package main

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/sero-labs/sero-runtime/plugins/apple-container/internal/standin/engine"
)

// imageRecord is an image as a container remembers it.
type imageRecord struct {
	Reference string
	EngineID  string // sha256:…, which is the digest too
	Size      int64
}

func (i imageRecord) descriptor() map[string]any {
	return map[string]any{
		"mediaType": "application/vnd.oci.image.index.v1+json", "digest": i.EngineID, "size": i.Size,
	}
}

// imageConfig is the part of the OCI image document that a container uses.
type imageConfig struct {
	User         string              `json:",omitempty"`
	Env          []string            `json:",omitempty"`
	Entrypoint   []string            `json:",omitempty"`
	Cmd          []string            `json:",omitempty"`
	WorkingDir   string              `json:",omitempty"`
	Labels       map[string]string   `json:",omitempty"`
	ExposedPorts map[string]struct{} `json:",omitempty"`
	StopSignal   string              `json:",omitempty"`
}

// image is an image of the engine.
type image struct {
	imageRecord
	config  imageConfig
	created time.Time
}

// storedImage is a line of the image store.
type storedImage struct {
	EngineID string
	Tag      string `json:",omitempty"` // in the engine, of an image that was built or loaded here
}

// A store is references to images. What it holds at first is in the settings:
// references of the engine separated by commas, "NAME=ENGINE-REFERENCE" for one
// that has another name there. Empty is all that the engine has.

func (s *session) images(ctx context.Context) (map[string]storedImage, error) {
	store := map[string]storedImage{}
	found, err := s.state.read(&store, "images.json")
	if err != nil {
		return nil, err
	}
	if !found {
		for name, reference := range mapping(s.settings.images) {
			img, err := s.engineImage(ctx, reference)
			if err != nil {
				return nil, fmt.Errorf("the stand-in's image store cannot be filled with %s: %w", reference, err)
			}
			store[full(name)] = storedImage{EngineID: img.EngineID}
		}
		if s.settings.images == "" {
			if err := s.allOfEngine(ctx, store); err != nil {
				return nil, err
			}
		}
	}
	if s.faulty("images-missing") {
		maps.DeleteFunc(store, func(_ string, i storedImage) bool { return i.Tag == "" })
	}
	return store, nil
}

func (s *session) allOfEngine(ctx context.Context, store map[string]storedImage) error {
	var list []struct {
		Id       string //nolint:revive // the engine's spelling
		RepoTags []string
	}
	if err := s.engine.Call(ctx, http.MethodGet, "/images/json", nil, nil, &list); err != nil {
		return err
	}
	for _, img := range list {
		for _, tag := range img.RepoTags {
			if tag != "<none>:<none>" {
				store[full(tag)] = storedImage{EngineID: img.Id}
			}
		}
	}
	return nil
}

func mapping(text string) map[string]string {
	pairs := map[string]string{}
	for item := range strings.SplitSeq(text, ",") {
		name, reference, ok := strings.Cut(item, "=")
		if !ok {
			reference = name
		}
		if name != "" {
			pairs[name] = reference
		}
	}
	return pairs
}

// changeImages changes the store under its lock.
func (s *session) changeImages(ctx context.Context, change func(map[string]storedImage) error) error {
	release, err := s.state.lock("images")
	if err != nil {
		return err
	}
	defer release()
	store, err := s.images(ctx)
	if err != nil {
		return err
	}
	if err := change(store); err != nil {
		return err
	}
	return s.state.write(store, "images.json")
}

// full is a reference with registry, library/ and tag filled in.
func full(reference string) string {
	first, _, pathed := strings.Cut(reference, "/")
	switch {
	case !pathed:
		reference = "docker.io/library/" + reference
	case !strings.ContainsAny(first, ".:") && first != "localhost":
		reference = "docker.io/" + reference
	}
	if !strings.Contains(reference[strings.LastIndex(reference, "/")+1:], ":") && !strings.Contains(reference, "@") {
		reference += ":latest"
	}
	return reference
}

func (s *session) engineImage(ctx context.Context, reference string) (image, error) {
	var answer struct {
		Id      string //nolint:revive // the engine's spelling
		Size    int64
		Created time.Time
		Config  imageConfig
	}
	if err := s.engine.Call(ctx, http.MethodGet, "/images/"+reference+"/json", nil, nil, &answer); err != nil {
		return image{}, err
	}
	return image{
		imageRecord: imageRecord{Reference: full(reference), EngineID: answer.Id, Size: answer.Size},
		config:      answer.Config, created: answer.Created,
	}, nil
}

// find looks an image up in the store; ok is false where there is none.
func (s *session) find(ctx context.Context, reference string) (img image, ok bool, err error) {
	store, err := s.images(ctx)
	if err != nil {
		return image{}, false, err
	}
	stored, ok := store[full(reference)]
	if !ok {
		return image{}, false, nil
	}
	img, err = s.engineImage(ctx, stored.EngineID)
	if engine.NotFound(err) { // somebody else removed it meanwhile
		return image{}, false, nil
	}
	img.Reference = full(reference)
	return img, err == nil, err
}

// fetch is what create and run do: look it up, else pull.
func (s *session) fetch(ctx context.Context, reference string) (image, error) {
	img, ok, err := s.find(ctx, reference)
	if err != nil || ok {
		return img, err
	}
	if err := s.pull(ctx, reference); err != nil {
		return image{}, err
	}
	img, _, err = s.find(ctx, reference)
	return img, err
}

// pull takes an image from the registry, which is the local engine.
func (s *session) pull(ctx context.Context, reference string) error {
	name := full(reference)
	repository, tag, _ := strings.Cut(strings.TrimPrefix(name, "docker.io/"), ":")
	refused := func(status, reason string) error {
		return failure(internalError, "HTTP request to https://registry-1.docker.io/v2/%s/manifests/%s failed with response: %s. Reason: %s",
			repository, tag, status, reason)
	}
	if s.strikes("pull-fails") {
		return refused("503 Service Unavailable", "Unknown")
	}
	from := name
	if s.settings.hub != "" {
		from = ""
		for known, reference := range mapping(s.settings.hub) {
			if full(known) == name {
				from = reference
			}
		}
	}
	if from == "" || s.faulty("images-missing") {
		return refused("401 Unauthorized", "access denied or wrong credentials")
	}
	img, err := s.engineImage(ctx, from)
	if err != nil {
		return refused("401 Unauthorized", "access denied or wrong credentials")
	}
	return s.changeImages(ctx, func(store map[string]storedImage) error {
		store[name] = storedImage{EngineID: img.EngineID}
		return nil
	})
}

func pullImage(ctx context.Context, s *session) error {
	progress, _ := s.call.Last("--progress")
	if s.version.AtLeast(0, 12) && progress != "none" {
		fmt.Fprintln(os.Stderr, "[1/2] Fetching image")
	}
	if err := s.pull(ctx, s.call.Arg("reference")); err != nil {
		return err
	}
	if s.version.AtLeast(0, 12) && progress != "none" {
		fmt.Fprintln(os.Stderr, "[2/2] Unpacking image")
	}
	return nil
}

func tagImage(ctx context.Context, s *session) error {
	source, target := s.call.Arg("source"), s.call.Arg("target")
	err := s.changeImages(ctx, func(store map[string]storedImage) error {
		img, ok := store[full(source)]
		if !ok {
			return failure(notFound, "image with reference %s", source)
		}
		store[full(target)] = img
		return nil
	})
	if err == nil {
		s.printf("%s\n", full(target))
	}
	return err
}

func deleteImages(ctx context.Context, s *session) error {
	names := s.call.Args("images")
	var missing, made []string
	err := s.changeImages(ctx, func(store map[string]storedImage) error {
		if s.call.Has("--all") {
			names = slices.Collect(maps.Keys(store))
		}
		for _, name := range names {
			img, ok := store[full(name)]
			if !ok {
				missing = append(missing, name)
				continue
			}
			delete(store, full(name))
			s.printf("%s\n", full(name))
			if img.Tag != "" {
				made = append(made, img.Tag)
			}
		}
		// Another name may keep an image.
		made = slices.DeleteFunc(made, func(tag string) bool {
			return slices.ContainsFunc(slices.Collect(maps.Values(store)), func(i storedImage) bool { return i.Tag == tag })
		})
		return nil
	})
	if err != nil {
		return err
	}
	for _, tag := range made {
		// A container may keep it: the engine's refusal is not the CLI's.
		_ = s.engine.Call(ctx, http.MethodDelete, "/images/"+tag, nil, nil, nil)
	}
	if len(missing) < len(names) {
		if s.version.AtLeast(1, 0) {
			fmt.Fprintln(os.Stderr, "Reclaimed Zero KB in disk space")
		} else {
			s.printf("Reclaimed Zero KB in disk space\n")
		}
	}
	if len(missing) > 0 && !s.call.Has("--force") {
		return failure(internalError, "failed to delete one or more images: [%s]", quoted(missing))
	}
	return nil
}

func listImages(ctx context.Context, s *session) error {
	format, _ := s.call.Last("--format")
	quiet, verbose := s.call.Has("--quiet"), s.call.Has("--verbose")
	switch {
	case quiet && verbose:
		return failure(invalidArgument, "cannot use flag --quiet and --verbose together")
	case (quiet || verbose) && format == "json" && !s.version.AtLeast(1, 0):
		return failure(invalidArgument, "cannot use flag --quiet or --verbose with --format json")
	}
	store, err := s.images(ctx)
	if err != nil {
		return err
	}
	documents := []any{}
	for _, reference := range slices.Sorted(maps.Keys(store)) {
		img, err := s.engineImage(ctx, store[reference].EngineID)
		if engine.NotFound(err) { // somebody else removed it meanwhile
			continue
		}
		if err != nil {
			return err
		}
		img.Reference = reference
		documents = append(documents, s.imageLine(img))
		if format != "json" {
			s.printf("%s\n", reference)
		}
	}
	if format != "json" {
		return nil
	}
	if f, ok := s.fault("image-goes"); ok {
		gone := image{imageRecord: imageRecord{Reference: full(f.value), EngineID: "sha256:" + strings.Repeat("0", 64)}}
		documents = append(documents, s.imageLine(gone))
	}
	return s.emitJSON(documents, false)
}

// imageLine is an element of image list: facts 3.2.
func (s *session) imageLine(img image) map[string]any {
	if s.shape().AtLeast(1, 0) {
		return s.imageDocument(img)
	}
	line := map[string]any{"reference": img.Reference, "descriptor": img.descriptor()}
	if s.shape().AtLeast(0, 9) {
		line["fullSize"] = fmt.Sprintf("%.1f MB", float64(img.Size)/1e6)
	}
	return line
}

// imageDocument is an element of image inspect.
func (s *session) imageDocument(img image) map[string]any {
	variant := map[string]any{
		"platform": arm64(), "size": img.Size,
		"config": map[string]any{
			"architecture": "arm64", "os": "linux", "config": img.config,
			"rootfs": map[string]any{"type": "layers", "diff_ids": []string{}},
		},
	}
	attestation := map[string]any{
		"platform": map[string]any{"architecture": "unknown", "os": "unknown"}, "size": 1000,
		"config": map[string]any{"architecture": "unknown", "os": "unknown", "rootfs": map[string]any{"type": "layers", "diff_ids": []string{}}},
	}
	if !s.shape().AtLeast(1, 0) {
		return map[string]any{
			"name": img.Reference, "index": img.descriptor(), "variants": []any{attestation, variant},
		}
	}
	variant["digest"], attestation["digest"] = img.EngineID, img.EngineID
	return map[string]any{
		"id": strings.TrimPrefix(img.EngineID, "sha256:"),
		"configuration": map[string]any{
			"name": img.Reference, "descriptor": img.descriptor(), "creationDate": img.created.UTC().Format(time.RFC3339),
		},
		"variants": []any{attestation, variant},
	}
}

func inspectImages(ctx context.Context, s *session) error {
	documents := []any{}
	var missing []string
	for _, name := range s.call.Args("images") {
		img, ok, err := s.find(ctx, name)
		if err != nil {
			return err
		}
		if !ok {
			missing = append(missing, name)
			continue
		}
		documents = append(documents, s.imageDocument(img))
	}
	if s.version.AtLeast(1, 0) {
		if len(missing) > 0 {
			return failure(notFound, "image not found: %s", strings.Join(missing, ", "))
		}
		return s.emitJSON(documents, true)
	}
	if len(documents) > 0 {
		if err := s.emitJSON(documents, false); err != nil {
			return err
		}
	}
	switch {
	case len(missing) == 0:
		return nil
	case !s.version.AtLeast(0, 9):
		return failure(notFound, "images: %s", strings.Join(missing, ", "))
	}
	var dump []string
	for _, name := range missing {
		fmt.Fprintf(os.Stderr, "error ImageInspect: %s: Image not found\n", name)
		dump = append(dump, fmt.Sprintf("(%q, notFound: \"Image not found\")", name))
	}
	return plain("InspectError(succeeded: [], failed: [" + strings.Join(dump, ", ") + "])")
}
