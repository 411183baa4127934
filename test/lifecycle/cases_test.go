package lifecycle_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// testCase is one thing that happens behind sero's back, and what sero makes of
// it.
type testCase struct {
	name  string
	needs func(Engine) bool // nil: any engine can do it
	run   func(s *sero)
}

var cases = []testCase{
	{"B15 a stopped sandbox is started", nil, stopped},
	{"B15 a paused sandbox goes on", canPause, paused},
	{"B17 a removed sandbox is made again", nil, removed},
	{"B17 a sandbox that does not start is made again", canBreak, broken},
	{"B17 the image is removed", nil, imageRemoved},
	{"B17 the engine is restarted", nil, restarted},
	{"B17 the engine does not answer", canFreeze, frozen},
	{"B17 the engine is killed", canDie, killed},
	{"B18 another's sandbox has the name", nil, foreign},
	{"B18 another's sandbox takes the name", nil, replaced},
	{"B18 lost records are found by label", nil, lostRecords},
	{"B19 a rebuilt image reaches a sandbox on request", nil, recreated},
	{"B20 only ours is cleared away", nil, cleared},
	{"A4 a directory is exchanged while the sandbox starts", nil, exchanged},
	{"D4 a workspace's directory is replaced", nil, directoryReplaced},
	{"D4 a mount's directory is replaced", nil, mountReplaced},
	{"a sandbox without the guest helper", nil, withoutHelper},
	{"B14 many at once make one each", nil, storm},
	{"B14 many at once while the engine is restarted", nil, stormWithRestart},
}

func canBreak(e Engine) bool  { _, ok := e.(Breaker); return ok }
func canPause(e Engine) bool  { _, ok := e.(Pauser); return ok }
func canFreeze(e Engine) bool { _, ok := e.(Freezer); return ok }
func canDie(e Engine) bool    { _, ok := e.(Killer); return ok }

func stopped(s *sero) {
	s.workspace("a")
	instance := s.up("a")
	s.ok("a", "exec", "--", "sh", "-c", "echo kept > /var/kept")
	s.Stop("sero-a")
	s.becomes("a", "stopped")
	s.runs("a")
	if out := s.ok("a", "exec", "--", "cat", "/var/kept"); out != "kept\n" {
		s.Errorf("its files are gone: %q", out)
	}
	s.Stop("sero-a")
	if s.up("a") != instance || !s.Running("sero-a") {
		s.Error("it was not simply started")
	}
}

func paused(s *sero) {
	pauser, _ := s.Engine.(Pauser)
	s.workspace("a")
	instance := s.up("a")
	s.ok("a", "exec", "--", "sh", "-c", "echo kept > /var/kept")
	for _, action := range [][]string{{"exec", "--", "sh", "-c", "echo ran >>/var/kept"}, {"up"}} {
		pauser.Pause("sero-a")
		if got := s.becomes("a", "paused"); !strings.Contains(got.StateMessage, "suspended") {
			s.Errorf("it is %s: %s", got.State, got.StateMessage)
		}
		s.ok("a", action...)
		s.becomes("a", "running")
		s.runs("a")
	}
	if s.Instances()["sero-a"] != instance {
		s.Error("it was made anew")
	}
	if out := s.ok("a", "exec", "--", "cat", "/var/kept"); out != "kept\nran\n" {
		s.Errorf("the command that waited did not run once: %q", out)
	}
	pauser.Pause("sero-a")
	s.ok("a", "stop")
	if s.becomes("a", "stopped"); s.Running("sero-a") {
		s.Error("a stopped one runs")
	}
	s.runs("a")
	pauser.Pause("sero-a")
	s.ok("a", "rm")
	if len(s.Instances()) != 0 {
		s.Error("a paused one is not removed")
	}
}

