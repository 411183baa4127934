package launch_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/sero-labs/sero-runtime/sdk/launch"
)

// TestA5WhatWasOpenedRuns exchanges a driver after it was opened, and so checked:
// what was opened runs, and knows its path. A script is run by its path.
func TestA5WhatWasOpenedRuns(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, exchange := range map[string]func(path string) error{
		"benign":    func(string) error { return nil },
		"exchanged": func(path string) error { return os.Rename(path+".bad", path) },
		"linked":    func(path string) error { return errors.Join(os.Remove(path), os.Symlink(path+".bad", path)) },
	} {
		for _, script := range []bool{false, true} {
			if script && name != "benign" {
				continue
			}
			dir := t.TempDir()
			path := filepath.Join(dir, "sero-driver-toy")
			if script {
				err = os.WriteFile(path, []byte("#!/bin/sh\nexec '"+self+"'\n"), 0o700)
			} else {
				err = copyProgram(self, path)
			}
			err = errors.Join(err, os.WriteFile(path+".bad", []byte("#!/bin/sh\nexit 3\n"), 0o700))
			if err != nil {
				t.Fatal(err)
			}
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := exchange(path); err != nil {
				t.Fatal(err)
			}
			run, err := os.MkdirTemp("", "sl") //nolint:usetesting // short: sockets live below it
			if err != nil {
				t.Fatal(err)
			}
			p, err := launch.Start(t.Context(), launch.Config{
				Path: path, File: f, Env: []string{"SERO_TEST_DRIVER=good", "PATH=" + os.Getenv("PATH")}, RunDir: run, HostVersion: "0.1.0",
			})
			_ = f.Close()
			if err != nil {
				t.Errorf("%s, script %v: %v", name, script, err)
			} else {
				err = p.Close(t.Context())
			}
			if err := errors.Join(err, os.RemoveAll(run)); err != nil {
				t.Error(err)
			}
		}
	}
}

func copyProgram(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o700)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
