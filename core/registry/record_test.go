package registry

import (
	"strings"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

func TestB8Record(t *testing.T) {
	policy := Policy{}.withDefaults()
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	why := driver.Errorf(driver.DriverCrashed, "boom")
	r := newRecord(policy)
	low, high := policy.MinDelay/2, policy.MinDelay*3/2
	for i := range 4 {
		delay := r.crash(now, time.Second, why)
		if delay < low || delay > high+time.Millisecond {
			t.Errorf("crash %d: restart after %s, not within %s and %s", i+1, delay, low, high)
		}
		if few := r.few(now); few != (i < 2) {
			t.Errorf("crash %d: few is %v", i+1, few)
		}
		if e := r.aside(now, "toy"); e != nil {
			t.Fatalf("crash %d: %v", i+1, e)
		}
		low, high, now = min(low*2, policy.MaxDelay/2), high*2, now.Add(10*time.Second)
	}
	r.crash(now, time.Second, why)
	e := r.aside(now.Add(policy.CoolDown-time.Second), "toy")
	if e == nil || e.Reason != driver.DriverSetAside || !strings.Contains(e.Message, "boom") {
		t.Fatalf("after five crashes: %v", e)
	}
	if e := r.aside(now.Add(policy.CoolDown), "toy"); e != nil {
		t.Errorf("after the cool-down: %v", e)
	}

	r = newRecord(policy) // seldom enough
	for i := range 50 {
		if delay := r.crash(now, policy.Window, why); delay > policy.MinDelay*3/2+time.Millisecond {
			t.Fatalf("crash %d after a stable time: delay %s", i, delay)
		}
		if r.aside(now, "toy") != nil {
			t.Fatalf("set aside after crash %d", i)
		}
		now = now.Add(policy.Window/4 + time.Second)
	}
}

func TestB8RecordOfMisses(t *testing.T) {
	policy := Policy{}.withDefaults()
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	r := newRecord(policy)
	miss := func(n int) (aside, again bool) {
		for range n {
			aside, again = r.miss(now, "GetSandbox")
		}
		return aside, again
	}
	if aside, _ := miss(4); aside {
		t.Fatal("too early")
	}
	r.answer()
	if aside, _ := miss(4); aside {
		t.Fatal("an answer in between does not count")
	}
	if aside, again := miss(1); !aside || again {
		t.Fatalf("the fifth in a row: %v %v", aside, again)
	}
	now = now.Add(policy.MissCoolDown)
	if e := r.aside(now, "toy"); e != nil {
		t.Fatal(e)
	}
	if aside, again := miss(1); !aside || !again {
		t.Fatalf("one more after the cool-down: %v %v", aside, again)
	}
	r.answer()
	if aside, _ := miss(4); aside {
		t.Fatal("an answer makes it good again")
	}
}

func TestEveryCallHasALimit(t *testing.T) {
	for call := range driver.CallNeeds {
		if _, ok := limits[call]; !ok {
			t.Errorf("%s has none", call)
		}
	}
	for call, l := range limits {
		if l.control && l.within == 0 {
			t.Errorf("%s counts misses and has no deadline", call)
		}
	}
	c := Config{Deadlines: map[string]time.Duration{"StopSandbox": time.Second}}
	if l := c.limit("StopSandbox"); l.within != time.Second || !l.control {
		t.Errorf("%+v", l)
	}
}

func TestEnvironmentNamesNoSecrets(t *testing.T) {
	for _, name := range passed {
		if secretName().MatchString(name) && name != "SSH_AUTH_SOCK" {
			t.Errorf("%s looks secret", name)
		}
	}
	for name, want := range map[string]bool{
		"LC_CTYPE": true, "DOCKER_HOST": true, "SSH_AUTH_SOCK": true, "https_proxy": true, "SERO_FAKE_X": true,
		"SERO_FAKE_PASSWORD": false, "DOCKER_AUTH_CONFIG": false, "SERO_HOME": false, "": false, "LC_AUTH": false, "LC_AUTHOR": true,
	} {
		if allowed(name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
}