func removed(s *sero) {
	dir := s.workspace("a")
	before := s.up("a")
	s.Remove("sero-a")
	s.becomes("a", "stopped")
	s.runs("a")
	s.Remove("sero-a")
	if after := s.up("a"); after == "" || after == before || !s.Running("sero-a") {
		s.Error("it was not made again")
	}
	s.Remove("sero-a")
	s.ok("a", "stop")
	s.ok("a", "rm")
	if text, err := os.ReadFile(filepath.Join(dir, "file")); err != nil || string(text) != "precious\n" {
		s.Error("the workspace's files were touched")
	}
}

func broken(s *sero) {
	breaker, _ := s.Engine.(Breaker)
	s.workspace("a")
	before := s.up("a")
	breaker.Break("sero-a")
	s.ok("a", "up", "--json")
	s.runs("a")
	if after := s.Instances()["sero-a"]; after == before || !s.Running("sero-a") {
		s.Error("it was not made again")
	}
	breaker.Break("sero-a")
	s.ok("a", "rm")
	if len(s.Instances()) != 0 {
		s.Error("a broken one is not removed")
	}
}

func imageRemoved(s *sero) {
	s.workspace("a")
	instance := s.up("a")
	s.RemoveImage()
	defer s.RestoreImage()
	s.listed("a")
	s.runs("a")
	s.ok("a", "stop")
	if s.up("a") != instance {
		s.Error("it was made anew, and nothing was wrong with it")
	}
	s.runs("a")
	s.Remove("sero-a")
	if r := s.sero("a", "exec", "--", "true"); r.code != 125 || !strings.Contains(r.stderr, s.Image()) {
		s.Errorf("exit code %d: %s", r.code, r.stderr)
	}
	if e := s.fails([]driver.Reason{driver.ImageNotFound}, "a", "up", "--json"); len(e.Remedies) == 0 {
		s.Errorf("no remedy: %v", e)
	}
	if got := s.becomes("a", "stopped"); !strings.Contains(got.StateMessage, s.Image()) {
		s.Errorf("it is %s: %s", got.State, got.StateMessage)
	}
	s.RestoreImage()
	s.runs("a")
}

func restarted(s *sero) {
	s.workspace("a")
	s.workspace("b")
	instances := []string{s.up("a"), s.up("b")}
	s.Restart()
	for _, id := range []string{"a", "b"} {
		if got := s.listed(id); got.State != "stopped" && got.State != "running" {
			s.Errorf("%s is %s: %s", id, got.State, got.StateMessage)
		}
	}
	s.runs("a")
	s.ok("b", "up")
	s.runs("b")
	if now := s.Instances(); !slices.Equal([]string{now["sero-a"], now["sero-b"]}, instances) {
		s.Error("they were made anew")
	}
}

// silent are the reasons of an engine that does not answer.
var silent = []driver.Reason{driver.EngineWedged, driver.Timeout}

func frozen(s *sero) {
	freezer, _ := s.Engine.(Freezer)
	s.workspace("a")
	s.workspace("new")
	s.up("a")
	s.runs("a")
	freezer.Freeze()
	thawed := false
	thaw := func() {
		if !thawed {
			thawed = true
			freezer.Thaw()
		}
	}
	defer thaw()
	if got := s.listed("a"); got.State != "unknown" || got.StateMessage == "" {
		s.Errorf("it is %s: %s", got.State, got.StateMessage)
	}
	// The helper's channel leads past what hangs, so a command in a sandbox that
	// the daemon knows simply runs.
	s.runs("a")
	if got := s.inspect("a").Guest; !strings.HasSuffix(got, " over "+freezer.Past()) {
		s.Errorf("commands go through %q", got)
	}
	silence := func() {
		for _, workspace := range []string{"a", "new"} {
			if e := s.fails(silent, workspace, "up", "--json"); !e.Retryable || len(e.Remedies) == 0 {
				s.Errorf("%+v", e)
			}
		}
	}
	s.cannotRun("new")
	silence()
	// A new daemon has no channel, and nobody but the engine can open one.
	s.ok("", "daemon", "stop")
	s.cannotRun("a")
	silence()
	thaw()
	s.recovers("a")
	s.runs("a")
	s.ok("new", "up")
	if len(s.Instances()) != 2 {
		s.Error(s.Instances())
	}
}

