package negotiate_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sero-labs/sero-runtime/core/negotiate"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

var full = []driver.Capability{
	driver.CapExec, driver.CapCopy, driver.CapSystemStart, driver.CapImageBuild,
	driver.CapBrowser, driver.CapTooling, driver.CapLinuxParity, driver.CapPreview, driver.CapNetContainer,
}

func offer(name string, isolation driver.Isolation, state driver.HealthState) negotiate.Offer {
	o := negotiate.Offer{
		Name: name, Info: driver.Info{Name: name, Isolation: isolation}, Capabilities: full,
		Health: driver.Health{State: state},
	}
	if state != driver.HealthReady {
		o.Health.Message = name + " is " + state.String()
		o.Health.Remedies = []driver.Remedy{{Text: "mend " + name}}
	}
	return o
}

func with(o negotiate.Offer, change func(*negotiate.Offer)) negotiate.Offer {
	change(&o)
	return o
}

var (
	host   = with(offer("host", driver.IsolationNone, driver.HealthReady), func(o *negotiate.Offer) { o.Capabilities = []driver.Capability{driver.CapExec} })
	fake   = offer("fake", driver.IsolationSharedKernel, driver.HealthReady)
	apple  = offer("apple-container", driver.IsolationVM, driver.HealthReady)
	docker = offer("docker", driver.IsolationSharedKernel, driver.HealthReady)
	mvm    = offer("microvm", driver.IsolationVM, driver.HealthReady)
	jail   = offer("a-jail", driver.IsolationSharedKernel, driver.HealthReady)
	ssh    = offer("ssh", driver.IsolationNone, driver.HealthReady)
	broken = with(docker, func(o *negotiate.Offer) {
		o.Problem = driver.Errorf(driver.DriverFailed, "the driver ended before it served").Remedy("run it by hand")
	})
)

func down(o negotiate.Offer, state driver.HealthState) negotiate.Offer {
	o.Health = offer(o.Name, 0, state).Health
	return o
}

func unable(o negotiate.Offer, capability driver.Capability) negotiate.Offer {
	o.Capabilities = slices.DeleteFunc(slices.Clone(o.Capabilities), func(c driver.Capability) bool { return c == capability })
	return o
}

type offers = []negotiate.Offer

