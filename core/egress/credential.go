package egress

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
)

// Credential is what a workspace's programs present to its proxy. It is good for
// one life of a sandbox, and is never written to a log or an error.
type Credential struct {
	user   string
	secret string
}

// newCredential makes a random one for a workspace.
func newCredential(workspaceID string) Credential {
	return Credential{user: workspaceID, secret: rand.Text()}
}

// String hides the secret.
func (c Credential) String() string { return c.user + ":…" }

// GoString hides the secret.
func (c Credential) GoString() string { return c.String() }

// proxyURL is the proxy as programs are told of it.
func (c Credential) proxyURL(address string) string {
	u := url.URL{Scheme: "http", User: url.UserPassword(c.user, c.secret), Host: address}
	return u.String()
}

// presented tells whether a request has this credential, once, in a time that
// does not depend on how much of it is right.
func (c Credential) presented(r *http.Request) bool {
	given := r.Header.Values("Proxy-Authorization")
	if len(given) != 1 || c.secret == "" {
		return false
	}
	scheme, value, _ := strings.Cut(given[0], " ")
	got := sha256.Sum256([]byte(strings.TrimSpace(value)))
	want := sha256.Sum256([]byte(base64.StdEncoding.EncodeToString([]byte(c.user + ":" + c.secret))))
	return strings.EqualFold(scheme, "Basic") && subtle.ConstantTimeCompare(got[:], want[:]) == 1
}
