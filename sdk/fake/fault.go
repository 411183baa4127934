package fake

import (
	"slices"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// Fault is one promise of the contract that the fake can break. A Script
// switches it on by name.
type Fault struct {
	Name   string
	Does   string        // what goes wrong
	Breaks []string      // the conformance cases that must notice, and no other
	script func(*Script) // what it changes of the driver's identity or start
}

// FaultNamed finds a fault or a quirk.
func FaultNamed(name string) (Fault, bool) {
	for _, f := range slices.Concat(Faults, Quirks) {
		if f.Name == name {
			return f, true
		}
	}
	return Fault{}, false
}

// Quirks are oddities that the contract allows: the suite must pass with each of
// them.
var Quirks = []Fault{
	{Name: "stdout-flood", Does: "prints 10 MiB to standard output while it serves", script: func(s *Script) { s.Startup.FloodStdout = 10 << 20 }},
	{Name: "stderr-json", Does: "prints lines to standard error that look like go-plugin's log records and are none", script: func(s *Script) {
		s.Startup.Stderr = "{\"@message\":1}\n{\"@level\":[],\"@message\":{}}\n{\n\x00\xff\n"
	}},
	{Name: "future-health", Does: "first reports a health state that no version has yet", script: func(s *Script) {
		s.Health = []HealthStep{{State: "77"}, {State: "ready"}}
	}},
	{Name: "future-capability", Does: "declares a vendor's capability and one of a newer version", script: func(s *Script) {
		s.Capabilities = append(slices.Clone(everything), "x-example.com/teleport@3", "exec@2")
	}},
	{Name: "future-fields", Does: "sends fields and events that no version has yet"},
}

// Faults are the promises that it can break.
var Faults = slices.Concat(wireFaults, identityFaults, lifecycleFaults, execFaults, endFaults, partFaults)

var wireFaults = []Fault{
	{Name: "garbage-first", Does: "prints garbage before the handshake line", Breaks: []string{"START-1"}, script: func(s *Script) {
		s.Startup.Stdout = "Hello! Loading…\n"
	}},
	{Name: "exits-at-once", Does: "ends before it serves", Breaks: []string{"START-1"}, script: func(s *Script) { s.Startup.Exit = new(3) }},
	{Name: "never-serves", Does: "hangs before it serves", Breaks: []string{"START-1"}, script: func(s *Script) { s.Startup.Hang = true }},
	{Name: "wire-version-2", Does: "speaks another protocol", Breaks: []string{"START-1"}, script: func(s *Script) { s.Startup.WireVersion = 2 }},
	{Name: "by-hand-hangs", Does: "run by hand, it waits for ever", Breaks: []string{"WIRE-1"}},
	{Name: "by-hand-mute", Does: "run by hand, it says nothing", Breaks: []string{"WIRE-1"}},
	{Name: "describe-differs", Does: "describes another version than it declares", Breaks: []string{"WIRE-2"}},
	{Name: "socket-elsewhere", Does: "puts its socket where it likes", Breaks: []string{"WIRE-3", "CLEAN-2"}},
	{Name: "handshake-varies", Does: "answers each Handshake of a process differently", Breaks: []string{"WIRE-4"}},
	{Name: "refuses-unknown-fields", Does: "refuses messages with a field that it does not know", Breaks: []string{"WIRE-5"}},
	{Name: "small-messages", Does: "takes messages of at most 4 MiB", Breaks: []string{"WIRE-6"}},
	{Name: "ten-calls", Does: "serves ten calls at once, as a pool of ten threads does", Breaks: []string{"WIRE-7", "EXEC-12"}},
	{Name: "long-dir-hangs", Does: "hangs when its socket's path is too long", Breaks: []string{"WIRE-8"}},
	{Name: "needs-home", Does: "does not start without HOME", Breaks: []string{"WIRE-9"}, script: func(s *Script) { s.Startup.NeedEnv = "HOME" }},
	{Name: "ignores-sigterm", Does: "goes on after SIGTERM", Breaks: []string{"WIRE-10"}},
	{Name: "slow-shutdown", Does: "takes twelve seconds for Shutdown, whatever its deadline", Breaks: []string{"WIRE-11"}},
	{Name: "no-lifeline", Does: "outlives its host", Breaks: []string{"WIRE-12", "ORPHAN-1"}},
	{Name: "two-details", Does: "puts two details into each error", Breaks: []string{"ERR-1"}},
	{Name: "untyped", Does: "gives no details with NOT_FOUND of Get", Breaks: []string{"ERR-1", "ERR-4", "GET-1", "REMOVE-1", "REMOVE-3", "MOUNT-3", "CRASH-1"}},
	{Name: "prose-errors", Does: "writes its name and a full stop into messages", Breaks: []string{"ERR-2"}},
	{Name: "no-remedies", Does: "gives errors without remedies", Breaks: []string{"ERR-3"}},
	{Name: "no-resource", Does: "gives errors without what they are about", Breaks: []string{"ERR-4"}},
}

var identityFaults = []Fault{
	{Name: "bad-version", Does: "has a version that is not semantic", Breaks: []string{"NEG-1"}, script: func(s *Script) { s.Version = "one" }},
	{Name: "bad-capability", Does: "declares a capability whose name is none", Breaks: []string{"NEG-2"}, script: func(s *Script) {
		s.Capabilities = append(slices.Clone(everything), "Everything!")
	}},
	{Name: "bad-constraint", Does: "demands a host's version that cannot be read", Breaks: []string{"NEG-3"}, script: func(s *Script) { s.HostConstraint = "newest" }},
	{Name: "serves-undeclared", Does: "serves Stats without declaring it", Breaks: []string{"NEG-4"}, script: func(s *Script) {
		s.Without = append(s.Without, driver.CapStats)
	}},
	{Name: "claims-copy", Does: "declares files.copy@1 and refuses to copy", Breaks: []string{"COPY-1", "COPY-2"}},
	{Name: "identity-varies", Does: "has another description in each process", Breaks: []string{"NEG-5"}},
	{Name: "bad-schema", Does: "has a schema that is no JSON", Breaks: []string{"CONF-1"}},
	{Name: "configures-once", Does: "takes settings only once", Breaks: []string{"CONF-2"}},
	{Name: "takes-any-setting", Does: "accepts settings that it does not have", Breaks: []string{"CONF-3"}},
	{Name: "field-unnamed", Does: "does not name the setting at fault", Breaks: []string{"CONF-3"}},
	{Name: "slow-health", Does: "reports its health after a while", Breaks: []string{"HEALTH-1"}, script: func(s *Script) {
		s.Health = []HealthStep{{State: "ready", After: Duration(slowHealth)}}
	}},
	{Name: "health-ends", Does: "ends the health stream after the first report", Breaks: []string{"HEALTH-2", "SYSTEM-2"}, script: func(s *Script) {
		s.Health = []HealthStep{{State: "ready"}, {End: true}}
	}},
	{Name: "health-unexplained", Does: "reports to be unhealthy without a reason", Breaks: []string{"HEALTH-3"}, script: func(s *Script) {
		s.Health = []HealthStep{{State: "ready"}, {State: "unhealthy"}}
	}},
	{Name: "isolation-none", Does: "runs on the host and declares what only isolation gives", Breaks: []string{"FACT-1", "FACT-2"}, script: func(s *Script) {
		s.Isolation = "none"
	}},
}

var lifecycleFaults = []Fault{
	{Name: "create-runs", Does: "Create says that the sandbox runs", Breaks: []string{"CREATE-1"}},
	{Name: "wrong-id", Does: "Create gives another id than it was asked for", Breaks: []string{"CREATE-1"}},
	{Name: "labels-lost", Does: "sandboxes lose a label", Breaks: []string{"CREATE-1", "CREATE-3"}},
	{Name: "create-again", Does: "the same specification gives another instance", Breaks: []string{"CREATE-2", "CREATE-4"}},
	{Name: "create-race", Does: "concurrent Creates give different instances", Breaks: []string{"CREATE-4"}},
	{Name: "create-any", Does: "another specification gives the existing sandbox", Breaks: []string{"CREATE-3"}},
	{Name: "instance-constant", Does: "the instance is the id", Breaks: []string{"CREATE-5"}},
	{Name: "env-cut", Does: "the sandbox's variables end at a line's end", Breaks: []string{"CREATE-6"}},
	{Name: "secret-shown", Does: "puts secrets on a command line of the host", Breaks: []string{"CREATE-7"}},
	{Name: "start-once", Does: "Start of a running sandbox fails", Breaks: []string{"START-2", "ORDER-2"}},
	{Name: "start-absent", Does: "Start of an absent sandbox is CORRUPT", Breaks: []string{"START-3"}},
	{Name: "stop-leaves", Does: "Stop leaves the commands running", Breaks: []string{"STOP-1", "STOP-4", "STOP-6", "ORDER-1", "EVENTS-1"}},
	{Name: "stop-once", Does: "Stop of a stopped sandbox fails", Breaks: []string{"STOP-2", "ORDER-2"}},
	{Name: "stop-absent", Does: "Stop of an absent sandbox succeeds", Breaks: []string{"STOP-3"}},
	{Name: "stop-at-once", Does: "Stop gives no grace", Breaks: []string{"STOP-4", "STOP-6", "ORDER-1"}},
	{Name: "stop-forgets", Does: "Stop loses the sandbox's files", Breaks: []string{"STOP-5"}},
	{Name: "remove-once", Does: "Remove of an absent sandbox fails", Breaks: []string{"REMOVE-1", "CRASH-1", "CRASH-2"}},
	{Name: "remove-any", Does: "Remove of a running sandbox needs no force", Breaks: []string{"REMOVE-2"}},
	{Name: "remove-never", Does: "Remove of a running sandbox fails with force, too", Breaks: []string{"REMOVE-3", "REMOVE-4", "LOGS-2", "CLEAN-1", "CLEAN-2", "CLEAN-3"}},
	{Name: "remove-workspace", Does: "Remove empties the workspace", Breaks: []string{"REMOVE-4"}},
	{Name: "one-at-a-time", Does: "a slow Stop keeps other sandboxes waiting", Breaks: []string{"ORDER-1"}},
	{Name: "busy", Does: "Start and Stop fail while another is under way", Breaks: []string{"ORDER-2"}},
	{Name: "get-absent", Does: "Get of an absent sandbox is INTERNAL", Breaks: []string{"GET-1", "REMOVE-1", "REMOVE-3", "MOUNT-3", "CRASH-1"}},
	{Name: "list-any", Does: "List takes any of the labels for all of them", Breaks: []string{"LIST-1"}},
	{Name: "list-unordered", Does: "List has no order", Breaks: []string{"LIST-2"}},
	{Name: "list-running", Does: "List forgets stopped sandboxes", Breaks: []string{"LIST-1", "LIST-2"}},
	{Name: "ghosts", Does: "after a crash List has what Get does not find", Breaks: []string{"CRASH-1"}},
	{Name: "list-remembers", Does: "List has what was removed", Breaks: []string{"CLEAN-1"}},
	{Name: "leaves-file", Does: "leaves a temporary file", Breaks: []string{"CLEAN-2"}},
	{Name: "leaves-process", Does: "leaves a process", Breaks: []string{"CLEAN-3"}},
	{Name: "leaves-command", Does: "what it runs on the host outlives a crash", Breaks: []string{"CRASH-2"}},
}

var execFaults = []Fault{
	{Name: "seven-bits", Does: "exit codes lose their highest bit", Breaks: []string{"EXEC-1"}},
	{Name: "signal-as-code", Does: "death by a signal is 128 and its number", Breaks: []string{"EXEC-2", "EXEC-14", "IO-8"}},
	{Name: "streams-joined", Does: "standard error comes as standard output", Breaks: []string{"EXEC-3", "IO-2"}},
	{Name: "empty-arguments", Does: "empty arguments are lost", Breaks: []string{"EXEC-4"}},
	{Name: "exec-env", Does: "a command's own environment is lost", Breaks: []string{"EXEC-5"}},
	{Name: "exec-dir", Does: "a command's directory is ignored", Breaks: []string{"EXEC-6"}},
	{Name: "missing-is-127", Does: "a missing command is an exit with 127", Breaks: []string{"EXEC-7"}},
	{Name: "missing-hangs", Does: "a missing command hangs", Breaks: []string{"EXEC-7"}},
	{Name: "not-executable", Does: "what cannot be executed is not found", Breaks: []string{"EXEC-8"}},
	{Name: "not-running", Does: "Exec in a stopped sandbox is INTERNAL", Breaks: []string{"EXEC-9"}},
	{Name: "exec-absent", Does: "Exec in an absent sandbox is NOT_RUNNING", Breaks: []string{"EXEC-10"}},
	{Name: "exec-empty", Does: "Exec without a command succeeds", Breaks: []string{"EXEC-11"}},
	{Name: "sixteen-commands", Does: "the seventeenth command waits", Breaks: []string{"EXEC-12"}},
	{Name: "waits-for-orphans", Does: "Exec waits for what a command left behind", Breaks: []string{"EXEC-13"}},
	{Name: "no-signals", Does: "signals are dropped", Breaks: []string{"EXEC-14", "IO-8"}},
	{Name: "exec-user", Does: "the user is ignored", Breaks: []string{"EXEC-15"}},
	{Name: "wrong-pid", Does: "the pid is another's", Breaks: []string{"EXEC-16"}},
	{Name: "text-mode", Does: "bytes that are no text are replaced", Breaks: []string{"IO-1"}},
	{Name: "output-cut", Does: "output ends after 4 MiB", Breaks: []string{"IO-2", "IO-7"}},
	{Name: "big-frames", Does: "joins output into frames that are too big", Breaks: []string{"IO-1", "IO-2", "IO-3", "IO-7"}},
	{Name: "exit-too-soon", Does: "sends the exit before the last of much output", Breaks: []string{"IO-1", "IO-2", "IO-3", "IO-7"}},
	{Name: "stdin-ends", Does: "standard input ends after the first piece", Breaks: []string{"END-9", "IO-1", "IO-4"}},
	{Name: "stdin-open", Does: "the end of standard input is lost", Breaks: []string{"IO-1", "IO-3", "IO-5"}},
	{Name: "no-acks", Does: "input is not acknowledged", Breaks: []string{"IO-1"}},
	{Name: "drains-stdin", Does: "Exec waits until its caller has no more input", Breaks: []string{"IO-6", "IO-8"}},
	{Name: "unbounded", Does: "keeps all output that is not read in memory", Breaks: []string{"IO-7"}},
	{Name: "signal-queued", Does: "signals wait behind standard input", Breaks: []string{"IO-8"}},
}

var endFaults = []Fault{
	{Name: "cancel-ignored", Does: "a cancelled command goes on", Breaks: []string{"END-1", "END-2", "END-3", "END-4", "END-5", "END-7", "TTY-6", "LISTEN-1"}},
	{Name: "cancel-early", Does: "Exec returns before a cancelled command is gone", Breaks: []string{"END-1", "END-2", "END-3", "END-4", "END-7", "TTY-6"}},
	{Name: "no-politeness", Does: "a cancelled command is killed at once", Breaks: []string{"END-2", "TTY-6"}},
	{Name: "no-kill", Does: "a cancelled command is only asked to end", Breaks: []string{"END-3"}},
	{Name: "group-only", Does: "what has left the process group goes on", Breaks: []string{"END-4"}},
	{Name: "loss-ignored", Does: "a lost stream is not noticed", Breaks: []string{"END-5"}},
	{Name: "detach-ignored", Does: "a detached command ends with its caller", Breaks: []string{"END-6"}},
	{Name: "loss-ends-input", Does: "a command whose caller is lost sees the end of its input", Breaks: []string{"END-9"}},
	{Name: "cancel-everyone", Does: "the end of one command ends all in the sandbox", Breaks: []string{"END-8"}},
	{Name: "tty-size", Does: "a terminal is always 24 by 80 at first", Breaks: []string{"TTY-1"}},
	{Name: "tty-always", Does: "a command that asks is told to be on a terminal", Breaks: []string{"TTY-2"}},
	{Name: "tty-rigid", Does: "a terminal keeps its size", Breaks: []string{"TTY-3"}},
	{Name: "tty-apart", Does: "standard error stays apart on a terminal", Breaks: []string{"TTY-4"}},
	{Name: "tty-deaf", Does: "a typed ^C is dropped", Breaks: []string{"TTY-5"}},
	{Name: "tty-term", Does: "a lost terminal's command gets SIGTERM", Breaks: []string{"TTY-6"}},
}

var partFaults = []Fault{
	{Name: "no-digest", Does: "images have no digest", Breaks: []string{"IMAGE-1"}},
	{Name: "strict-policy", Does: "an unknown pull policy is refused", Breaks: []string{"IMAGE-1"}},
	{Name: "pull-never-pulls", Does: "an image that may not be pulled is", Breaks: []string{"IMAGE-2"}},
	{Name: "no-progress", Does: "pulls and builds report nothing", Breaks: []string{"IMAGE-3", "IMAGE-4"}},
	{Name: "build-labels", Does: "a build's labels are lost", Breaks: []string{"IMAGE-4", "IMAGE-8"}},
	{Name: "build-vague", Does: "a failed build does not tell the line", Breaks: []string{"IMAGE-5"}},
	{Name: "image-absent", Does: "RemoveImage of an absent image fails", Breaks: []string{"IMAGE-6"}},
	{Name: "image-in-use", Does: "RemoveImage takes an image from under a sandbox", Breaks: []string{"IMAGE-7"}},
	{Name: "images-unordered", Does: "ListImages has no order", Breaks: []string{"IMAGE-8"}},
	{Name: "no-mounts", Does: "extra mounts are not made", Breaks: []string{"MOUNT-1", "MOUNT-2"}},
	{Name: "mount-writable", Does: "read-only mounts can be written", Breaks: []string{"MOUNT-2"}},
	{Name: "mount-created", Does: "a missing mount source is created", Breaks: []string{"MOUNT-3"}},
	{Name: "workspace-hidden", Does: "commands find another directory than the workspace", Breaks: []string{"WORK-1"}},
	{Name: "no-memory-limit", Does: "the memory limit is ignored", Breaks: []string{"LIMIT-1"}},
	{Name: "no-cpu-limit", Does: "the processors' limit is ignored", Breaks: []string{"LIMIT-2"}},
	{Name: "no-process-limit", Does: "the limit of processes is ignored", Breaks: []string{"LIMIT-3"}},
	{Name: "small-shm", Does: "/dev/shm has 64 MiB whatever is asked for", Breaks: []string{"LIMIT-4"}},
	{Name: "listeners-new", Does: "Listeners tells only what is new", Breaks: []string{"LISTEN-1"}},
	{Name: "listeners-all", Does: "Listeners tells of other sandboxes' sockets", Breaks: []string{"LISTEN-2"}},
	{Name: "listeners-absent", Does: "Listeners of an absent sandbox are none", Breaks: []string{"LISTEN-3"}},
	{Name: "address-loopback", Does: "the address is the loopback's", Breaks: []string{"NET-1"}},
	{Name: "no-gateway", Does: "the host's address is not told", Breaks: []string{"NET-2"}},
	{Name: "no-publish", Does: "published ports lead nowhere", Breaks: []string{"NET-3"}},
	{Name: "still-connected", Does: "an isolated sandbox has a network all the same", Breaks: []string{"NET-5"}},
	{Name: "no-agent", Does: "the ssh agent is not forwarded", Breaks: []string{"NET-4"}},
	{Name: "copy-text", Does: "CopyOut replaces bytes that are no text", Breaks: []string{"COPY-1"}},
	{Name: "copy-absent", Does: "copying out of nowhere gives nothing", Breaks: []string{"COPY-2"}},
	{Name: "stats-negative", Does: "measures less than nothing", Breaks: []string{"STATS-1"}},
	{Name: "stats-once", Does: "measures only once", Breaks: []string{"STATS-2"}},
	{Name: "logs-head", Does: "Logs gives the first lines for the last", Breaks: []string{"LOGS-1"}},
	{Name: "logs-for-ever", Does: "Logs goes on after the sandbox is removed", Breaks: []string{"LOGS-2"}},
	{Name: "events-lost", Does: "the end of a sandbox is not told", Breaks: []string{"EVENTS-1"}},
	{Name: "survives-system", Does: "sandboxes go on when the system is stopped", Breaks: []string{"SYSTEM-2"}},
	{Name: "stop-system-once", Does: "the system can be stopped only once", Breaks: []string{"SYSTEM-3"}},
	{Name: "system-once", Does: "the system can be started only once", Breaks: []string{"SYSTEM-1"}},
	{Name: "no-linux", Does: "is no Linux", Breaks: []string{"FACT-3"}},
	{Name: "servers-hidden", Does: "low ports are not found", Breaks: []string{"FACT-4"}},
	{Name: "one-network", Does: "all sandboxes share one network", Breaks: []string{"FACT-5"}},
}
