package standintest

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// since tells whether a version of [Versions] is a given one or newer.
func since(version, first string) bool {
	return slices.Index(Versions, version) >= slices.Index(Versions, first)
}

// TestRecordedTexts holds exit codes and texts as they are recorded for each
// version. A text is of stderr; {u} stands for a process id.
func TestRecordedTexts(t *testing.T) {
	uuid := regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)
	everyVersion(t, func(t *testing.T, s *Standin) {
		v := s.Version
		s.container("runs")
		s.must("create", "--name", "stopped", "sero-base:bookworm")
		// Up to 0.9 the code is in front, and what went wrong below is quoted.
		coded := func(code, message string) string {
			if since(v, "0.10.0") {
				return "Error: " + message
			}
			message, cause, nested := strings.Cut(message, " (cause: ")
			text := "Error: " + code + `: "` + message + `"`
			if nested {
				text += " (cause: " + cause
			}
			return text
		}
		pick := func(first, newer, older string) string {
			if since(v, first) {
				return newer
			}
			return older
		}
		tests := []struct {
			argv   string
			code   int
			stdout string
			stderr string
		}{
			{"inspect absent", ifSince(v, "1.0.0", 1, 0), pick("1.0.0", "", "[]\n"), pick("1.0.0", "Error: container not found: absent", "")},
			{"inspect absent runs gone", ifSince(v, "1.0.0", 1, 0), "", pick("1.0.0", "Error: container not found: absent, gone", "")},
			{"start absent", 1, "", coded("notFound", "get failed: container absent not found")},
			{"start runs", 0, "runs\n", ""},
			{"exec absent true", 1, "", coded("notFound", "get failed: container absent not found")},
			{"exec stopped true", 1, "", coded("invalidState", "container stopped is not running")},
			{"exec runs no-such", 1, "", coded("internalError", `failed to start process {u} in container runs (cause: "internalError: "failed to start process (cause: "internal error (13): startProcess: failed to start process: internalError: "vmexec error: internalError: "failed to find target executable no-such""")"")`)},
			{"create --name runs sero-base:bookworm", 1, "", coded("internalError", `failed to create container (cause: "exists: "container already exists: runs"")`)},
			{"create --name x sero-base:bookworm", 1, "", pick("1.2.2", "Error: container ID x is not a valid container ID", coded("invalidArgument", "invalid entity name x"))},
			{"create --name ok --label a=b=c sero-base:bookworm", 1, "", coded("invalidArgument", "invalid label format a=b=c")},
			{"create --name ok --volume /no/such:/w sero-base:bookworm", 1, "", coded("invalidArgument", "path '/no/such' does not exist")},
			{"create --name ok --mount type=bind,source=/etc/passwd,target=/w sero-base:bookworm", 1, "", coded("invalidArgument", "path '/etc/passwd' is not a directory")},
			{"create --name ok --mount type=bind,source=/a=b,target=/w sero-base:bookworm", 1, "", coded("invalidArgument", "invalid directive format missing value source=/a=b in type=bind,source=/a=b,target=/w")},
			{"create --name ok --volume /a:b:/w:ro sero-base:bookworm", 1, "", coded("invalidArgument", "invalid volume format /a:b:/w:ro")},
			{"stop absent", ifSince(v, "0.12.3", 1, 0), "", pick("0.12.3", `Error: internalError: "failed to stop container" (cause: "notFound: "container with ID absent not found"")`, "")},
			{"stop stopped", 0, "stopped\n", ""},
			{"stop", 1, "", coded("invalidArgument", "no containers specified and --all not supplied")},
			{"kill absent", ifSince(v, "0.10.0", 1, 0), "", pick("0.10.0", `Error: internalError: "failed to kill container" (cause: "notFound: "container with ID absent not found"")`, "")},
			{"kill stopped", ifSince(v, "0.10.0", 1, 0), "", pick("0.10.0", `Error: internalError: "failed to kill container" (cause: "invalidState: "cannot kill: container is not running"")`, "")},
			{"delete --force absent", 1, "", pick("0.12.3", `Error: internalError: "failed to delete container" (cause: "notFound: "container with ID absent not found"")`, coded("notFound", `failed to delete one or more containers: ["absent"]`))},
			{"delete runs", 1, "", pick("0.12.3", `Error: internalError: "failed to delete container" (cause: "invalidState: "container runs is running and can not be deleted"")`,
				pick("0.10.0", `Error: invalidState: "container is running"`,
					"failed to delete container runs: invalidState: \"container is running\"\nError: internalError: \"delete failed for one or more containers: [\"runs\"]\""))},
			{"image inspect no/such:1", 1, "", pick("1.0.0", "Error: image not found: no/such:1",
				"error ImageInspect: no/such:1: Image not found\nError: InspectError(succeeded: [], failed: [(\"no/such:1\", notFound: \"Image not found\")])")},
			{"image delete no/such:1", 1, "", coded("internalError", `failed to delete one or more images: ["no/such:1"]`)},
			{"image tag no/such:1 a:2", 1, "", coded("notFound", "image with reference no/such:1")},
			{"stats absent --format json --no-stream", 1, "", coded("notFound", "no such container: absent")},
			{"network inspect absent", ifSince(v, "1.0.0", 1, 0), pick("1.0.0", "", "[]\n"), pick("1.0.0", "Error: network not found: absent", "")},
			{"builder status --format json", 0, "[]\n", ""},
			{"--version", 0, "container CLI version " + v + " (build: release, commit: " + pick("1.0.0", "1234567", pick("0.12.3", "f989901", "1234567")) + ")\n", ""},
		}
		for _, test := range tests {
			r := s.Run(strings.Fields(test.argv)...)
			stderr := strings.TrimSpace(uuid.ReplaceAllString(r.Stderr, "{u}"))
			if r.Code != test.code || stderr != test.stderr || test.stdout != "" && r.Stdout != test.stdout {
				t.Errorf("container %s\n got %d, %q, %s\nwant %d, %q, %s", test.argv, r.Code, r.Stdout, stderr, test.code, test.stdout, test.stderr)
			}
		}
	})
}

