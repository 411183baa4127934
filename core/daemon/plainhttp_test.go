package daemon_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
	"github.com/sero-labs/sero-runtime/internal/paths"
	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/fake"
)

// plainClient returns a client as curl or a script is one, with HTTP/1.1 or HTTP/2.
func plainClient(t *testing.T, socket string, two bool) *http.Client {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!two)
	protocols.SetUnencryptedHTTP2(two)
	transport := &http.Transport{Protocols: protocols, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// Every error over plain HTTP has an ErrorDetail, also one that is found before
// any handler runs.
func TestPlainHTTPErrorsHaveADetail(t *testing.T) {
	r := start(t, fake.Script{})
	const status, up, run, list = "DaemonService/GetStatus", "WorkspaceService/Up", "ExecService/Exec", "WorkspaceService/GetWorkspace"
	const unary, stream = "application/json", "application/connect+json"
	envelope := func(s string) string { return string([]byte{0, 0, 0, 0, byte(len(s))}) + s }
	for name, c := range map[string]struct {
		method, path, content, body string
		reason                      driver.Reason // empty: it succeeds
		says                        string
	}{
		"benign":                       {"POST", status, unary, "{}", "", ""},
		"benign charset":               {"POST", status, unary + "; charset=utf-8", "{}", "", ""},
		"benign stream":                {"POST", up, stream, envelope(`{"workspace":{"id":"w"}}`), driver.NotFound, ""},
		"unknown field":                {"POST", status, unary, `{"wurkspace":1}`, driver.InvalidArgument, "wurkspace"},
		"unknown field with a charset": {"POST", status, unary + "; charset=utf-8", `{"wurkspace":1}`, driver.InvalidArgument, "wurkspace"},
		"unknown nested field":         {"POST", list, unary, `{"workspace":{"id":"a","dir":"b"}}`, driver.InvalidArgument, "dir"},
		"unknown field of a stream":    {"POST", up, stream, envelope(`{"x":1}`), driver.InvalidArgument, "x"},
		"no JSON":                      {"POST", status, unary, `{`, driver.InvalidArgument, "cannot be read"},
		"empty":                        {"POST", status, unary, ``, driver.InvalidArgument, "empty"},
		"of another type":              {"POST", list, unary, `{"workspace":7}`, driver.InvalidArgument, ""},
		"no protobuf":                  {"POST", list, "application/proto", "\xff\xff", driver.InvalidArgument, ""},
		"not UTF-8":                    {"POST", list, unary, "{\"workspace\":{\"id\":\"\xff\"}}", driver.InvalidArgument, "UTF-8"},
		"too large":                    {"POST", list, unary, `{"workspace":{"id":"` + strings.Repeat("a", 5<<20) + `"}}`, driver.InvalidArgument, "larger"},
		"stream as unary JSON":         {"POST", up, unary, "{}", driver.InvalidArgument, "application/json"},
		"unary as a stream":            {"POST", status, stream, envelope("{}"), driver.InvalidArgument, stream},
		"form":                         {"POST", status, "application/x-www-form-urlencoded", "a=b", driver.InvalidArgument, "form"},
		"no content type":              {"POST", status, "", "{}", driver.InvalidArgument, ""},
		"GET":                          {"GET", status, "", "", driver.InvalidArgument, "POST"},
		"PUT":                          {"PUT", status, unary, "{}", driver.InvalidArgument, "POST"},
		"unknown procedure":            {"POST", "DaemonService/GetStatuz", unary, "{}", driver.Unsupported, "GetStatuz"},
		"unknown service":              {"POST", "NoService/Call", unary, "{}", driver.Unsupported, "NoService"},
		"Exec as unary JSON":           {"POST", run, unary, `{"start":{}}`, "", ""}, // below: differs by version
		"Exec as a stream":             {"POST", run, stream, envelope(`{"start":{}}`), "", ""},
	} {
		for _, two := range []bool{false, true} {
			want := c.reason
			if strings.HasPrefix(name, "Exec") {
				if want = driver.InvalidArgument; !two {
					want = driver.Unsupported
				}
			}
			t.Run(name+map[bool]string{false: " 1.1", true: " 2"}[two], func(t *testing.T) {
				d := plainError(t, plainClient(t, paths.Socket(r.config.RunDir), two), c.method, c.path, c.content, c.body)
				switch {
				case want == "":
					if d != nil {
						t.Errorf("failed: %v", d)
					}
				case driver.Reason(d.GetReason()) != want, !strings.Contains(d.GetMessage(), c.says), strings.Contains(d.GetMessage(), "\u00a0"):
					t.Errorf("%v, want %s with %q", d, want, c.says)
				}
			})
		}
	}
}

// plainError makes a call and returns the detail of its error, nil for a success.
func plainError(t *testing.T, client *http.Client, method, path, content, body string) *apipb.ErrorDetail {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://sero/sero.api.v1."+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if content != "" {
		req.Header.Set("Content-Type", content)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "application/connect+") {
		for len(answer) > 5 && answer[0]&2 == 0 { // a message before the end
			answer = answer[5+int(answer[1])<<24+int(answer[2])<<16+int(answer[3])<<8+int(answer[4]):]
		}
		var end struct {
			Error json.RawMessage `json:"error"`
		}
		if err := json.Unmarshal(bytes.TrimSpace(answer[5:]), &end); err != nil {
			t.Fatalf("the end of the stream: %q: %v", answer, err)
		}
		answer = end.Error
	} else if resp.StatusCode == http.StatusOK {
		return nil
	}
	if len(answer) == 0 {
		return nil
	}
	var e struct {
		Details []struct{ Type, Value string } `json:"details"`
	}
	if err := json.Unmarshal(answer, &e); err != nil || len(e.Details) != 1 {
		t.Fatalf("status %d, %d details: %q %v", resp.StatusCode, len(e.Details), answer, err)
	}
	raw, err := base64.RawStdEncoding.DecodeString(e.Details[0].Value)
	if err != nil {
		t.Fatal(err)
	}
	d := new(apipb.ErrorDetail)
	if err := proto.Unmarshal(raw, d); err != nil || e.Details[0].Type != "sero.api.v1.ErrorDetail" {
		t.Fatalf("%s: %v", e.Details[0].Type, err)
	}
	return d
}
