package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sero-labs/sero-runtime/plugins/apple-container/internal/standin/grammar"
)

const builderID = "buildkit"

// buildImage builds with the engine's own builder. The image gets its names in
// the store only, so that nobody else's name in the engine is moved.
func buildImage(ctx context.Context, s *session) error {
	directory := s.call.Arg("context-dir")
	if directory == "" {
		directory = "."
	}
	dockerfile, err := s.dockerfile(directory)
	if err != nil {
		return err
	}
	if s.faulty("builder-down") {
		return failure(timeout, "Timeout waiting for connection to builder")
	}
	if err := s.runBuilder(ctx); err != nil {
		return err
	}
	tags := s.call.All("--tag")
	if len(tags) == 0 {
		tags = []string{newUUID()}
	}
	made := s.ownTag(newUUID())
	id, err := s.buildBelow(ctx, directory, dockerfile, made)
	if err != nil {
		return err
	}
	err = s.changeImages(ctx, func(store map[string]storedImage) error {
		for _, tag := range tags {
			store[full(tag)] = storedImage{EngineID: id, Tag: made}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if s.version.AtLeast(1, 0) {
		for _, tag := range tags {
			s.printf("%s\n", full(tag))
		}
		return nil
	}
	s.printf("Successfully built %s\n", strings.Join(tags, ", "))
	return nil
}

// dockerfile finds and reads it: facts 9.
func (s *session) dockerfile(directory string) ([]byte, error) {
	usage := func(format string, args ...any) error {
		return &grammar.UsageError{Message: fmt.Sprintf(format, args...), Usage: "Usage: container build [<options>] [<context-dir>]\n  See 'container build --help' for more information."}
	}
	if info, err := os.Stat(directory); err != nil || !info.IsDir() {
		return nil, usage("context dir does not exist %s", directory)
	}
	file, given := s.call.Last("--file")
	if file == "-" && s.version.AtLeast(0, 11) {
		return io.ReadAll(os.Stdin)
	}
	candidates := []string{filepath.Join(directory, "Dockerfile"), filepath.Join(directory, "Containerfile")}
	if given {
		candidates = []string{file}
	}
	for _, candidate := range candidates {
		text, err := os.ReadFile(candidate)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil && len(text) >= 16<<10 && s.version.AtLeast(1, 0) {
			return nil, failure(invalidArgument, "Dockerfile size %d exceeds the limit of 16384 bytes", len(text))
		}
		return text, err
	}
	if s.version.AtLeast(0, 11) {
		return nil, usage("dockerfile does not exist at path %s", candidates[0])
	}
	return nil, failure(internalError, "failed to read dockerfile at path %s", candidates[0])
}

const dockerfileName = ".standin.Dockerfile"

// ownTag is a name in the engine for an image of this state.
func (s *session) ownTag(name string) string { return "standin-" + s.state.id + ":" + name }

func (s *session) buildBelow(ctx context.Context, directory string, dockerfile []byte, tag string) (id string, err error) {
	arguments := map[string]string{}
	for _, argument := range s.call.All("--build-arg") {
		name, value, _ := strings.Cut(argument, "=")
		arguments[name] = value
	}
	encoded, err := json.Marshal(arguments)
	if err != nil {
		return "", err
	}
	stamps := map[string]string{}
	for _, label := range s.call.All("--label") { // as they are: they do not go through Parser.labels
		name, value, _ := strings.Cut(label, "=")
		stamps[name] = value
	}
	labels, err := json.Marshal(stamps)
	if err != nil {
		return "", err
	}
	target, _ := s.call.Last("--target")
	query := url.Values{
		"dockerfile": {dockerfileName}, "buildargs": {string(encoded)}, "labels": {string(labels)}, "rm": {"1"}, "forcerm": {"1"},
		"target": {target}, "t": {tag},
	}
	if s.call.Has("--no-cache") {
		query.Set("nocache", "1")
	}
	reader, writer := io.Pipe()
	go func() { writer.CloseWithError(contextArchive(writer, directory, dockerfile)) }()
	defer func() { _ = reader.Close() }() // ends the writer, if the engine did not read it all
	answer, err := s.engine.Stream(ctx, http.MethodPost, "/build", query, io.Reader(reader))
	if err != nil {
		return "", failure(internalError, "%s", err)
	}
	defer answer.Close()
	id, layers, err := s.followBuild(answer)
	if err != nil {
		s.dropLayers(ctx, layers)
	}
	return id, err
}

// dropLayers removes what a build that failed had made so far, the newest first.
func (s *session) dropLayers(ctx context.Context, layers []string) {
	slices.Reverse(layers)
	for _, layer := range layers {
		var below struct{ RepoTags []string }
		path := "/images/" + layer
		if s.engine.Call(ctx, http.MethodGet, path+"/json", nil, nil, &below) == nil && len(below.RepoTags) == 0 {
			_ = s.engine.Call(ctx, http.MethodDelete, path, nil, nil, nil) // somebody else may use it by now
		}
	}
}

func contextArchive(to io.Writer, directory string, dockerfile []byte) error {
	w := tar.NewWriter(to)
	header := &tar.Header{Name: dockerfileName, Mode: 0o600, Size: int64(len(dockerfile)), ModTime: time.Now()}
	if err := w.WriteHeader(header); err != nil {
		return err
	}
	if _, err := io.Copy(w, bytes.NewReader(dockerfile)); err != nil {
		return err
	}
	root, err := filepath.EvalSymlinks(directory)
	if err != nil {
		return err
	}
	err = filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || file == root {
			return err
		}
		return appendFile(w, root, file, "", entry)
	})
	return errors.Join(err, w.Close())
}

// followBuild prints the builder's progress as lines on stderr, until the image.
// Layers are what it made on the way.
func (s *session) followBuild(from io.Reader) (id string, layers []string, err error) {
	decoder := json.NewDecoder(from)
	step, cached := 0, false
	for {
		var line struct {
			Stream, Error string
			Aux           struct{ ID string }
		}
		err := decoder.Decode(&line)
		switch {
		case errors.Is(err, io.EOF) && id == "":
			return "", layers, failure(internalError, "the builder ended without an image")
		case errors.Is(err, io.EOF):
			return id, nil, nil
		case err != nil:
			return "", layers, err
		case line.Error != "":
			return "", layers, failure(internalError, "failed to solve: %s", line.Error)
		case line.Aux.ID != "":
			id = line.Aux.ID
		}
		text := strings.TrimRight(line.Stream, "\n")
		if strings.HasPrefix(text, "Step ") {
			step, cached = step+1, false
		}
		layer, isLayer := strings.CutPrefix(text, " ---> ")
		cached = cached || layer == "Using cache"
		if isLayer && !cached && step > 1 && !strings.HasPrefix(layer, "Running") {
			layers = append(layers, layer)
		}
		if text != "" && !s.call.Has("--quiet") {
			fmt.Fprintf(os.Stderr, "#%d %s\n", step, text)
		}
	}
}

// loadImages takes an archive of docker save or OCI form; names that the engine
// already has keep their image there.
func loadImages(ctx context.Context, s *session) error {
	input, given := s.call.Last("--input")
	if !given && !s.version.AtLeast(0, 7) {
		return &grammar.UsageError{Message: "Missing expected argument '--input <input>'", Usage: "Usage: container image load --input <input>"}
	}
	from := os.Stdin
	if given {
		file, err := os.Open(input)
		if err != nil {
			if s.version.AtLeast(1, 0) {
				fmt.Fprintf(os.Stderr, "error: file does not exist: path=%s\n", input)
			} else {
				s.printf("File does not exist %s\n", input)
			}
			return exitCode(exitFailure)
		}
		defer file.Close()
		from = file
	}
	before := map[string]storedImage{}
	if err := s.allOfEngine(ctx, before); err != nil {
		return err
	}
	answer, err := s.engine.Stream(ctx, http.MethodPost, "/images/load", url.Values{"quiet": {"1"}}, io.Reader(from))
	if err != nil {
		return failure(internalError, "failed to load image").because(err)
	}
	defer answer.Close()
	names, err := loadedNames(answer)
	if err != nil {
		return failure(internalError, "failed to load image").because(err)
	}
	if err := s.adopt(ctx, names, before); err != nil {
		return err
	}
	if !s.version.AtLeast(1, 0) {
		s.printf("Loaded images:\n")
	}
	for _, name := range names {
		s.printf("%s\n", full(name))
	}
	return nil
}

func loadedNames(from io.Reader) (names []string, err error) {
	decoder := json.NewDecoder(from)
	for {
		var line struct{ Stream, Error string }
		err := decoder.Decode(&line)
		switch {
		case errors.Is(err, io.EOF):
			return names, nil
		case err != nil:
			return nil, err
		case line.Error != "":
			return nil, errors.New(line.Error)
		}
		if _, name, ok := strings.Cut(strings.TrimSpace(line.Stream), "Loaded image: "); ok {
			names = append(names, name)
		}
	}
}

// adopt moves loaded names from the engine into the store.
func (s *session) adopt(ctx context.Context, names []string, before map[string]storedImage) error {
	return s.changeImages(ctx, func(store map[string]storedImage) error {
		for _, name := range names {
			img, err := s.engineImage(ctx, name)
			if err != nil {
				return err
			}
			old, had := before[full(name)]
			tag := s.ownTag(strings.TrimPrefix(img.EngineID, "sha256:")[:12])
			store[full(name)] = storedImage{EngineID: img.EngineID, Tag: tag}
			if err := s.nameImage(ctx, img.EngineID, tag); err != nil {
				return err
			}
			if had && old.EngineID == img.EngineID {
				continue
			}
			if err := s.engine.Call(ctx, http.MethodDelete, "/images/"+name, nil, nil, nil); err != nil {
				return err
			}
			if had {
				if err := s.nameImage(ctx, old.EngineID, name); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// nameImage gives an image of the engine a name there.
func (s *session) nameImage(ctx context.Context, id, name string) error {
	at := strings.LastIndex(name, ":")
	query := url.Values{"repo": {name[:at]}, "tag": {name[at+1:]}}
	return s.engine.Call(ctx, http.MethodPost, "/images/"+id+"/tag", query, nil, nil)
}

// The builder is a container like others, with a name of its own: facts 9. There
// is nothing below it.

func (s *session) runBuilder(context.Context) error {
	release, err := s.state.lock("container-" + builderID)
	if err != nil {
		return err
	}
	defer release()
	r := record{
		ID: builderID, Created: time.Now(), Virtual: true, VirtualRun: true, CPUs: 2, Memory: 2 << 30, Rosetta: true,
		Image:    imageRecord{Reference: "ghcr.io/apple/container-builder-shim/builder:0.7.0"},
		Labels:   map[string]string{"com.apple.container.resource.role": "builder"},
		Networks: []networkRequest{{Network: "default"}},
		Process:  processRecord{Executable: "/usr/local/bin/container-builder-shim", Workdir: "/"},
	}
	if err := os.MkdirAll(s.state.path("containers", builderID), 0o700); err != nil {
		return err
	}
	return s.state.write(r, "containers", builderID, "config.json")
}

func builderStart(ctx context.Context, s *session) error {
	if s.faulty("builder-down") {
		return failure(internalError, "failed to bootstrap container").because(plain("Error Domain=VZErrorDomain Code=10001 \"Rosetta is not installed.\""))
	}
	return s.runBuilder(ctx)
}

func (s *session) builder() (record, bool, error) {
	return s.state.load(builderID)
}

func builderStop(ctx context.Context, s *session) error {
	r, found, err := s.builder()
	if err != nil || found {
		return errors.Join(err, s.halt(ctx, r))
	}
	s.printf("builder is not running\n")
	return nil
}

func builderDelete(ctx context.Context, s *session) error {
	r, found, err := s.builder()
	switch {
	case err != nil:
		return err
	case !found:
		return nil
	case r.VirtualRun && !s.call.Has("--force"):
		return failure(invalidState, "BuildKit container is not stopped, use --force to override")
	}
	return s.forget(ctx, builderID)
}

func builderStatus(ctx context.Context, s *session) error {
	all, err := s.snapshots(ctx)
	if err != nil {
		return err
	}
	snap, found := all[builderID]
	documents := []any{}
	if found {
		documents = slices.Insert(documents, 0, any(s.document(snap, true)))
	}
	if format, _ := s.call.Last("--format"); format == "json" {
		return s.emitJSON(documents, false)
	}
	if !found || snap.status != "running" {
		s.printf("builder is not running\n")
		return nil
	}
	s.printf("ID        IMAGE  STATE  ADDR  CPUS  MEMORY\nbuildkit  %s  running\n", snap.Image.Reference)
	return nil
}
