package policy_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/sero-labs/sero-runtime/core/egress/policy"
)

func lines(t testing.TB, file string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			out = append(out, line)
		}
	}
	return out
}

// public is a policy under which all that is public may be reached.
var public = policy.Policy{Own: func(netip.Addr) bool { return false }}

// TestB30Addresses holds every hostile address against its benign twin, as a
// literal and as what a name resolves to.
func TestB30Addresses(t *testing.T) {
	for _, line := range lines(t, "addresses.txt") {
		fields := strings.Fields(line)
		hostile, twin := netip.MustParseAddr(fields[0]), netip.MustParseAddr(fields[len(fields)-1])
		why := strings.Join(fields[1:len(fields)-1], " ")
		for _, target := range []policy.Target{{Host: hostile.String(), Addr: hostile, Port: 80}, {Host: "name.example", Port: 80}} {
			refusal := public.CheckAddr(target, hostile)
			if refusal == nil || !strings.HasPrefix(refusal.Rule, why+",") {
				t.Errorf("%s as %s: %v, want a refusal for %q", hostile, target.Host, refusal, why)
			}
			if refusal := public.CheckAddr(target, twin); refusal != nil {
				t.Errorf("the twin %s as %s: %v", twin, target.Host, refusal)
			}
		}
		named, err := policy.ParseRule(netip.AddrPortFrom(hostile, 80).String())
		if hostile.Is4In6() {
			continue // no rule can name it
		}
		if err != nil {
			t.Fatal(err)
		}
		granted := public
		granted.Granted = []policy.Rule{named}
		if refusal := granted.CheckAddr(policy.Target{Host: "name.example", Port: 80}, hostile); refusal != nil {
			t.Errorf("%s, granted by address: %v", hostile, refusal)
		}
	}
}

// TestSpecialsOrder keeps a large block from hiding a smaller one.
func TestSpecialsOrder(t *testing.T) {
	for i, s := range policy.Specials {
		if s.Prefix != s.Prefix.Masked() {
			t.Errorf("%s has bits behind its length", s.Prefix)
		}
		for _, earlier := range policy.Specials[:i] {
			if earlier.Prefix.Overlaps(s.Prefix) && earlier.Prefix.Bits() <= s.Prefix.Bits() {
				t.Errorf("%s stands behind %s and is never found", s.Prefix, earlier.Prefix)
			}
		}
	}
}

func TestB30Authorities(t *testing.T) {
	for _, line := range lines(t, "authorities.txt") {
		s, err := strconv.Unquote(line)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if target, err := policy.ParseAuthority(s, 0); err == nil {
			t.Errorf("%q is %v", s, target)
		}
	}
	for s, want := range map[string]string{
		"good.example:80":                  "good.example:80",
		"GOOD.Example.:443":                "good.example:443",
		"xn--bcher-kva.example:80":         "xn--bcher-kva.example:80",
		"my_bucket.s3.example:443":         "my_bucket.s3.example:443",
		"1password.example:443":            "1password.example:443",
		"127.0.0.1.nip.example:80":         "127.0.0.1.nip.example:80",
		"0x7f.face:80":                     "0x7f.face:80",
		"localhost:1":                      "localhost:1",
		"140.82.112.3:65535":               "140.82.112.3:65535",
		"[2606:4700::1111]:443":            "[2606:4700::1111]:443",
		"[2606:4700:0:0:0:0:0:1111]:443":   "[2606:4700::1111]:443",
		strings.Repeat("a", 63) + ".io:80": strings.Repeat("a", 63) + ".io:80",
	} {
		if target, err := policy.ParseAuthority(s, 0); err != nil || target.String() != want {
			t.Errorf("%q is %v, %v, want %s", s, target, err, want)
		}
	}
	if target, err := policy.ParseAuthority("good.example", 80); err != nil || target.Port != 80 {
		t.Errorf("with a default port: %v, %v", target, err)
	}
}

