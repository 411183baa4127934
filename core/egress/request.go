package egress

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/sero-labs/sero-runtime/core/egress/policy"
)

// targetOf reads what a request wants to reach from its request line, as it came:
// what the HTTP library made of it may have been normalised. A Host header is
// never asked; the one that is sent on is made from the target.
func targetOf(r *http.Request) (policy.Target, error) {
	if r.Method == http.MethodConnect {
		if r.ContentLength != 0 || len(r.TransferEncoding) > 0 {
			return policy.Target{}, errors.New("CONNECT has no body")
		}
		return malformed(policy.ParseAuthority(r.RequestURI, 0))
	}
	scheme, rest, ok := strings.Cut(r.RequestURI, "://")
	switch {
	case !ok || strings.ContainsAny(scheme, "/?#"):
		return policy.Target{}, errors.New("this is a proxy: the request line needs an absolute URL")
	case strings.EqualFold(scheme, "https"):
		return policy.Target{}, errors.New("this proxy opens no TLS of its own: use CONNECT for https")
	case !strings.EqualFold(scheme, "http"):
		return policy.Target{}, errors.New("this proxy carries http, and anything else by CONNECT")
	}
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		rest = rest[:end]
	}
	return malformed(policy.ParseAuthority(rest, 80))
}

func malformed(t policy.Target, err error) (policy.Target, error) {
	if err != nil {
		return t, fmt.Errorf("the target is malformed: %w", err)
	}
	return t, nil
}
