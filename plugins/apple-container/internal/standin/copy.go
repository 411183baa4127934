package main

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// copyFiles copies one way between this machine and a running container: facts 4.5.
func copyFiles(ctx context.Context, s *session) error {
	source, err := parseCopyPath(s.call.Arg("source"))
	if err != nil {
		return err
	}
	target, err := parseCopyPath(s.call.Arg("destination"))
	if err != nil {
		return err
	}
	switch {
	case source.container != "" && target.container != "":
		return failure(invalidArgument, "copying between containers is not supported")
	case source.container == "" && target.container == "":
		return failure(invalidArgument, "one of source or destination must be a container reference (container_id:path)")
	case target.container != "":
		return s.copyIn(ctx, source.path, target)
	default:
		return s.copyOut(ctx, source, target.path)
	}
}

type copyPath struct{ container, path string }

func parseCopyPath(text string) (copyPath, error) {
	pieces := strings.Split(text, ":")
	switch {
	case len(pieces) == 1:
		return copyPath{path: text}, nil
	case len(pieces) == 2 && pieces[0] != "" && strings.HasPrefix(pieces[1], "/"):
		return copyPath{container: pieces[0], path: pieces[1]}, nil
	default:
		return copyPath{}, failure(invalidArgument, "invalid path given: %s", text)
	}
}

func (s *session) copyIn(ctx context.Context, local string, to copyPath) error {
	info, err := os.Stat(local)
	switch {
	case err != nil:
		return failure(notFound, "source path does not exist: %s", local)
	case strings.HasSuffix(local, "/") && !info.IsDir():
		return failure(invalidArgument, "source path is not a directory: %s", local)
	}
	r, err := s.running(ctx, to.container)
	if err != nil {
		return failure(internalError, "failed to copy into container %s", to.container).because(err)
	}
	directory, name := path.Split(strings.TrimSuffix(to.path, "/"))
	if strings.HasSuffix(to.path, "/") || s.isDirectory(ctx, r, to.path) {
		directory, name = to.path, filepath.Base(local)
	}
	maker := &execution{s: s, container: r}
	if err := maker.makeDirectory(ctx, directory); err != nil {
		return err
	}
	reader, writer := io.Pipe()
	go func() { writer.CloseWithError(archive(writer, local, name)) }()
	err = s.engine.Call(ctx, http.MethodPut, "/containers/"+r.EngineID+"/archive", url.Values{"path": {directory}}, reader, nil)
	if err != nil {
		return failure(internalError, "failed to copy into container %s", to.container).because(err)
	}
	s.printf("%s:%s\n", to.container, path.Join(directory, name))
	return nil
}

func (s *session) isDirectory(ctx context.Context, r record, where string) bool {
	// A path that ends in /. is only there for a directory.
	answer, err := s.engine.Stream(ctx, http.MethodHead, "/containers/"+r.EngineID+"/archive", url.Values{"path": {where + "/."}}, nil)
	if err != nil {
		return false
	}
	answer.Close()
	return true
}

// archive writes a file or a directory under a name.
func archive(to io.Writer, root, name string) error {
	w := tar.NewWriter(to)
	err := filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return appendFile(w, root, file, name, entry)
	})
	return errors.Join(err, w.Close())
}

func appendFile(w *tar.Writer, root, file, name string, entry fs.DirEntry) error {
	info, err := entry.Info()
	if err != nil {
		return err
	}
	link := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		if link, err = os.Readlink(file); err != nil {
			return err
		}
	}
	header, err := tar.FileInfoHeader(info, filepath.ToSlash(link))
	if err != nil {
		return err
	}
	below, err := filepath.Rel(root, file)
	if err != nil {
		return err
	}
	header.Name = path.Join(name, filepath.ToSlash(below))
	header.Uid, header.Gid, header.Uname, header.Gname = 0, 0, "", ""
	if err := w.WriteHeader(header); err != nil || !info.Mode().IsRegular() {
		return err
	}
	content, err := os.Open(file)
	if err != nil {
		return err
	}
	defer content.Close()
	_, err = io.Copy(w, content)
	return err
}

func (s *session) copyOut(ctx context.Context, from copyPath, local string) error {
	r, err := s.running(ctx, from.container)
	if err != nil {
		return failure(internalError, "failed to copy from container %s", from.container).because(err)
	}
	content, err := s.engine.Stream(ctx, http.MethodGet, "/containers/"+r.EngineID+"/archive", url.Values{"path": {from.path}}, nil)
	if err != nil {
		return failure(internalError, "failed to copy from container %s", from.container).because(err)
	}
	defer content.Close()
	target := local
	if info, err := os.Stat(local); err == nil && info.IsDir() {
		target = filepath.Join(local, path.Base(from.path))
	}
	if err := unpack(content, target); err != nil {
		return failure(internalError, "failed to copy from container %s", from.container).because(err)
	}
	s.printf("%s\n", target)
	return nil
}

// unpack writes an archive whose first part is the copied thing itself.
func unpack(from io.Reader, target string) error {
	archive := tar.NewReader(from)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		_, below, _ := strings.Cut(strings.Trim(header.Name, "/"), "/")
		if !filepath.IsLocal(filepath.Join(".", below)) {
			return errors.New("the archive leaves its directory")
		}
		file := filepath.Join(target, below)
		switch header.Typeflag {
		case tar.TypeDir:
			err = os.MkdirAll(file, 0o755) //nolint:gosec // as the CLI does
		case tar.TypeSymlink:
			err = os.Symlink(header.Linkname, file)
		case tar.TypeReg:
			err = writeFile(file, archive, fs.FileMode(header.Mode).Perm()) //nolint:gosec // only the permission bits
		}
		if err != nil {
			return err
		}
	}
}

func writeFile(name string, from io.Reader, mode fs.FileMode) error {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, from)
	return errors.Join(err, file.Close())
}
