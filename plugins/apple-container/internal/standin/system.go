package main

import (
	"bufio"
	"context"
	"os"

	"github.com/sero-labs/sero-runtime/plugins/apple-container/internal/standin/grammar"
)

// commit is what a build says about itself; that of 0.12.3 is real (#1535).
func commit(v grammar.Version) string {
	if v == (grammar.Version{0, 12, 3}) {
		return "f989901"
	}
	return "1234567"
}

// reach is what a command finds when it asks the server for anything.
func (s *session) reach() error {
	err := s.connection()
	if err == nil {
		return nil
	}
	switch s.call.Command {
	case "list", "inspect", "start", "exec", "stop", "kill", "delete":
		return failure(internalError, "failed to list containers").because(err)
	default:
		return err
	}
}

func (s *session) connection() error {
	sys, err := s.state.system()
	switch {
	case err != nil:
		return err
	case !sys.Running, s.faulty("xpc-down"):
		return failure(interrupted, "XPC connection error: Connection invalid")
	case s.strikes("xpc-interrupted"):
		return failure(interrupted, "XPC connection error: Connection interrupted")
	case s.faulty("macos15") && len(s.call.Command) > 7 && s.call.Command[:7] == "network":
		return &grammar.UsageError{
			Message: "Plugin 'container-network' not found.",
			Usage:   "Usage: container [--debug] <subcommand>\n  See 'container --help' for more information.",
		}
	}
	return nil
}

// systemStatus has its texts on stdout in every case: facts 1.1.
func systemStatus(_ context.Context, s *session) error {
	sys, err := s.state.system()
	if err != nil {
		return err
	}
	state := "running"
	switch {
	case !sys.Running:
		state = "unregistered"
	case s.faulty("xpc-down"):
		state = "not running"
	}
	format, _ := s.call.Last("--format")
	switch {
	case format == "json":
		err = s.emitJSON(s.statusDocument(state), false)
	case state == "unregistered":
		s.printf("apiserver is not running and not registered with launchd\n")
	case state == "not running":
		s.printf("apiserver is not running\n")
	case s.version.AtLeast(0, 10):
		s.statusTable()
	default:
		s.printf("apiserver is running\napplication data root: %s/\napplication install root: %s\n"+
			"container-apiserver version: %s\ncontainer-apiserver commit: %s\n",
			s.state.dir, installRoot, s.serverVersion(), commit(s.version))
	}
	if err == nil && state != "running" {
		return exitCode(exitFailure)
	}
	return err
}

const installRoot = "/usr/local/"

// serverVersion is a whole sentence in the covered versions: facts 1.1.
func (s *session) serverVersion() string {
	version := s.version.String()
	if f, ok := s.fault("server-version"); ok {
		version = f.value
	}
	return "container-apiserver version " + version + " (build: release, commit: " + commit(s.version) + ")"
}

func (s *session) statusDocument(state string) map[string]any {
	document := map[string]any{
		"status": state, "appRoot": "", "installRoot": "", "apiServerVersion": "",
		"apiServerCommit": "", "apiServerBuild": "", "apiServerAppName": "",
	}
	if state == "running" {
		document["appRoot"], document["installRoot"] = s.state.dir+"/", installRoot
		document["apiServerVersion"], document["apiServerCommit"] = s.serverVersion(), commit(s.version)
		document["apiServerBuild"], document["apiServerAppName"] = "release", "container-apiserver"
	}
	return document
}

func (s *session) statusTable() {
	s.printf("FIELD              VALUE\n")
	for _, row := range [][2]string{
		{"status", "running"},
		{"appRoot", s.state.dir + "/"},
		{"installRoot", installRoot},
		{"logRoot", ""},
		{"apiserver.version", s.serverVersion()},
		{"apiserver.commit", commit(s.version)},
		{"apiserver.build", "release"},
		{"apiserver.appName", "container-apiserver"},
	} {
		s.printf("%-17s  %s\n", row[0], row[1])
	}
}

