package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// settings say which CLI is played and where its things are.
type settings struct {
	version string // SERO_STANDIN_VERSION, 1.2.2 unless set
	state   string // SERO_STANDIN_STATE: a directory, made when missing
	journal string // SERO_STANDIN_JOURNAL: a file that gets one JSON line for each invocation
	faults  string // SERO_STANDIN_FAULTS: the script itself, or its absolute path
	images  string // SERO_STANDIN_IMAGES: what a fresh image store holds, see images.go
	hub     string // SERO_STANDIN_REGISTRY: what can be pulled, in the same form
	engine  string // SERO_STANDIN_ENGINE, else DOCKER_HOST
}

const newest = "1.2.2"

func readSettings() (settings, error) {
	values, err := beside()
	if err != nil {
		return settings{}, err
	}
	get := func(name, otherwise string) string {
		if value := os.Getenv(name); value != "" {
			return value
		}
		if value := values[name]; value != "" {
			return value
		}
		return otherwise
	}
	return settings{
		version: get("SERO_STANDIN_VERSION", newest),
		state:   get("SERO_STANDIN_STATE", filepath.Join(os.TempDir(), fmt.Sprintf("sero-standin-%d", os.Getuid()))),
		journal: get("SERO_STANDIN_JOURNAL", ""),
		faults:  get("SERO_STANDIN_FAULTS", ""),
		images:  get("SERO_STANDIN_IMAGES", ""),
		hub:     get("SERO_STANDIN_REGISTRY", ""),
		engine:  get("SERO_STANDIN_ENGINE", os.Getenv("DOCKER_HOST")),
	}, nil
}

// beside reads the file beside the binary, NAME=VALUE in each line.
func beside() (map[string]string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(self + ".env")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	values := map[string]string{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		if name, value, ok := strings.Cut(lines.Text(), "="); ok {
			values[name] = value
		}
	}
	return values, err
}

// entry is one line of the journal.
type entry struct {
	Time    time.Time `json:"time"`
	PID     int       `json:"pid"`
	Version string    `json:"version"`
	Argv    []string  `json:"argv"`
	Env     []string  `json:"env,omitempty"` // the CLI's own variables that were set
}

// journal notes an invocation, before anything can go wrong with it.
func journal(set settings, argv []string) error {
	if set.journal == "" {
		return nil
	}
	e := entry{Time: time.Now(), PID: os.Getpid(), Version: set.version, Argv: argv}
	for _, name := range []string{"CONTAINER_DEBUG", "CONTAINER_DEFAULT_PLATFORM"} {
		if value := os.Getenv(name); value != "" {
			e.Env = append(e.Env, name+"="+value)
		}
	}
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(set.journal, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = file.Write(append(line, '\n'))
	return err
}
