package preview

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"strconv"
	"strings"

	"github.com/sero-labs/sero-runtime/core/devserver"
)

// page is an answer of sero's own.
type page struct {
	Status  int
	Title   string
	Message string
	Command string // what a person can run
	Reload  int    // seconds; 0: never
}

// noServer is the same for whatever is not there: it tells nothing of what is.
var noServer = page{
	Status: http.StatusNotFound, Title: "No such dev server", Command: "sero dev ls --all",
	Message: "No dev server has this address.",
}

// Times between two reloads, in seconds.
const (
	reloadSoon  = 1
	reloadLater = 3
)

// pageFor says why a server that is known cannot answer.
func pageFor(server devserver.Server) page {
	restart := "sero dev restart -w " + server.WorkspaceID + " " + server.Name
	switch server.Status {
	case devserver.StatusStarting:
		return waiting(server, "It does not listen yet.")
	case devserver.StatusFailed:
		return page{
			Status: http.StatusBadGateway, Title: server.Name + " failed", Message: server.StatusMessage, Command: restart, Reload: reloadLater,
		}
	default:
		return page{
			Status: http.StatusBadGateway, Title: server.Name + " is not running", Message: server.StatusMessage, Command: restart, Reload: reloadLater,
		}
	}
}

func waiting(server devserver.Server, message string) page {
	return page{
		Status: http.StatusServiceUnavailable, Title: server.Name + " is starting", Message: message, Reload: reloadSoon,
		Command: "sero dev logs -f -w " + server.WorkspaceID + " " + server.Name,
	}
}

const style = `body{font:16px/1.5 system-ui,sans-serif;margin:15vh auto;max-width:36rem;padding:0 1rem;color:#222;background:#fff}` +
	`code{background:#eee;padding:.2em .4em;border-radius:3px}` +
	`@media(prefers-color-scheme:dark){body{color:#ddd;background:#1b1b1b}code{background:#333}}`

// policy allows nothing but the style above: what a server's name or last words
// could bring into the page does nothing.
var policy = func() string {
	sum := sha256.Sum256([]byte(style))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'"
}()

var pageTemplate = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
{{- if .Reload}}<meta http-equiv="refresh" content="{{.Reload}}">{{end}}
<title>{{.Title}}</title><style>` + style + `</style></head>
<body><h1>{{.Title}}</h1>{{with .Message}}<p>{{.}}</p>{{end}}{{with .Command}}<p><code>{{.}}</code></p>{{end}}</body></html>
`))

// write answers with the page, or with its text where no page was asked for. A
// page reloads itself only when getting it again does no harm.
func (p page) write(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Security-Policy", policy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	if p.Status == http.StatusServiceUnavailable {
		header.Set("Retry-After", strconv.Itoa(p.Reload))
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		p.Reload = 0
	}
	var body bytes.Buffer
	if strings.Contains(r.Header.Get("Accept"), "text/html") {
		header.Set("Content-Type", "text/html; charset=utf-8")
		if err := pageTemplate.Execute(&body, p); err != nil {
			http.Error(w, p.Title, p.Status)
			return
		}
	} else {
		header.Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprintln(&body, strings.TrimSpace(p.Title+"\n"+p.Message))
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(body.Bytes()) // a client that has gone misses nothing
}