func TestB4Choose(t *testing.T) {
	egress := []string{"egress rule", "image"}
	tests := map[string]struct {
		request negotiate.Request
		offers  offers
		actual  string        // or
		reason  driver.Reason // of the error
		says    []string      // in the reason or the error, and its remedies
	}{
		"apple first":               {negotiate.Request{}, offers{fake, host, docker, mvm, apple}, "apple-container", "", nil},
		"docker next":               {negotiate.Request{Mode: "auto"}, offers{host, docker, mvm, down(apple, driver.HealthNotInstalled)}, "docker", "", nil},
		"strongest of the others":   {negotiate.Request{}, offers{host, jail, mvm, broken}, "microvm", "", nil},
		"others before the host":    {negotiate.Request{}, offers{host, jail}, "a-jail", "", nil},
		"stopped but startable":     {negotiate.Request{}, offers{host, docker, down(apple, driver.HealthStopped)}, "apple-container", "", []string{"will be started"}},
		"stopped for good":          {negotiate.Request{}, offers{host, docker, unable(down(apple, driver.HealthStopped), driver.CapSystemStart)}, "docker", "", nil},
		"never by itself: fake":     {negotiate.Request{}, offers{host, fake}, "host", "", []string{"no driver that isolates"}},
		"never by itself: none":     {negotiate.Request{}, offers{host, ssh}, "host", "", []string{"ssh: it isolates nothing"}},
		"needs a capability":        {negotiate.Request{Needs: []driver.Capability{driver.CapCopy}}, offers{host, unable(apple, driver.CapCopy), docker}, "docker", "", nil},
		"nobody has it":             {negotiate.Request{Needs: []driver.Capability{driver.CapStats}}, offers{host, docker}, "", driver.NoDriver, []string{"docker: it does not have the capability stats@1", "host: it does not"}},
		"B5 falls back":             {negotiate.Request{}, offers{host, broken, down(apple, driver.HealthUnsupported)}, "host", "", []string{"docker: the driver ended", "apple-container: apple-container is unsupported"}},
		"B5 lives in one, wedged":   {negotiate.Request{LivesIn: "docker"}, offers{host, down(docker, driver.HealthWedged)}, "", driver.EngineWedged, []string{"the workspace's sandbox is in this driver", "mend docker", "sero up --driver host"}},
		"B5 lives in one, stopped":  {negotiate.Request{LivesIn: "docker", NeedsIsolation: egress}, offers{host, unable(down(docker, driver.HealthStopped), driver.CapSystemStart)}, "", driver.EngineNotRunning, []string{"cannot be used now"}},
		"A2 never host, asked for":  {negotiate.Request{Mode: "host", NeverHost: true}, offers{docker, host}, "", driver.IsolationRequired, []string{"neverHost"}},
		"A2 never host, fallback":   {negotiate.Request{Driver: "docker", FallbackHost: true, NeverHost: true}, offers{host, broken}, "", driver.DriverFailed, nil},
		"A2 never host, none works": {negotiate.Request{NeverHost: true, FallbackHost: true}, offers{host, broken}, "", driver.IsolationRequired, []string{"neverHost", "docker: the driver ended", "run it by hand"}},
		"A2 never host, ssh":        {negotiate.Request{Driver: "ssh", NeverHost: true}, offers{host, ssh}, "", driver.IsolationRequired, []string{"ssh isolates nothing"}},
		"A2 never host, one works":  {negotiate.Request{NeverHost: true}, offers{host, docker}, "docker", "", nil},
		"A2 ssh from a file":        {negotiate.Request{Driver: "ssh", LivesIn: "docker"}, offers{host, ssh, docker}, "", driver.IsolationRequired, []string{"in driver docker", "sero up --driver ssh"}},
		"A2 it isolates no more":    {negotiate.Request{LivesIn: "docker"}, offers{host, with(docker, func(o *negotiate.Offer) { o.Info.Isolation = driver.IsolationNone })}, "", driver.IsolationRequired, []string{"any more", "sero up --driver host"}},
		"A10 fake from a file":      {negotiate.Request{Driver: "fake", HideFake: true}, offers{host, fake}, "", driver.DriverNotFound, nil},
		"A2 lived in fake":          {negotiate.Request{LivesIn: "fake"}, offers{host, down(fake, driver.HealthUnknown)}, "", driver.Internal, nil},
		"B5 lives, host allowed":    {negotiate.Request{LivesIn: "docker", FallbackHost: true}, offers{host, down(docker, driver.HealthWedged)}, "host", "", nil},
		"B5 lives, host asked for":  {negotiate.Request{LivesIn: "docker", Mode: "host"}, offers{host, down(docker, driver.HealthWedged)}, "host", "", nil},
		"B5 lives, another works":   {negotiate.Request{LivesIn: "docker"}, offers{host, down(docker, driver.HealthWedged), jail}, "a-jail", "", nil},
		"B5 require":                {negotiate.Request{Mode: "require"}, offers{host, broken}, "", driver.IsolationRequired, []string{"mode is require", "docker: the driver ended", "run it by hand"}},
		"B5 require, no other":      {negotiate.Request{Mode: "require"}, offers{host, fake}, "", driver.IsolationRequired, []string{"sero driver ls"}},
		"require and one works":     {negotiate.Request{Mode: "require"}, offers{host, docker}, "docker", "", nil},
		"require beats fallback":    {negotiate.Request{Mode: "require", FallbackHost: true}, offers{host}, "", driver.IsolationRequired, nil},
		"egress rule":               {negotiate.Request{NeedsIsolation: egress}, offers{host, broken}, "", driver.IsolationRequired, []string{"egress rule, image", `"fallback": "host"`}},
		"egress rule, fallback":     {negotiate.Request{NeedsIsolation: egress, FallbackHost: true}, offers{host, broken}, "host", "", []string{"not in force there: egress rule, image"}},
		"nothing at all":            {negotiate.Request{}, nil, "", driver.NoDriver, []string{"sero driver ls"}},
		"broken host":               {negotiate.Request{}, offers{down(host, driver.HealthUnhealthy), broken}, "", driver.NoDriver, []string{"host: host is unhealthy", "docker:"}},
		"mode host":                 {negotiate.Request{Mode: "host"}, offers{docker, host}, "host", "", []string{"host mode was asked for"}},
		"mode host, told":           {negotiate.Request{Mode: "host", NeedsIsolation: egress}, offers{docker, host}, "host", "", []string{"not in force there: egress rule"}},
		"mode host, no host":        {negotiate.Request{Mode: "host"}, offers{docker}, "", driver.DriverNotFound, nil},
		"mode host, broken":         {negotiate.Request{Mode: "host"}, offers{docker, down(host, driver.HealthUnhealthy)}, "", driver.Internal, []string{"host is unhealthy"}},
		"mode host, other driver":   {negotiate.Request{Mode: "host", Driver: "docker"}, offers{docker, host}, "", driver.InvalidArgument, nil},
		"driver host":               {negotiate.Request{Driver: "host"}, offers{docker, host}, "host", "", nil},
		"driver host, require":      {negotiate.Request{Driver: "host", Mode: "require"}, offers{docker, host}, "", driver.IsolationRequired, nil},
		"by name":                   {negotiate.Request{Driver: "fake"}, offers{apple, fake}, "fake", "", []string{"asked for by name"}},
		"by name, none":             {negotiate.Request{Driver: "ssh"}, offers{apple, ssh}, "ssh", "", nil},
		"by name, none, require":    {negotiate.Request{Driver: "ssh", Mode: "require"}, offers{apple, ssh}, "", driver.IsolationRequired, []string{"ssh: it isolates nothing"}},
		"by name, stopped":          {negotiate.Request{Driver: "docker"}, offers{apple, down(docker, driver.HealthStopped)}, "docker", "", []string{"will be started"}},
		"by name, down":             {negotiate.Request{Driver: "docker"}, offers{apple, host, down(docker, driver.HealthWedged)}, "", driver.EngineWedged, []string{"docker: docker is wedged", "mend docker"}},
		"by name, unknown health":   {negotiate.Request{Driver: "docker"}, offers{down(docker, driver.HealthUnknown)}, "", driver.Internal, nil},
		"by name, broken":           {negotiate.Request{Driver: "docker"}, offers{apple, host, broken}, "", driver.DriverFailed, nil},
		"by name, down, fallback":   {negotiate.Request{Driver: "docker", FallbackHost: true}, offers{apple, host, down(docker, driver.HealthWedged)}, "host", "", []string{"docker is wedged"}},
		"by name, nothing to fall":  {negotiate.Request{Driver: "docker", FallbackHost: true}, offers{apple, broken}, "", driver.DriverFailed, nil},
		"by name, require, no fall": {negotiate.Request{Driver: "docker", Mode: "require", FallbackHost: true}, offers{host, broken}, "", driver.DriverFailed, nil},
		"misspelt":                  {negotiate.Request{Driver: "dokcer"}, offers{apple, docker}, "", driver.DriverNotFound, []string{`"dokcer"`, "did you mean docker?", "sero driver ls"}},
		"short":                     {negotiate.Request{Driver: "apple"}, offers{apple, docker}, "", driver.DriverNotFound, []string{"did you mean apple-container?"}},
		"unknown, fallback":         {negotiate.Request{Driver: "podman", FallbackHost: true}, offers{host}, "", driver.DriverNotFound, nil},
		"hostile":                   {negotiate.Request{Driver: "\x1b[2J" + strings.Repeat("x", 9999)}, offers{host}, "", driver.DriverNotFound, nil},
		"no such mode":              {negotiate.Request{Mode: "maybe"}, offers{host}, "", driver.InvalidArgument, []string{"auto, require or host"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			choice, err := negotiate.Choose(test.request, test.offers)
			if choice.Actual != test.actual || driver.ReasonOf(err) != test.reason {
				t.Fatalf("chose %q, %v (%s)", choice.Actual, err, driver.ReasonOf(err))
			}
			said := choice.Reason
			if err != nil {
				said = err.Error()
				for _, r := range driver.AsError(err).Remedies {
					said += " / " + r.Text + " " + strings.Join(r.Command, " ")
				}
				if len(driver.AsError(err).Remedies) == 0 && test.reason != driver.Internal {
					t.Errorf("no remedy: %v", err)
				}
			}
			for _, part := range test.says {
				if !strings.Contains(said, part) {
					t.Errorf("%q does not say %q", said, part)
				}
			}
			if strings.ContainsAny(said, "\n\x1b") || len(said) > 1000 {
				t.Errorf("not one line: %q", said)
			}
		})
	}
}