func TestRules(t *testing.T) {
	for rule, cases := range map[string]map[string]bool{
		"good.example":       {"good.example:443": true, "good.example:80": true, "GOOD.example.:443": true, "good.example:22": false, "a.good.example:443": false, "notgood.example:443": false, "good.example.evil.example:443": false},
		"good.example:22":    {"good.example:22": true, "good.example:443": false},
		"good.example:*":     {"good.example:1": true, "other.example:1": false},
		"*.good.example":     {"a.good.example:443": true, "a.b.good.example:80": true, "good.example:443": false, "agood.example:443": false},
		"*.good.example:22":  {"a.good.example:22": true, "a.good.example:443": false},
		"*":                  {"good.example:443": true, "1.2.3.4:80": true, "good.example:22": false},
		"*:22":               {"good.example:22": true, "good.example:80": false},
		"1.2.3.4":            {"1.2.3.4:443": true, "1.2.3.4:22": false, "1.2.3.5:443": false, "good.example:443": false},
		"1.2.0.0/16:22":      {"1.2.3.4:22": true, "1.3.3.4:22": false},
		"2600::1":            {"[2600::1]:443": true, "[2600::2]:443": false},
		"[2600::1]:22":       {"[2600::1]:22": true},
		"2600::/16":          {"[2600::7]:80": true, "[2601::7]:80": false},
		"[2600::/16]:22":     {"[2600::7]:22": true, "[2600::7]:80": false},
		"GOOD.Example.:8080": {"good.example:8080": true},
	} {
		r, err := policy.ParseRule(rule)
		if err != nil {
			t.Errorf("%s: %v", rule, err)
			continue
		}
		for authority, want := range cases {
			target, err := policy.ParseAuthority(authority, 0)
			if err != nil {
				t.Fatalf("%s: %v", authority, err)
			}
			p := policy.Policy{Workspace: policy.List{Mode: policy.Allowlist, Allow: []policy.Rule{r}}, Own: public.Own}
			if got := p.CheckTarget(target) == nil; got != want {
				t.Errorf("allow %s lets %s through: %t, want %t", rule, authority, got, want)
			}
		}
	}
	for _, bad := range []string{
		"", " ", "https://good.example", "good.example/path", "user@good.example", "good.example:0", "good.example:99999", "good.example:x",
		"*good.example", "good.*.example", "**", "127.1", "2130706433", "0x7f.1", "fe80::1%eth0", "::ffff:1.2.3.4", "[1.2.3.4]:80", "[good.example]:80", "[2600::1", "1.2.3.4/33", "bücher.example",
	} {
		if r, err := policy.ParseRule(bad); err == nil {
			t.Errorf("%q is the rule %s", bad, r)
		}
	}
}