// cannotRun shows that no command runs in a workspace whose engine is silent, and
// that this is said.
func (s *sero) cannotRun(workspace string) {
	s.Helper()
	said := func(r result) bool { // a driver that was just started waits for its engine's first word
		return strings.Contains(r.stderr, "answer") || strings.Contains(r.stderr, "has not told its health yet")
	}
	if r := s.sero(workspace, "exec", "--", "true"); r.code != 125 || !said(r) {
		s.Errorf("a command in %s: exit code %d: %s", workspace, r.code, r.stderr)
	}
}

func killed(s *sero) {
	killer, _ := s.Engine.(Killer)
	s.workspace("a")
	s.workspace("new")
	instance := s.up("a")
	s.ok("a", "exec", "--", "sh", "-c", "echo kept > /var/kept")
	killer.Kill()
	if got := s.becomes("a", "unknown"); got.StateMessage == "" {
		s.Errorf("%+v", got)
	}
	if r := s.sero("a", "exec", "--", "true"); r.code != 125 {
		s.Errorf("exit code %d: %s%s", r.code, r.stdout, r.stderr)
	}
	for _, workspace := range []string{"a", "new"} {
		if e := s.fails([]driver.Reason{driver.EngineNotRunning}, workspace, "up", "--json"); !e.Retryable || len(e.Remedies) == 0 {
			s.Errorf("%+v", e)
		}
	}
	killer.Start()
	s.recovers("a")
	s.runs("a")
	if out := s.ok("a", "exec", "--", "cat", "/var/kept"); out != "kept\n" || s.Instances()["sero-a"] != instance {
		s.Errorf("it was made anew: %q", out)
	}
	s.ok("new", "up")
	s.runs("new")
}

func foreign(s *sero) {
	s.workspace("a")
	s.Stranger("sero-a")
	theirs := s.Instances()["sero-a"]
	for _, action := range [][]string{{"up", "--json"}, {"recreate", "--json"}} {
		if e := s.fails([]driver.Reason{driver.ForeignResource}, "a", action...); len(e.Remedies) == 0 {
			s.Errorf("sero %s: no remedy: %v", action[0], e)
		}
	}
	if r := s.sero("a", "exec", "--", "touch", "/var/touched"); r.code != 125 {
		s.Errorf("exit code %d: %s", r.code, r.stderr)
	}
	s.becomes("a", "stopped")
	s.sero("a", "stop")
	s.ok("a", "rm")
	s.ok("a", "prune", "--unused", "1ns", "--yes")
	if s.Instances()["sero-a"] != theirs || !s.Running("sero-a") {
		s.Error("another's sandbox was touched")
	}
	s.ok("a", "up", "--id", "other")
	s.runs("a")
}

func replaced(s *sero) {
	s.workspace("a")
	s.up("a")
	s.runs("a")
	s.Remove("sero-a")
	s.Stranger("sero-a")
	theirs := s.Instances()["sero-a"]
	if r := s.sero("a", "exec", "--", "sh", "-c", "echo it runs in here"); r.code != 125 || strings.Contains(r.stdout, "it runs") {
		s.Errorf("exit code %d: %s%s", r.code, r.stdout, r.stderr)
	}
	for _, verb := range []string{"stop", "recreate"} {
		if e := s.fails([]driver.Reason{driver.ForeignResource}, "a", verb, "--json"); len(e.Remedies) == 0 {
			s.Errorf("%s: no remedy: %v", verb, e)
		}
	}
	s.ok("a", "rm")
	if s.Instances()["sero-a"] != theirs || !s.Running("sero-a") {
		s.Error("another's sandbox was touched")
	}
}