func TestB5HostModeTellsEverything(t *testing.T) {
	choice, err := negotiate.Choose(negotiate.Request{}, offers{fake, host, down(docker, driver.HealthNotInstalled)})
	if err != nil {
		t.Fatal(err)
	}
	want := negotiate.Choice{
		Desired: "auto", Actual: "host", Isolation: driver.IsolationNone, HostMode: true,
		Reason:  "no driver that isolates can be used (docker: docker is not-installed)",
		Reduced: choice.Reduced,
		Rejected: []negotiate.Rejection{{
			Driver: "docker", Reason: driver.EngineNotInstalled, Message: "docker is not-installed",
			Remedies: []driver.Remedy{{Text: "mend docker"}},
		}},
		Remedies: []driver.Remedy{{Text: "mend docker"}},
	}
	if diff := cmp.Diff(want, choice); diff != "" {
		t.Error(diff)
	}
	for _, c := range append([]driver.Capability{driver.CapCopy, driver.CapImageBuild}, negotiate.HostLacks...) {
		if !slices.Contains(choice.Reduced, c) {
			t.Errorf("%s is not among the reduced capabilities %v", c, choice.Reduced)
		}
	}
	choice, err = negotiate.Choose(negotiate.Request{Mode: "host"}, offers{host, docker})
	if err != nil || len(choice.Remedies) == 0 || choice.Remedies[0].Command[3] != "docker" || !choice.HostMode {
		t.Errorf("host by wish: %+v, %v", choice, err)
	}
	choice, err = negotiate.Choose(negotiate.Request{Mode: "host"}, offers{host})
	if err != nil || len(choice.Remedies) == 0 || len(choice.Reduced) < 5 {
		t.Errorf("host and nothing else: %+v, %v", choice, err)
	}
}

