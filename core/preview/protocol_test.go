package preview_test

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sero-labs/sero-runtime/core/devserver"
)

// TestC2PreviewsOfServersThatSpeakTLSOrHTTP2 carries requests to servers of every
// protocol, with certificates of their own.
func TestC2PreviewsOfServersThatSpeakTLSOrHTTP2(t *testing.T) {
	for protocol, set := range map[devserver.Protocol]func(*http.Protocols){
		devserver.ProtocolHTTPS: func(p *http.Protocols) { p.SetHTTP1(true) },
		devserver.ProtocolH2:    func(p *http.Protocols) { p.SetHTTP2(true) },
		devserver.ProtocolH2C:   func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) },
	} {
		t.Run(string(protocol), func(t *testing.T) {
			w := newWorld(t)
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/moved" {
					w.Header().Set("Location", "https://"+r.Host+"/there")
					w.WriteHeader(http.StatusFound)
					return
				}
				fmt.Fprintf(w, "%s %s", r.Proto, r.Host)
			}))
			s.Config.Protocols = new(http.Protocols)
			set(s.Config.Protocols)
			if protocol == devserver.ProtocolH2C {
				s.Start()
			} else {
				s.TLS = &tls.Config{NextProtos: []string{map[bool]string{true: "h2", false: "http/1.1"}[protocol == devserver.ProtocolH2]}}
				s.StartTLS()
			}
			t.Cleanup(s.Close)
			server := running("shop", "web", s.Listener.Addr().String())
			server.Protocol = protocol
			w.put(server)
			host := "web.shop.localhost:7376"
			got, text := w.page(host, "/")
			if got.StatusCode != http.StatusOK || !strings.HasSuffix(text, " "+host) || strings.HasPrefix(text, "HTTP/1.1") != (protocol == devserver.ProtocolHTTPS) {
				t.Errorf("%d %q", got.StatusCode, text)
			}
			moved, _ := w.page(host, "/moved")
			want := "http://" + host + "/there"
			if protocol == devserver.ProtocolH2C { // it does not speak TLS, so it means another server
				want = "https://" + host + "/there"
			}
			if location := moved.Header.Get("Location"); location != want {
				t.Errorf("it leads to %q, want %q", location, want)
			}
		})
	}
}
