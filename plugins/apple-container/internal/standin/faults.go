package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/sero-labs/sero-runtime/plugins/apple-container/internal/standin/grammar"
)

// faults is a script: statements such as "wedge:exec" or "delete-fails=3",
// separated by lines or semicolons. NAME:COMMAND=VALUE; without a command it is
// for all. The names are below, in [knownFaults].
type faults []fault

type fault struct {
	name    string
	command string // "" for every command
	value   string
}

// knownFaults are the names that a script may use, and what they do.
var knownFaults = map[string]string{
	"wedge":             "never answer (every command that asks the server, or the named one)",
	"slow":              "wait for a duration first",
	"xpc-down":          "the API server is registered and does not answer: Connection invalid",
	"xpc-interrupted":   "the first N calls end with Connection interrupted",
	"system-stopped":    "the system is found stopped, once",
	"kernel-missing":    "there is no default kernel at system start, once",
	"ghost":             "ID is listed, its config.json is gone: inspect, start and exec fail",
	"ghost-inspectable": "the same, but inspect still answers from memory",
	"storage-gone":      "ID cannot start: its disk image is gone",
	"stale-name":        "ID is neither listed nor to be inspected, yet the name is taken",
	"truncate":          "stdout ends after N bytes",
	"half-json":         "stdout ends in the middle of the JSON, always or the first N times",
	"json-version":      "JSON is that of another version",
	"delete-fails":      "the first N deletes fail with a stale exec process",
	"start-fails":       "the first N starts fail",
	"exec-not-running":  "the first N execs find the container not running",
	"no-address":        "the first N answers about containers show no address",
	"images-missing":    "the image store is empty and the registry does not know the image",
	"image-goes":        "an image of this name is listed, and gone when it is inspected",
	"pull-fails":        "the first N pulls fail with the registry's 503",
	"builder-down":      "the builder cannot be reached",
	"subnet-changed":    "a system start gives the default network another subnet",
	"server-version":    "the server is still an older one, as after an upgrade",
	"macos15":           "no network commands",
	"with":              "switch a defect on",
	"without":           "switch a defect off",
	"stats-pause":       "how long stats waits between its two samples, 2s unless set",
}

func readFaults(set settings, st *state) (faults, error) {
	script := set.faults
	if filepath.IsAbs(script) {
		text, err := os.ReadFile(script)
		if err != nil {
			return nil, err
		}
		script = string(text)
	}
	// What is in the state directory can change while a driver runs.
	text, err := os.ReadFile(st.path("faults"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return parseFaults(script + "\n" + string(text))
}

func parseFaults(script string) (faults, error) {
	var all faults
	split := func(r rune) bool { return r == '\n' || r == ';' }
	for _, statement := range strings.FieldsFunc(script, split) {
		statement = strings.TrimSpace(statement)
		if statement == "" || strings.HasPrefix(statement, "#") {
			continue
		}
		left, value, _ := strings.Cut(statement, "=")
		name, command, _ := strings.Cut(left, ":")
		if knownFaults[name] == "" {
			return nil, fmt.Errorf("no fault %q", name)
		}
		all = append(all, fault{name: name, command: command, value: value})
	}
	return all, nil
}

// find gives the fault of a name that concerns this call.
func (s *session) fault(name string) (fault, bool) {
	for _, f := range s.faults {
		if f.name == name && (f.command == "" || f.command == s.call.Command) {
			return f, true
		}
	}
	return fault{}, false
}

func (s *session) faulty(name string) bool {
	_, ok := s.fault(name)
	return ok
}

// strikes tells whether a fault that happens N times happens now, and counts it.
func (s *session) strikes(name string) bool {
	f, ok := s.fault(name)
	if !ok {
		return false
	}
	limit, err := strconv.Atoi(f.value)
	if err != nil {
		limit = 1
	}
	happened, err := s.state.count(name + ":" + f.command)
	return err == nil && happened < limit
}

// applyFaults does what happens before a command gets anywhere.
func (s *session) applyFaults(ctx context.Context) error {
	if f, ok := s.fault("slow"); ok {
		pause, err := time.ParseDuration(f.value)
		if err != nil {
			return err
		}
		time.Sleep(pause)
	}
	if s.faulty("wedge") {
		// A signal still ends it, as it ends the CLI in the reply wait of XPCClient.
		time.Sleep(time.Duration(1<<63 - 1))
	}
	if f, ok := s.fault("truncate"); ok {
		limit, err := strconv.Atoi(f.value)
		if err != nil {
			return err
		}
		s.stdout.limit = limit
	}
	if s.faulty("system-stopped") && s.strikes("system-stopped") {
		if err := s.shutDown(ctx); err != nil {
			return err
		}
	}
	for _, f := range s.faults {
		if broken[f.name] && s.strikesFor(f) {
			if err := s.breakContainer(ctx, f.value, f.name); err != nil {
				return err
			}
		}
	}
	return nil
}

// broken are the faults that happen to one container, and stay until it is deleted.
var broken = map[string]bool{"ghost": true, "ghost-inspectable": true, "storage-gone": true, "stale-name": true}

// strikesFor is once for each container that a fault names, as soon as it exists.
func (s *session) strikesFor(f fault) bool {
	if f.name != "stale-name" && !s.state.exists(f.value) {
		return false
	}
	happened, err := s.state.count(f.name + "=" + f.value)
	return err == nil && happened == 0
}

// shape is the version whose JSON is printed.
func (s *session) shape() grammar.Version {
	if f, ok := s.fault("json-version"); ok {
		if v, err := grammar.ParseVersion(f.value); err == nil {
			return v
		}
	}
	return s.version
}

// defect is a fault of the CLI itself, in the versions from since to before until.
type defect struct {
	name         string
	since, until grammar.Version
}

// defects are on in the versions that have them; "with" and "without" in a
// script change that. The numbers are issues of apple/container.
var defects = []defect{
	{name: "stdin-nonblocking"}, // #1148: -i cuts the output where stdin and stdout are one file
	{name: "missing-executable-hangs", until: grammar.Version{0, 11, 0}}, // #1277, with -it
	{name: "redirect-ignored", until: grammar.Version{0, 8, 0}},          // #949, with -it
	{name: "terminal-output-processing"},                                 // #2299: the raw terminal still turns LF into CR LF
	{name: "signals-lost", since: grammar.Version{1, 0, 0}},              // #1747, #1876
	{name: "mac-signal-numbers", until: grammar.Version{1, 0, 0}},        // facts 4.3, 6.4
	{name: "exec-breaks-container", until: grammar.Version{0, 9, 0}},     // #1058
	{name: "drain-fails"},      // facts 6.2: a grandchild with stdout open
	{name: "environment-kept"}, // facts 6.1: exec -e does not override
	{name: "stats-by-prefix", until: grammar.Version{0, 10, 0}}, // facts 3.4
	{name: "duplicate-share", until: grammar.Version{0, 10, 0}}, // #380
	{name: "first-mount-decides", since: grammar.Version{0, 10, 0}, until: grammar.Version{1, 0, 0}},
	{name: "last-mount-decides", since: grammar.Version{1, 0, 0}},
}

// has tells whether the CLI that is played has a defect.
func (s *session) has(name string) bool {
	for _, f := range s.faults {
		if f.value == name && (f.name == "with" || f.name == "without") {
			return f.name == "with"
		}
	}
	for _, d := range defects {
		if d.name == name {
			return !s.version.Before(d.since) && (d.until == grammar.Version{} || s.version.Before(d.until))
		}
	}
	return false
}