func ifSince(version, first string, then, otherwise int) int {
	if since(version, first) {
		return then
	}
	return otherwise
}

// TestSystem follows a system from installed to running and back: facts 1.
func TestSystem(t *testing.T) {
	for _, version := range Versions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			s := Start(t, version, Stopped(), AnyArgv())
			s.Run("system", "status").want(t, 1, "apiserver is not running and not registered with launchd\n")
			if r := s.Run("list", "--all"); r.Code != 1 || !strings.Contains(r.Stderr, "XPC connection error: Connection invalid") ||
				!strings.Contains(r.Stderr, "\nEnsure container system service has been started with `container system start`.") {
				t.Errorf("%+v", r)
			}
			if since(version, "0.10.0") {
				r := s.Run("system", "status", "--format", "json")
				if r.Code != 1 || !strings.Contains(r.Stdout, `"status":"unregistered"`) {
					t.Errorf("%+v", r)
				}
			}
			s.Fault("kernel-missing")
			if r := s.Run("system", "start"); r.Code != 1 || !strings.Contains(r.Stdout, "[Y/n]: ") || !strings.Contains(r.Stderr, "failed to read user input") {
				t.Errorf("a start that asks: %+v", r)
			}
			if r := s.Run("create", "sero-base:bookworm"); r.Code != 1 || !strings.Contains(r.Stderr, "default kernel not configured") {
				t.Errorf("without a kernel: %+v", r)
			}
			if r := s.Run("system", "start", "--enable-kernel-install"); r.Code != 0 {
				t.Errorf("%+v", r)
			}
			s.Fault("")
			r := s.Run("system", "status")
			running := "apiserver is running\napplication data root: "
			if since(version, "0.10.0") {
				running = "FIELD              VALUE\nstatus             running\n"
			}
			if r.Code != 0 || !strings.HasPrefix(r.Stdout, running) {
				t.Errorf("%+v", r)
			}
			s.Fault("xpc-down")
			s.Run("system", "status").want(t, 1, "apiserver is not running\n")
			s.Fault("")
			id := s.container("up")
			if r := s.Run("system", "stop"); r.Code != 0 {
				t.Errorf("%+v", r)
			}
			s.must("system", "start", "--enable-kernel-install")
			if r := s.Run("exec", id, "true"); r.Code != 1 || !strings.Contains(r.Stderr, "container up is not running") {
				t.Errorf("after a restart all containers are stopped: %+v", r)
			}
		})
	}
}