func TestReducedAgainstTheBest(t *testing.T) {
	lesser := unable(docker, driver.CapBrowser)
	choice, err := negotiate.Choose(negotiate.Request{}, offers{lesser, down(apple, driver.HealthWedged)})
	if err != nil || !slices.Equal(choice.Reduced, []driver.Capability{driver.CapBrowser}) || choice.HostMode {
		t.Errorf("%+v, %v", choice, err)
	}
	choice, err = negotiate.Choose(negotiate.Request{}, offers{lesser, down(apple, driver.HealthUnsupported)})
	if err != nil || len(choice.Reduced) != 0 {
		t.Errorf("what can never be here is no loss: %+v, %v", choice, err)
	}
	choice, err = negotiate.Choose(negotiate.Request{}, offers{apple, docker})
	if err != nil || len(choice.Rejected) != 1 || choice.Rejected[0].Reason != negotiate.NotPreferred || len(choice.Reduced) != 0 {
		t.Errorf("the best: %+v, %v", choice, err)
	}
}

// Over random offers and requests: never an unusable driver, never the host
// against the policy, never another answer for another order.
func TestChooseHoldsItsPolicy(t *testing.T) {
	names := []string{"apple-container", "docker", "host", "fake", "microvm", "ssh"}
	modes := []string{"", "auto", "require", "host"}
	for seed := range uint64(20000) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var all offers
		for _, name := range names {
			if rnd.IntN(4) == 0 {
				continue
			}
			o := offer(name, driver.Isolation(rnd.IntN(4)), driver.HealthState(rnd.IntN(7)))
			if rnd.IntN(4) == 0 {
				o = unable(o, full[rnd.IntN(len(full))])
			}
			if rnd.IntN(4) == 0 {
				o.Problem = driver.Errorf(driver.DriverCrashed, "it crashed")
			}
			all = append(all, o)
		}
		request := negotiate.Request{Mode: modes[rnd.IntN(4)], FallbackHost: rnd.IntN(2) == 0}
		if rnd.IntN(2) == 0 {
			request.Driver = names[rnd.IntN(len(names))]
		}
		if rnd.IntN(3) == 0 {
			request.NeedsIsolation = []string{"limit"}
		}
		if rnd.IntN(3) == 0 {
			request.Needs = []driver.Capability{full[rnd.IntN(len(full))]}
		}
		choice, err := negotiate.Choose(request, all)
		checkPolicy(t, request, all, choice, err)
		rnd.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		again, err2 := negotiate.Choose(request, all)
		if diff := cmp.Diff(choice, again); diff != "" || (err == nil) != (err2 == nil) || err != nil && err.Error() != err2.Error() {
			t.Fatalf("seed %d: the order matters: %s %v %v", seed, diff, err, err2)
		}
	}
}

