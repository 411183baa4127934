package applecontainer

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// configurationSample is what all releases share, with an image by its full name
// and escaped slashes.
const configurationSample = `{"id":"sero-x","image":{"reference":"docker.io\/library\/sero-node:latest","descriptor":{"mediaType":"application\/vnd.oci.image.index.v1+json","digest":"sha256:ab","size":7}},
 "labels":{"dev.sero.managed":"true","dev.sero.spec-hash":"a%3Db","dev.sero.instance":"1795622782699-ABC"},
 "mounts":[{"type":{"virtiofs":{}},"source":"\/w","destination":"\/workspace","options":[]},{"type":{"virtiofs":{}},"source":"\/r","destination":"\/r","options":["ro"]},{"type":{"tmpfs":{}},"source":"","destination":"\/tmp","options":[]}],
 "publishedPorts":[{"hostAddress":"127.0.0.1","hostPort":4000,"containerPort":3000,"proto":"tcp","count":1}],
 "networks":[{"network":"default","options":{"hostname":"sero-x"}}],
 "initProcess":{"executable":"\/bin\/sh","arguments":[],"environment":[],"workingDirectory":"\/workspace","terminal":false,"user":{"id":{"uid":0,"gid":0}}}`

// TestSnapshots reads what inspect and list of the two forms print.
func TestSnapshots(t *testing.T) {
	want := driver.Sandbox{
		ID: "sero-x", Instance: "1795622782699-ABC", State: driver.SandboxRunning,
		Labels:       map[string]string{"dev.sero.managed": "true", "dev.sero.spec-hash": "a=b"},
		WorkspaceDir: "/workspace", Image: "sero-node:latest", ImageDigest: "sha256:ab",
		Addresses: []string{"192.168.65.3"}, Gateway: "192.168.65.1", Subnets: []string{"192.168.65.0/24"},
		Publish: []driver.PublishedPort{{SandboxPort: 3000, HostPort: 4000}},
		Mounts:  []driver.Mount{{Source: "/w", Target: "/workspace"}, {Source: "/r", Target: "/r", ReadOnly: true}},
		Created: time.UnixMilli(1795622782699), Started: time.Date(2026, 11, 25, 16, 0, 0, 0, time.UTC),
	}
	const network = `[{"network":"default","hostname":"sero-x","ipv4Address":"192.168.65.3\/24","ipv4Gateway":"192.168.65.1","macAddress":"f2:00:00:00:00:01"}]`
	for version, text := range map[string]string{
		"0.9.0":  `[{"status":"running","startedDate":817315200,"networks":` + network + `,"configuration":` + configurationSample + `}}]`,
		"0.12.3": `[{"networks":` + network + `,"status":"running","startedDate":817315200.0,"configuration":` + configurationSample + `,"capAdd":[],"capDrop":[]}}]`,
		"1.0.0":  `[{"id":"sero-x","configuration":` + configurationSample + `,"creationDate":"2026-11-25T15:00:00Z"},"status":{"state":"running","startedDate":"2026-11-25T16:00:00Z","networks":` + network + `}}]`,
		"1.2.2":  `[{"id":"sero-x","configuration":` + configurationSample + `,"creationDate":"2026-11-25T15:00:00Z","maskedPaths":[]},"status":{"state":"running","startedDate":"2026-11-25T16:00:00Z","networks":` + network + `}}]`,
	} {
		got, err := parseSnapshots(text)
		if err != nil || len(got) != 1 {
			t.Errorf("%s: %v, %v", version, got, err)
			continue
		}
		if diff := cmp.Diff(want, got[0], cmpopts.EquateApproxTime(0)); diff != "" {
			t.Errorf("%s: %s", version, diff)
		}
	}
}

func TestSnapshotsThatAreNone(t *testing.T) {
	for _, text := range []string{"", "[", `[{"status":"running","configura`, "container is running", `[{}]`, `{"status":[]}`} {
		if got, err := parseSnapshots(text); !errors.Is(err, errHalf) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	if got, err := parseSnapshots("[]\n"); err != nil || len(got) > 0 {
		t.Errorf("%v, %v", got, err)
	}
}

func TestImages(t *testing.T) {
	const variants = `"variants":[{"platform":{"os":"unknown","architecture":"unknown"},"size":1,"config":{}},{"platform":{"os":"linux","architecture":"arm64"},"size":7,"config":{"created":"2026-01-02T03:04:05Z","config":{"Labels":{"k":"v"}}}}]`
	for version, text := range map[string]string{
		"0.9.0": `[{"name":"docker.io\/library\/app:1","index":{"digest":"sha256:ab","size":3},` + variants + `}]`,
		"1.2.2": `[{"id":"ab","configuration":{"name":"docker.io\/library\/app:1","descriptor":{"digest":"sha256:ab"},"creationDate":"2026-01-01T00:00:00Z"},` + variants + `}]`,
	} {
		got, err := parseImages(text)
		if err != nil || len(got) != 1 {
			t.Fatalf("%s: %v, %v", version, got, err)
		}
		want := driver.Image{Reference: "app:1", Digest: "sha256:ab", SizeBytes: 7, Labels: map[string]string{"k": "v"}, Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
		if diff := cmp.Diff(want, got[0].image()); diff != "" {
			t.Errorf("%s: %s", version, diff)
		}
	}
}
