package registry

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/sero-labs/sero-runtime/internal/oneline"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// Limits of what is taken from a driver, in bytes or entries.
const (
	maxName         = 256
	maxText         = 4 << 10
	maxLabel        = 64 << 10
	maxSchema       = 256 << 10
	maxEntries      = 1024
	maxCapabilities = 256
	maxAttributes   = 64
)

// plain tells whether a text of a driver's is fit to be shown and kept: of a
// bounded size, and nothing in it that steers a terminal.
func plain(s string, most int) bool {
	return len(s) <= most && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// printable makes a text plain.
func printable(s string) string { return oneline.Of(s, maxName, '?') }

// errWrong marks an answer that breaks the contract.
var errWrong = errors.New("the driver breaks its contract")

func wrong(call, format string, args ...any) *driver.Error {
	e := driver.Errorf(driver.Internal, "it answered %s wrongly: %s", call, fmt.Sprintf(format, args...)).
		Remedy("report it to the driver's author")
	e.Err = errWrong
	return e
}

// checkSandbox refuses a sandbox that is not the one asked for, or not one that
// the core can work with. A state that is not known is no error.
func checkSandbox(call, asked string, sb driver.Sandbox) error {
	if sb.ID != asked {
		return wrong(call, "asked for %q, it gave %q", printable(asked), printable(sb.ID))
	}
	return checkFields(call, sb)
}

func checkFields(call string, sb driver.Sandbox) error {
	for _, field := range []struct {
		name, value string
		most        int
	}{
		{"id", sb.ID, maxName},
		{"instance", sb.Instance, maxName},
		{"workspace directory", sb.WorkspaceDir, maxText},
		{"image", sb.Image, maxText},
		{"image digest", sb.ImageDigest, maxName},
	} {
		if !plain(field.value, field.most) {
			return wrong(call, "the %s %q is not a plain text", field.name, printable(field.value))
		}
	}
	if sb.ID == "" {
		return wrong(call, "a sandbox without an id")
	}
	if err := checkNetwork(call, sb); err != nil {
		return err
	}
	if err := checkLabels(call, sb.Labels); err != nil {
		return err
	}
	if len(sb.Mounts) > maxEntries || len(sb.Publish) > maxEntries {
		return wrong(call, "more than %d mounts or ports", maxEntries)
	}
	for _, m := range sb.Mounts {
		if !plain(m.Source, maxText) || !plain(m.Target, maxText) {
			return wrong(call, "the mount %q is not a plain text", printable(m.Target))
		}
	}
	return nil
}

func checkNetwork(call string, sb driver.Sandbox) error {
	if len(sb.Addresses) > maxEntries || len(sb.Subnets) > maxEntries {
		return wrong(call, "more than %d addresses", maxEntries)
	}
	addresses := sb.Addresses
	if sb.Gateway != "" {
		addresses = append(slices.Clip(addresses), sb.Gateway)
	}
	for _, a := range addresses {
		if _, err := netip.ParseAddr(a); err != nil {
			return wrong(call, "%q is not an IP address", printable(a))
		}
	}
	for _, s := range sb.Subnets {
		if _, err := netip.ParsePrefix(s); err != nil {
			return wrong(call, "%q is not a subnet", printable(s))
		}
	}
	return nil
}

// checkLabels is strict with sero's own. Others may hold what their makers put
// there.
func checkLabels(call string, labels map[string]string) error {
	if len(labels) > maxEntries {
		return wrong(call, "more than %d labels", maxEntries)
	}
	for name, value := range labels {
		ours := strings.HasPrefix(name, "dev.sero.")
		if len(name) > maxText || len(value) > maxLabel || ours && !plain(value, maxText) {
			return wrong(call, "the label %q is not a plain text", printable(name))
		}
	}
	return nil
}

// checkList refuses a list with a sandbox that was not asked for, or one twice.
func checkList(call string, asked map[string]string, list []driver.Sandbox) error {
	seen := make(map[string]bool, len(list))
	for _, sb := range list {
		if err := checkFields(call, sb); err != nil {
			return err
		}
		if seen[sb.ID] {
			return wrong(call, "%q is in it twice", printable(sb.ID))
		}
		seen[sb.ID] = true
		for name, value := range asked {
			if sb.Labels[name] != value {
				return wrong(call, "%q does not carry the label %s that was asked for", printable(sb.ID), printable(name))
			}
		}
	}
	return nil
}

func checkImage(call string, image driver.Image) error {
	if !plain(image.Reference, maxText) || !plain(image.Digest, maxName) {
		return wrong(call, "the image %q is not a plain text", printable(image.Reference))
	}
	return checkLabels(call, image.Labels)
}

var signalPattern = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^(SIG[A-Z0-9+]{1,16})?$`) })

func checkExit(s driver.ExitStatus) error {
	if s.Code < 0 || s.Code > 255 || !signalPattern().MatchString(s.Signal) {
		return wrong("Exec", "the command ended with code %d, signal %q", s.Code, printable(s.Signal))
	}
	return nil
}

func checkListeners(listeners []driver.Listener) error {
	for _, l := range listeners {
		if _, err := netip.ParseAddr(l.Address); err != nil || l.Port == 0 || l.PID < 0 ||
			!plain(l.ExecID, maxName) {
			return wrong("Listeners", "a listener at %q, port %d, process %d", printable(l.Address), l.Port, l.PID)
		}
	}
	return nil
}

func checkEvent(e driver.Event) error {
	if !plain(e.SandboxID, maxName) {
		return wrong("Events", "the id %q is not a plain text", printable(e.SandboxID))
	}
	return nil
}

// cleanStats drops what cannot have been measured.
func cleanStats(s driver.Stats) driver.Stats {
	if s.CPUSeconds != nil && (*s.CPUSeconds < 0 || math.IsNaN(*s.CPUSeconds) || math.IsInf(*s.CPUSeconds, 0)) {
		s.CPUSeconds = nil
	}
	for _, n := range []**int64{&s.MemoryBytes, &s.MemoryLimitBytes, &s.Processes, &s.NetworkReceivedBytes, &s.NetworkSentBytes} {
		if *n != nil && **n < 0 {
			*n = nil
		}
	}
	return s
}

func cleanProgress(p driver.Progress) driver.Progress {
	p.Current, p.Total, p.Unit = max(0, p.Current), max(0, p.Total), printable(p.Unit)
	return p
}