func checkPolicy(t *testing.T, request negotiate.Request, all offers, choice negotiate.Choice, err error) {
	t.Helper()
	if err != nil {
		if e := driver.AsError(err); e.Reason == "" || e.Message == "" {
			t.Fatalf("%+v: an error without reason or text: %#v", request, e)
		}
		return
	}
	i := slices.IndexFunc(all, func(o negotiate.Offer) bool { return o.Name == choice.Actual })
	if i < 0 {
		t.Fatalf("%+v: chose %q, which was not offered", request, choice.Actual)
	}
	o := all[i]
	named := request.Driver == o.Name
	switch {
	case negotiate.Unusable(o) != nil:
		t.Fatalf("%+v: chose the unusable %+v", request, o)
	case len(request.Needs) > 0 && !slices.Contains(o.Capabilities, request.Needs[0]):
		t.Fatalf("%+v: chose %s without a needed capability", request, o.Name)
	case request.Mode == "require" && (choice.HostMode || o.Name == "host"):
		t.Fatalf("%+v: host mode against require", request)
	case choice.HostMode != (o.Name == "host" || o.Info.Isolation <= driver.IsolationNone):
		t.Fatalf("%+v: host mode is %v for %+v", request, choice.HostMode, o)
	case o.Name == "fake" && !named:
		t.Fatalf("%+v: the fake was not named", request)
	case request.Driver != "" && !named && (o.Name != "host" || !request.FallbackHost):
		t.Fatalf("%+v: chose %s", request, o.Name)
	case choice.HostMode && len(request.NeedsIsolation) > 0 && !request.FallbackHost && request.Mode != "host" && !named:
		t.Fatalf("%+v: fell back to the host", request)
	case choice.HostMode && (choice.Reason == "" || len(choice.Remedies) == 0):
		t.Fatalf("%+v: host mode without reason or remedy: %+v", request, choice)
	}
}

func TestB3WhoHas(t *testing.T) {
	all := offers{host, fake, docker, down(apple, driver.HealthWedged)}
	missing := func(c driver.Capability) *driver.Error {
		e := driver.Lacks("host", c)
		e.Driver = "host"
		return e
	}
	e := negotiate.WhoHas(missing(driver.CapImageBuild), all)
	if !strings.HasSuffix(e.Message, "image.build@1; apple-container (not usable now), docker have it") || e.Remedies[0].Command[3] != "docker" {
		t.Errorf("%+v", e)
	}
	if e := negotiate.WhoHas(missing(driver.CapStats), all); !strings.HasSuffix(e.Message, "no installed driver has it") || len(e.Remedies) == 0 {
		t.Errorf("%+v", e)
	}
	for c, first := range map[driver.Capability]string{driver.CapImageBuild: "docker", driver.CapStats: "ls"} {
		e := negotiate.WhoHas(missing(c).Remedy("do without"), all)
		if n := len(e.Remedies); n != 2 || e.Remedies[0].Text != "do without" || e.Remedies[1].Command[len(e.Remedies[1].Command)-1] != first {
			t.Errorf("what else helps is said, too, and nothing twice: %+v", e.Remedies)
		}
	}
	other := driver.Errorf(driver.Unsupported, "no such option").About("option:x")
	if e := negotiate.WhoHas(other, all); e != other {
		t.Errorf("%+v", e)
	}
}
