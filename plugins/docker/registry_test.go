package docker_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/sero-labs/sero-runtime/internal/testutil/dockertest"
)

// What registries of images speak:
// https://distribution.github.io/distribution/spec/manifest-v2-2/
const (
	typeManifest = "application/vnd.docker.distribution.manifest.v2+json"
	typeConfig   = "application/vnd.docker.container.image.v1+json"
	typeLayer    = "application/vnd.docker.image.rootfs.diff.tar.gzip"
)

type descriptor struct {
	MediaType string `json:"mediaType"`
	Size      int    `json:"size"`
	Digest    string `json:"digest"`
}

// pullable is an image that the engine can pull from a registry on this machine,
// and that is removed at the end; empty where the engine is on another.
func pullable(t *testing.T) string {
	t.Helper()
	host := dockertest.Engine(t)
	if theirs := dockertest.Docker(t, host, "info", "--format", "{{.KernelVersion}}"); strings.TrimSpace(theirs) != kernel() {
		return ""
	}
	layer, unpacked := layerOf(t, "pulled", "from a registry\n")
	config := encode(t, map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "config": map[string]any{},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{digest(unpacked)}},
	})
	manifest := encode(t, map[string]any{
		"schemaVersion": 2, "mediaType": typeManifest,
		"config": descriptor{typeConfig, len(config), digest(config)},
		"layers": []descriptor{{typeLayer, len(layer), digest(layer)}},
	})
	mux := http.NewServeMux()
	mux.HandleFunc("/v2/{$}", func(http.ResponseWriter, *http.Request) {})
	serve := func(path, mediaType string, content []byte) {
		mux.HandleFunc("/v2/sero-test/"+path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", mediaType)
			w.Header().Set("Docker-Content-Digest", digest(content))
			_, _ = w.Write(content) // net/http drops it for HEAD
		})
	}
	serve("manifests/latest", typeManifest, manifest)
	serve("manifests/"+digest(manifest), typeManifest, manifest)
	serve("blobs/"+digest(config), typeConfig, config)
	serve("blobs/"+digest(layer), typeLayer, layer)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	ref := server.Listener.Addr().String() + "/sero-test:latest"
	t.Cleanup(func() { dockertest.Docker(t, host, "image", "rm", "--force", ref) })
	return ref
}

// kernel is this machine's, empty where it cannot be an engine's.
func kernel() string {
	text, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return strings.TrimSpace(string(text))
}

// layerOf is a layer with one file, packed and not.
func layerOf(t *testing.T, name, text string) (packed, unpacked []byte) {
	t.Helper()
	var plain, zipped bytes.Buffer
	files := tar.NewWriter(&plain)
	err := files.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))})
	if err == nil {
		_, err = files.Write([]byte(text))
	}
	if err == nil {
		err = files.Close()
	}
	zip := gzip.NewWriter(&zipped)
	if err == nil {
		_, err = zip.Write(plain.Bytes())
	}
	if err == nil {
		err = zip.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return zipped.Bytes(), plain.Bytes()
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}