// say writes the progress of the system commands where the version does.
func (s *session) say(line string) {
	if s.version.AtLeast(1, 0) {
		_, _ = os.Stderr.WriteString(line + "\n")
		return
	}
	s.printf("%s\n", line)
}

func systemStart(_ context.Context, s *session) error {
	release, err := s.state.lock("system")
	if err != nil {
		return err
	}
	defer release()
	sys, err := s.state.system()
	if err != nil {
		return err
	}
	s.say("Verifying apiserver is running...")
	if s.faulty("xpc-down") {
		return failure(internalError, "failed to get a response from apiserver: %s",
			failure(interrupted, "XPC connection error: Connection invalid"))
	}
	if !sys.Running && s.faulty("subnet-changed") {
		sys.Generation++
	}
	if s.strikes("kernel-missing") {
		sys.NoKernel = true
	}
	sys.Running = true
	if err := s.state.write(sys, "system.json"); err != nil {
		return err
	}
	if !sys.NoKernel {
		return nil
	}
	install, err := s.wantsKernel()
	if err != nil || !install {
		return err
	}
	s.say("Installing kernel...")
	sys.NoKernel = false
	return s.state.write(sys, "system.json")
}

// wantsKernel asks, unless a flag has answered; the last one wins.
func (s *session) wantsKernel() (bool, error) {
	switch {
	case s.call.Has("--disable-kernel-install"):
		return false, nil
	case s.call.Has("--enable-kernel-install"):
		return true, nil
	}
	s.printf("Install the recommended default kernel from [https://github.com/kata-containers/kata-containers/releases]? [Y/n]: ")
	answer, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if err != nil && answer == "" {
		return false, failure(internalError, "failed to read user input")
	}
	return answer == "\n" || answer == "y\n" || answer == "Y\n", nil
}

func systemStop(ctx context.Context, s *session) error {
	s.printf("info com.apple.container.cli: checking if APIServer is alive\n")
	return s.shutDown(ctx)
}

// shutDown stops everybody's containers, then the server.
func (s *session) shutDown(ctx context.Context) error {
	release, err := s.state.lock("system")
	if err != nil {
		return err
	}
	defer release()
	ids, err := s.state.ids()
	if err != nil {
		return err
	}
	for _, id := range ids {
		r, found, err := s.state.load(id)
		if err != nil {
			return err
		}
		if found {
			if err := s.halt(ctx, r); err != nil {
				return err
			}
		}
		// The server drops what it cannot read when it starts again: facts 7.
		if how := s.state.brokenness(id); how != "" && how != "storage-gone" {
			if err := s.forget(ctx, id); err != nil {
				return err
			}
		}
	}
	sys, err := s.state.system()
	if err != nil {
		return err
	}
	sys.Running = false
	return s.state.write(sys, "system.json")
}

func systemVersion(_ context.Context, s *session) error {
	versions := []any{map[string]any{
		"version": s.version.String(), "buildType": "release", "commit": commit(s.version), "appName": "container",
	}}
	if s.connection() == nil {
		versions = append(versions, map[string]any{
			"version": s.serverVersion(), "buildType": "release", "commit": commit(s.version), "appName": "container-apiserver",
		})
	}
	if format, _ := s.call.Last("--format"); format == "json" {
		return s.emitJSON(versions, false)
	}
	s.printf("COMPONENT  VERSION  BUILD    COMMIT\ncontainer  %-7s  release  %s\n", s.version, commit(s.version))
	return nil
}

func systemDF(_ context.Context, s *session) error {
	ids, err := s.state.ids()
	if err != nil {
		return err
	}
	part := func(total int) map[string]any {
		return map[string]any{"total": total, "active": 0, "sizeInBytes": int64(total) << 20, "reclaimable": int64(total) << 20}
	}
	document := map[string]any{"images": part(1), "containers": part(len(ids)), "volumes": part(0)}
	if format, _ := s.call.Last("--format"); format == "json" {
		return s.emitJSON(document, true)
	}
	s.printf("TYPE        TOTAL  ACTIVE  SIZE  RECLAIMABLE\n")
	return nil
}