func lostRecords(s *sero) {
	s.workspace("a")
	s.workspace("b")
	instance := s.up("a")
	s.ok("b", "up", "--id", "named")
	s.ok("", "daemon", "stop")
	if err := os.RemoveAll(filepath.Join(s.home, "state", "workspaces")); err != nil {
		s.Fatal(err)
	}
	for id, dir := range map[string]string{"a": "a", "named": "b"} {
		if got := s.becomes(id, "running"); got.Directory != filepath.Join(s.root, dir) {
			s.Errorf("%+v", got)
		}
	}
	s.runs("a")
	s.runs("b")
	if now := s.Instances(); now["sero-a"] != instance || len(now) != 2 {
		s.Error("others were made", now)
	}
}

// serve is a server that the image's Python, which has little more, can run.
const serve = `import socket
s = socket.create_server(("0.0.0.0", 8000))
while True:
    c, _ = s.accept()
    c.recv(4096)
    c.sendall(b"HTTP/1.0 200 OK\r\n\r\nhello\n")
    c.close()`

func recreated(s *sero) {
	dir := s.workspace("a")
	s.workspace("same")
	s.configure("same", map[string]any{"image": "kept:1"})
	before, untouched := s.up("a"), s.up("same")
	s.ok("a", "exec", "--", "sh", "-c", "mkdir -p deep/er; echo x > deep/er/file; ln -s file deep/er/link; chmod 700 deep; echo lost > /var/lost")
	s.ok("a", "run", "--name", "web", "--port", "8000", "--wait", "30s", "--", "python3", "-c", serve)
	if got := s.inspect("a"); len(got.Drift) != 0 {
		s.Errorf("it has drifted from the start: %+v", got.Drift)
	}
	hash := tree(s.T, dir)
	s.RebuildImage()
	defer s.RestoreImage()
	got := s.inspect("a")
	if len(got.Drift) != 1 || got.Drift[0].Part != "image" || !strings.Contains(got.Drift[0].Message, "→") {
		s.Fatalf("%+v", got)
	}
	if out := s.ok("a", "up"); !strings.Contains(out, got.Drift[0].Message) || !strings.Contains(out, "sero recreate -w a") {
		s.Errorf("up does not say it: %s", out)
	}
	out := s.ok("a", "recreate", "--stale")
	if !strings.Contains(out, "a is made anew") || !strings.Contains(out, "started again: dev server web") || strings.Contains(out, "same") {
		s.Error(out)
	}
	now := s.Instances()
	if now["sero-a"] == before || now["sero-same"] != untouched {
		s.Error("not those were made anew that had to be")
	}
	if got := s.inspect("a"); len(got.Drift) != 0 || got.State != "running" {
		s.Errorf("%+v", got)
	}
	if tree(s.T, dir) != hash {
		s.Error("the workspace's files are not as they were")
	}
	s.ok("a", "dev", "restart", "--wait", "30s", "web")
	if r := s.sero("a", "exec", "--", "cat", "/var/lost"); r.code == 0 {
		s.Error("it is the old sandbox")
	}
	s.runs("a")
}

func cleared(s *sero) {
	s.workspace("a")
	gone := s.workspace("gone")
	s.up("a")
	s.up("gone")
	s.Stranger("sero-theirs")
	if err := os.RemoveAll(gone); err != nil {
		s.Fatal(err)
	}
	if out := s.ok("", "prune", "--dry-run"); !strings.Contains(out, "gone") || strings.Contains(out, "theirs") || len(s.Instances()) != 3 {
		s.Error(out)
	}
	if out := s.ok("", "df"); !strings.Contains(out, "sero-a") || !strings.Contains(out, s.Image()) || strings.Contains(out, "theirs") {
		s.Error(out)
	}
	s.ok("", "prune", "--yes")
	now := s.Instances()
	if len(now) != 2 || now["sero-a"] == "" || now["sero-theirs"] == "" {
		s.Error(now)
	}
	s.ok("a", "rm")
	if now := s.Instances(); len(now) != 1 || now["sero-theirs"] == "" || !s.Running("sero-theirs") {
		s.Error(now)
	}
}