func rules(t testing.TB, list ...string) []policy.Rule {
	t.Helper()
	out, err := policy.ParseRules(list)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestB30Layers holds the two files and the person's grants against each other.
func TestB30Layers(t *testing.T) {
	open, list := policy.Open, policy.Allowlist
	for name, c := range map[string]struct {
		machine, workspace policy.List
		granted            []policy.Rule
		target             string
		addr               string // of a name
		want               bool
	}{
		"open":                                       {target: "good.example:22", addr: "1.2.3.4", want: true},
		"an empty list is nothing":                   {workspace: policy.List{Mode: list}, target: "good.example:443", addr: "1.2.3.4"},
		"an empty list is nothing for literals":      {workspace: policy.List{Mode: list}, target: "1.2.3.4:443"},
		"listed":                                     {workspace: policy.List{Mode: list, Allow: rules(t, "good.example")}, target: "good.example:443", addr: "1.2.3.4", want: true},
		"a listed name at a private address":         {workspace: policy.List{Mode: list, Allow: rules(t, "good.example")}, target: "good.example:443", addr: "10.0.0.1"},
		"a workspace cannot open private addresses":  {workspace: policy.List{Mode: list, Allow: rules(t, "10.0.0.1", "*")}, target: "10.0.0.1:443"},
		"the machine can":                            {machine: policy.List{Mode: open, Allow: rules(t, "10.0.0.0/8")}, target: "10.0.0.1:443", want: true},
		"the machine can, by address, for names too": {machine: policy.List{Mode: open, Allow: rules(t, "10.0.0.0/8")}, target: "nas.example:443", addr: "10.0.0.1", want: true},
		"a name opens no private address":            {machine: policy.List{Mode: open, Allow: rules(t, "nas.example", "*")}, target: "nas.example:443", addr: "10.0.0.1"},
		"ports of opened addresses":                  {machine: policy.List{Mode: open, Allow: rules(t, "10.0.0.0/8:5432")}, target: "10.0.0.1:443"},
		"deny wins":                                  {workspace: policy.List{Mode: list, Allow: rules(t, "*.example:*"), Deny: rules(t, "bad.example")}, target: "bad.example:443", addr: "1.2.3.4"},
		"deny is for all ports":                      {workspace: policy.List{Deny: rules(t, "bad.example")}, target: "bad.example:4444", addr: "1.2.3.4"},
		"deny for one port":                          {workspace: policy.List{Deny: rules(t, "bad.example:25")}, target: "bad.example:443", addr: "1.2.3.4", want: true},
		"deny by what a name resolves to":            {workspace: policy.List{Deny: rules(t, "1.2.0.0/16")}, target: "good.example:443", addr: "1.2.3.4"},
		"deny everything":                            {workspace: policy.List{Deny: rules(t, "*")}, target: "1.2.3.4:443"},
		"deny wins over grants":                      {machine: policy.List{Deny: rules(t, "bad.example")}, granted: rules(t, "bad.example"), target: "bad.example:443", addr: "1.2.3.4"},
		"the machine's list closes":                  {machine: policy.List{Mode: list, Allow: rules(t, "good.example")}, workspace: policy.List{Mode: open}, target: "other.example:443", addr: "1.2.3.4"},
		"both lists must have it":                    {machine: policy.List{Mode: list, Allow: rules(t, "good.example")}, workspace: policy.List{Mode: list, Allow: rules(t, "other.example")}, target: "good.example:443", addr: "1.2.3.4"},
		"granted":                                    {machine: policy.List{Mode: list}, workspace: policy.List{Mode: list}, granted: rules(t, "good.example"), target: "good.example:443", addr: "1.2.3.4", want: true},
		"a granted name opens no private address":    {granted: rules(t, "good.example"), target: "good.example:443", addr: "127.0.0.1"},
		"a granted star opens no private address":    {granted: rules(t, "*:*"), target: "127.0.0.1:443"},
		"a granted address opens it":                 {granted: rules(t, "127.0.0.1:5432"), target: "127.0.0.1:5432", want: true},
		"address rules are for addresses, not names": {workspace: policy.List{Mode: list, Allow: rules(t, "1.2.3.4")}, target: "good.example:443", addr: "1.2.3.4"},
	} {
		t.Run(name, func(t *testing.T) {
			p := policy.Policy{Machine: c.machine, Workspace: c.workspace, Granted: c.granted, Own: public.Own}
			target, err := policy.ParseAuthority(c.target, 0)
			if err != nil {
				t.Fatal(err)
			}
			addr := target.Addr
			if c.addr != "" {
				addr = netip.MustParseAddr(c.addr)
			}
			refusal := p.CheckTarget(target)
			if refusal == nil {
				refusal = p.CheckAddr(target, addr)
			}
			if (refusal == nil) != c.want {
				t.Errorf("refusal: %v, want through: %t", refusal, c.want)
			}
			if refusal != nil && refusal.Rule == "" {
				t.Error("the refusal names no rule")
			}
		})
	}
	if refusal := (policy.Policy{}).CheckAddr(policy.Target{Host: "good.example", Port: 443}, netip.MustParseAddr("1.2.3.4")); refusal == nil {
		t.Error("a policy that cannot tell the host's own addresses lets some through")
	}
}

// FuzzParseAuthority holds the parser to one spelling: what it accepts, it
// accepts again as it wrote it, and means the same.
func FuzzParseAuthority(f *testing.F) {
	for _, line := range lines(f, "authorities.txt") {
		if s, err := strconv.Unquote(line); err == nil {
			f.Add(s)
		}
	}
	f.Add("good.example:80")
	f.Add("[2600::1]:443")
	f.Fuzz(func(t *testing.T, s string) {
		target, err := policy.ParseAuthority(s, 0)
		if err != nil {
			return
		}
		if target.Port == 0 || target.Host == "" {
			t.Fatalf("%q is %+v", s, target)
		}
		again, err := policy.ParseAuthority(target.String(), 0)
		if err != nil || again != target {
			t.Fatalf("%q is %v, and that is %v, %v", s, target, again, err)
		}
		for _, c := range []byte(target.Host) {
			if c <= ' ' || c >= 0x7f || strings.ContainsRune("/?#@%\\[]*,", rune(c)) {
				t.Fatalf("%q has the host %q", s, target.Host)
			}
		}
		if a, err := netip.ParseAddr(target.Host); err == nil != target.Addr.IsValid() || err == nil && a != target.Addr {
			t.Fatalf("%q: host %q, address %v", s, target.Host, target.Addr)
		}
		rule, err := policy.ParseRule(target.Rule())
		if target.Addr.Is4In6() {
			return
		}
		if err != nil {
			t.Fatalf("the rule %q for %q: %v", target.Rule(), s, err)
		}
		only := policy.Policy{Workspace: policy.List{Mode: policy.Allowlist, Allow: []policy.Rule{rule}}}
		if refusal := only.CheckTarget(target); refusal != nil {
			t.Fatalf("the rule %s does not allow %q: %v", rule, s, refusal)
		}
	})
}

// FuzzParseRule: a rule that is accepted is accepted again as it reads.
func FuzzParseRule(f *testing.F) {
	for _, s := range []string{"good.example:22", "*.good.example", "*:*", "10.0.0.0/8:5432", "[2600::/16]:22", "2600::1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := policy.ParseRule(s)
		if err != nil {
			return
		}
		if _, err := policy.ParseRule(r.String()); err != nil {
			t.Fatalf("%q is %s, and that is %v", s, r, err)
		}
	})
}
