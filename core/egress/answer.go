package egress

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/sero-labs/sero-runtime/core/egress/policy"
)

// answer is a reply that the proxy gives itself.
type answer struct {
	status int
	kind   string // of RFC 9209: the error of Proxy-Status
	why    string // one line, ASCII
	rule   string // what decided, if a rule did
	allow  string // the rule that would let it through, if there is one
}

// Refusal is one request that was not let through.
type Refusal struct {
	Method string
	Target string // as it was asked for, quoted where it is odd
	Status int    // of HTTP: 403, 407 or 400
	Why    string
	Rule   string // empty where no rule decided
	Allow  string // what to grant; empty where that would not help
}

// refusal is the answer for what the policy does not let through.
func (p *Proxy) refusal(kind string, r *policy.Refusal) *answer {
	return &answer{status: http.StatusForbidden, kind: kind, why: r.Why, rule: r.Rule, allow: r.Allow}
}

// refuse answers, and tells of it unless it is a failure of the network, or the
// question for a credential that many programs wait for before they give theirs.
func (p *Proxy) refuse(w http.ResponseWriter, r *http.Request, a answer) {
	asks := a.status == http.StatusProxyAuthRequired && len(r.Header.Values("Proxy-Authorization")) == 0
	if a.status < http.StatusInternalServerError && !asks {
		p.options.Refused(Refusal{
			Method: shown(r.Method), Target: shown(r.RequestURI), Status: a.status, Why: a.why, Rule: a.rule, Allow: a.allow,
		})
	}
	p.reply(w, a)
}

// reply writes an answer for people, with RFC 9209's header for programs.
func (p *Proxy) reply(w http.ResponseWriter, a answer) {
	var text strings.Builder
	fmt.Fprintf(&text, "sero: %s\n", a.why)
	if a.rule != "" {
		fmt.Fprintf(&text, "rule: %s\n", a.rule)
	}
	switch {
	case a.allow != "":
		fmt.Fprintf(&text, "to allow it, on the host: sero egress allow -w %s %s\n", p.options.WorkspaceID, quoted(a.allow))
	case a.status == http.StatusForbidden:
		text.WriteString("to allow it, remove that rule; of sero.json it holds until: sero stop -w " + p.options.WorkspaceID +
			", of config.json until: sero daemon stop\n")
	case a.status == http.StatusProxyAuthRequired:
		text.WriteString("it is in HTTP_PROXY, another one after each start of the sandbox: start this program again\n")
	}
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set("Proxy-Status", fmt.Sprintf("sero; error=%s; details=%s", a.kind, strconv.QuoteToASCII(a.why)))
	if a.status == http.StatusProxyAuthRequired {
		h.Set("Proxy-Authenticate", `Basic realm="sero egress"`)
	}
	w.WriteHeader(a.status)
	_, _ = w.Write([]byte(text.String())) // nobody may be there any more
}

// quoted is a rule as a shell takes it.
func quoted(rule string) string {
	if strings.ContainsAny(rule, "[]*") {
		return "'" + rule + "'"
	}
	return rule
}

// shown is text from the sandbox as a message may carry it.
func shown(s string) string {
	const most = 120
	short := s[:min(len(s), most)]
	if text := strconv.QuoteToASCII(short); text != `"`+short+`"` || strings.ContainsRune(short, ' ') {
		short = text
	}
	if len(s) > most {
		short += fmt.Sprintf("… (%d bytes)", len(s))
	}
	return short
}
