package view

import (
	"cmp"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
)

// DaemonStatus shows the daemon that runs; nil means that none does.
func (v *View) DaemonStatus(s *apipb.GetStatusResponse) error {
	if v.JSON {
		return v.Value(daemonOf(s))
	}
	if s == nil {
		return v.Text("the daemon is not running; the next command that needs it starts it")
	}
	idle := "never"
	if ms := s.GetIdleExitMs(); ms > 0 {
		idle = "after " + (time.Duration(ms) * time.Millisecond).String() + " with nothing running"
	}
	previews := "none: no port could be had; see the log"
	if port := s.GetPreviewPort(); port > 0 {
		previews = cmp.Or(s.GetPreviewConflict(), fmt.Sprintf("http://NAME.WORKSPACE.localhost:%d", port))
	}
	since := ""
	if t := timeOf(s.GetStarted()); t != nil {
		since = t.Local().Format(time.DateTime)
	}
	return v.fields("the daemon is running", []field{
		{"pid", strconv.FormatInt(s.GetPid(), 10)},
		{"version", s.GetVersion()},
		{"since", since},
		{"home", s.GetHome()},
		{"socket", s.GetSocket()},
		{"log", s.GetLogFile()},
		{"running", fmt.Sprintf("%d workspaces, %d dev servers, %d commands",
			s.GetRunningWorkspaces(), s.GetRunningDevServers(), s.GetRunningCommands())},
		{"previews", previews},
		{"ends", idle},
	})
}

// DaemonStopped shows that a daemon was ended; pid 0 means that none ran.
func (v *View) DaemonStopped(pid int64) error {
	if v.JSON {
		return v.Value(map[string]any{"running": false, "stopped": pid != 0, "pid": pid})
	}
	if pid == 0 {
		return v.Text("the daemon was not running")
	}
	return v.Text(fmt.Sprintf("the daemon, process %d, has ended", pid))
}

// Version shows what runs. daemon is nil when no daemon does.
func (v *View) Version(version, commit string, daemon *apipb.GetStatusResponse) error {
	if v.JSON {
		out := map[string]any{
			"version": version, "commit": commit, "go": runtime.Version(),
			"platform": runtime.GOOS + "/" + runtime.GOARCH, "daemon": nil,
		}
		if daemon != nil {
			out["daemon"] = map[string]any{"version": daemon.GetVersion(), "pid": daemon.GetPid()}
		}
		return v.Value(out)
	}
	if commit != "" {
		commit += ", "
	}
	line := fmt.Sprintf("sero %s (%s%s, %s/%s)", version, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	if daemon == nil {
		return v.Text(line, "daemon not running")
	}
	return v.Text(line, fmt.Sprintf("daemon %s (pid %d)", clean(daemon.GetVersion()), daemon.GetPid()))
}

// Checks shows what doctor found.
func (v *View) Checks(checks []*apipb.Check, healthy bool) error {
	if v.JSON {
		return v.Value(map[string]any{"ok": healthy, "checks": each(checks, func(c *apipb.Check) checkJSON {
			return checkJSON{Name: c.GetName(), Verdict: verdictWord(c.GetVerdict()), Message: c.GetMessage(), Remedies: remediesOf(c.GetRemedies())}
		})})
	}
	rows := make([][]string, 0, len(checks))
	for _, c := range checks {
		rows = append(rows, []string{verdictWord(c.GetVerdict()), c.GetName(), c.GetMessage()})
		for _, r := range c.GetRemedies() {
			rows = append(rows, []string{" ", " ", "hint: " + remedyText(remedyOf(r))})
		}
	}
	return v.table(rows)
}

// Event shows one event, on one line.
func (v *View) Event(e *apipb.WatchEventsResponse) error {
	if v.JSON {
		return v.Value(eventOf(e))
	}
	words := []string{strconv.FormatUint(e.GetSequence(), 10)}
	if t := timeOf(e.GetTime()); t != nil {
		words = append(words, t.Local().Format(time.TimeOnly))
	}
	for _, word := range []string{e.GetType(), e.GetWorkspaceId(), e.GetSubject(), e.GetMessage()} {
		if word != "" {
			words = append(words, word)
		}
	}
	return v.Text(clean(strings.Join(words, " ")))
}
