// Package unsniffed keeps net/http from guessing what a proxied answer is.
package unsniffed

import "net/http"

// Writer passes an answer on without a Content-Type if it has none: net/http
// would guess one from the first bytes, where a browser knows better what it
// asked for.
type Writer struct{ http.ResponseWriter }

// WriteHeader sends the header.
func (w Writer) WriteHeader(code int) {
	if _, has := w.Header()["Content-Type"]; !has {
		w.Header()["Content-Type"] = nil
	}
	w.ResponseWriter.WriteHeader(code)
}

// Unwrap is for http.ResponseController.
func (w Writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }
