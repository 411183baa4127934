package unsniffed

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestNoTypeIsGuessed(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u := Writer{w}
		if r.URL.Path == "/typed" {
			u.Header().Set("Content-Type", "text/x-odd")
		}
		u.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(u, "<!doctype html>")
		if err := http.NewResponseController(u).Flush(); err != nil {
			t.Error(err)
		}
	}))
	defer s.Close()
	for path, want := range map[string]string{"/": "", "/typed": "text/x-odd"} {
		r, err := s.Client().Get(s.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = r.Body.Close()
		if got := r.Header.Get("Content-Type"); got != want || r.StatusCode != http.StatusTeapot {
			t.Errorf("%s: %d with the type %q", path, r.StatusCode, got)
		}
	}
}
