// Command standin behaves like Apple's `container` CLI, for the tests of the
// driver that drives it: the same command line, exit codes, texts and JSON,
// version by version, with real containers of the local Docker Engine below. It
// has the known defects of the version that it plays, and more faults on demand.
// It is built by tests only; by hand:
//
//	SERO_STANDIN_VERSION=1.2.2 ./standin system status
//
// Settings come from the environment, and from the file beside the binary with
// the binary's name and ".env", so that a caller that clears the environment
// still gets the same stand-in. See settings.go.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/sero-labs/sero-runtime/plugins/apple-container/internal/standin/engine"
	"github.com/sero-labs/sero-runtime/plugins/apple-container/internal/standin/grammar"
)

func main() {
	os.Exit(run(os.Args[1:])) //nolint:forbidigo // this is the main
}

// session is one invocation.
type session struct {
	settings settings
	version  grammar.Version
	call     *grammar.Call
	state    *state
	engine   *engine.Client
	faults   faults
	stdout   *output
}

func run(argv []string) int {
	s, err := newSession(argv)
	if err == nil {
		err = s.run(context.Background(), argv)
	}
	if s == nil {
		fmt.Fprintln(os.Stderr, "stand-in:", err)
		return exitFailure
	}
	return s.report(err)
}

func newSession(argv []string) (*session, error) {
	set, err := readSettings()
	if err != nil {
		return nil, err
	}
	version, err := grammar.ParseVersion(set.version)
	if err != nil {
		return nil, err
	}
	s := &session{settings: set, version: version, engine: engine.New(set.engine)}
	if s.state, err = openState(set.state); err != nil {
		return nil, err
	}
	if s.faults, err = readFaults(set, s.state); err != nil {
		return nil, err
	}
	s.stdout = &output{to: os.Stdout}
	return s, journal(set, argv)
}

func (s *session) run(ctx context.Context, argv []string) error {
	g, err := grammar.For(s.version)
	if err != nil {
		return err
	}
	if s.call, err = g.Parse(argv); err != nil {
		return err
	}
	switch {
	case s.call.Version:
		s.printf("container CLI version %s (build: release, commit: %s)\n", s.version, commit(s.version))
		return nil
	case s.call.Help:
		s.printf("OVERVIEW: A container platform for macOS\n")
		return nil
	}
	if os.Getenv("CONTAINER_DEBUG") != "" {
		fmt.Fprintf(os.Stderr, "debug com.apple.container: %q\n", argv)
	}
	c, ok := commands[s.call.Command]
	if !ok {
		return failure(unsupported, "the stand-in has no %s", s.call.Command)
	}
	if c.validate != nil {
		if err := c.validate(s); err != nil {
			return err
		}
	}
	if err := s.applyFaults(ctx); err != nil {
		return err
	}
	if !c.local {
		if err := s.reach(); err != nil {
			return err
		}
	}
	return c.run(ctx, s)
}

// command is what happens once the command line has been understood.
type command struct {
	validate func(*session) error // what is refused before the server is asked
	run      func(context.Context, *session) error
	local    bool // works without the server
}

var commands map[string]command

func init() {
	commands = map[string]command{
		"system status":   {run: systemStatus, local: true},
		"system start":    {run: systemStart, local: true},
		"system stop":     {run: systemStop, local: true},
		"system version":  {run: systemVersion, local: true},
		"system df":       {run: systemDF},
		"create":          {run: createContainer},
		"run":             {run: runContainer},
		"start":           {run: startContainer},
		"exec":            {run: execContainer},
		"stop":            {run: stopContainers, validate: idsOrAll},
		"kill":            {run: killContainers, validate: idsOrAll},
		"delete":          {run: deleteContainers, validate: idsOrAll},
		"list":            {run: listContainers},
		"inspect":         {run: inspectContainers},
		"logs":            {run: containerLogs},
		"stats":           {run: containerStats},
		"copy":            {run: copyFiles},
		"image list":      {run: listImages},
		"image inspect":   {run: inspectImages},
		"image pull":      {run: pullImage},
		"image tag":       {run: tagImage},
		"image delete":    {run: deleteImages, validate: imagesOrAll},
		"image load":      {run: loadImages},
		"build":           {run: buildImage},
		"builder start":   {run: builderStart},
		"builder stop":    {run: builderStop},
		"builder delete":  {run: builderDelete},
		"builder status":  {run: builderStatus},
		"network list":    {run: listNetworks},
		"network inspect": {run: inspectNetworks},
		"network create":  {run: createNetwork},
		"network delete":  {run: deleteNetworks},
	}
}

// output is what a command writes to stdout; a fault may cut it short.
type output struct {
	to    *os.File
	limit int // bytes; 0 is no limit
	wrote int
}

func (o *output) Write(p []byte) (int, error) {
	whole := len(p)
	if o.limit > 0 {
		p = p[:min(len(p), max(o.limit-o.wrote, 0))]
	}
	o.wrote += len(p)
	if _, err := o.to.Write(p); err != nil {
		return 0, err
	}
	return whole, nil
}

func (s *session) printf(format string, args ...any) { fmt.Fprintf(s.stdout, format, args...) }
