package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestHello(t *testing.T) {
	answer := httptest.NewRecorder()
	hello(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	if answer.Code != http.StatusOK || !strings.HasPrefix(answer.Body.String(), "Hello") {
		t.Errorf("answered %d %q", answer.Code, answer.Body)
	}
}
