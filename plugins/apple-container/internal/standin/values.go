package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// How the values of options are read: Parser.swift, Utility.swift and
// ManagedContainer.swift of apple/container; facts 4.1, 4.4, 5.1, 8.

var (
	entityName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]+$`)
	volumeName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,254}$`)
	memoryText = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?) *([kmgtp]?)i?b?$`)
)

func (s *session) checkName(id string) error {
	if s.version.AtLeast(1, 2) {
		if !entityName.MatchString(id) || len(id) > 63 {
			return failure(invalidArgument, "container ID %s is not a valid container ID", id)
		}
		return nil
	}
	if !entityName.MatchString(id) {
		return failure(invalidArgument, "invalid entity name %s", id)
	}
	return nil
}

// split is Swift's split(separator:), which drops empty pieces.
func split(text, separator string) []string {
	var pieces []string
	for piece := range strings.SplitSeq(text, separator) {
		if piece != "" {
			pieces = append(pieces, piece)
		}
	}
	return pieces
}

func parseLabels(raw []string) (map[string]string, error) {
	labels := map[string]string{}
	for _, label := range raw {
		pieces := split(label, "=")
		switch {
		case label == "":
			return nil, failure(invalidArgument, "label cannot be an empty string")
		case len(pieces) == 1:
			labels[pieces[0]] = ""
		case len(pieces) == 2:
			labels[pieces[0]] = pieces[1]
		default:
			return nil, failure(invalidArgument, "invalid label format %s", label)
		}
	}
	return labels, nil
}

// parseMemory gives bytes, rounded down to a MiB.
func parseMemory(text string) (int64, error) {
	bytes, err := parseSize(text)
	return bytes >> 20 << 20, err
}

func parseSize(text string) (int64, error) {
	found := memoryText.FindStringSubmatch(strings.ToLower(text))
	if found == nil {
		if _, err := strconv.ParseFloat(strings.TrimRight(strings.ToLower(text), "abcdefghijklmnopqrstuvwxyz"), 64); err != nil {
			return 0, failure(invalidArgument, "invalid size")
		}
		return 0, failure(invalidArgument, "invalid symbol")
	}
	number, err := strconv.ParseFloat(found[1], 64)
	if err != nil {
		return 0, failure(invalidArgument, "invalid size")
	}
	exponent := strings.Index("kmgtp", found[2]) + 1
	if found[2] == "" {
		exponent = 0
	}
	for range exponent {
		number *= 1024
	}
	return int64(number), nil
}

// parseVolume reads a value of --volume.
func (s *session) parseVolume(text string) (mountRecord, error) {
	pieces := split(strings.TrimLeft(text, ":"), ":")
	if len(pieces) == 0 || len(pieces) > 3 {
		return mountRecord{}, failure(invalidArgument, "invalid volume format %s", text)
	}
	if len(pieces) == 1 {
		return mountRecord{Kind: "volume", Source: "anon-" + s.state.id, Destination: pieces[0]}, nil
	}
	m := mountRecord{Kind: "virtiofs", Source: pieces[0], Destination: pieces[1]}
	if len(pieces) == 3 {
		m.Options = split(pieces[2], ",")
	}
	path := strings.HasPrefix(m.Source, "/")
	if s.version.AtLeast(0, 7) {
		path = strings.Contains(m.Source, "/")
	}
	if s.version.AtLeast(0, 12) {
		path = path || m.Source == "." || m.Source == ".."
	}
	if !path {
		if !volumeName.MatchString(m.Source) {
			return m, failure(invalidArgument, "invalid volume name '%s': must match %s", m.Source, volumeName)
		}
		m.Kind = "volume"
		return m, nil
	}
	absolute, err := filepath.Abs(m.Source)
	if err != nil {
		return m, err
	}
	info, err := os.Stat(absolute)
	if err != nil {
		return m, failure(invalidArgument, "path '%s' does not exist", m.Source)
	}
	if !info.IsDir() && info.Mode()&os.ModeSocket == 0 && !s.version.AtLeast(0, 9) {
		return m, failure(internalError, "Error Domain=VZErrorDomain Code=2 \"A directory sharing device configuration is invalid.\"")
	}
	m.Source = absolute
	return m, nil
}

// parseMount reads a value of --mount.
func (s *session) parseMount(text string) (mountRecord, error) {
	m := mountRecord{Kind: "virtiofs"}
	pieces := split(text, ",")
	if len(pieces) == 0 {
		return m, failure(invalidArgument, "invalid mount format: %s", text)
	}
	for _, piece := range pieces {
		pair := split(piece, "=")
		if len(pair) == 0 {
			return m, failure(invalidArgument, "invalid directive format missing value %s in %s", piece, text)
		}
		switch pair[0] {
		case "readonly", "ro": // whatever its value
			m.Options = append(m.Options, "ro")
			continue
		case "type", "size", "mode", "source", "src", "destination", "dst", "target":
		default:
			return m, failure(invalidArgument, "unknown directive %s when parsing mount %s", pair[0], text)
		}
		if len(pair) != 2 {
			return m, failure(invalidArgument, "invalid directive format missing value %s in %s", piece, text)
		}
		switch pair[0] {
		case "type":
			m.Kind = pair[1]
			if m.Kind == "bind" {
				m.Kind = "virtiofs"
			}
		case "source", "src":
			m.Source = pair[1]
		case "destination", "dst", "target":
			m.Destination = pair[1]
		default:
			m.Options = append(m.Options, piece)
		}
	}
	return m, m.check()
}

func (m *mountRecord) check() error {
	switch m.Kind {
	case "virtiofs":
		info, err := os.Stat(m.Source)
		if err != nil {
			return failure(invalidArgument, "path '%s' does not exist", m.Source)
		}
		if !info.IsDir() {
			return failure(invalidArgument, "path '%s' is not a directory", m.Source)
		}
		if m.Source, err = filepath.Abs(m.Source); err != nil {
			return err
		}
	case "tmpfs":
		if m.Source != "" {
			return failure(invalidArgument, "cannot specify source for tmpfs mount")
		}
	case "volume":
		if !volumeName.MatchString(m.Source) {
			return failure(invalidArgument, "invalid volume name '%s': must match %s", m.Source, volumeName)
		}
	default:
		return failure(invalidArgument, "unsupported mount type %s", m.Kind)
	}
	if m.Destination == "" {
		return failure(invalidArgument, "mount destination cannot be empty")
	}
	return nil
}

var publish = regexp.MustCompile(`^(?:(?:\[([^\]]*)\]|([^:]+)):)?([^:]+):([^:/]*)(?:/(.*))?$`)

// parsePublish reads a value of --publish; a range is several records.
func parsePublish(text string) ([]portRecord, error) {
	found := publish.FindStringSubmatch(text)
	if found == nil {
		return nil, failure(invalidArgument, "invalid publish value: %s", text)
	}
	protocol := strings.ToLower(found[5])
	switch protocol {
	case "":
		protocol = "tcp"
	case "tcp", "udp":
	default:
		return nil, failure(invalidArgument, "invalid publish protocol: %s", protocol)
	}
	address := found[1] + found[2]
	if address == "" {
		address = "0.0.0.0"
	}
	if parsed, err := netip.ParseAddr(address); err != nil || parsed.Is4() != (found[1] == "") {
		return nil, failure(invalidArgument, "invalid publish IPv4 address: %s", text)
	}
	host, hostCount, ok := portRange(found[3])
	if !ok {
		return nil, failure(invalidArgument, "invalid publish host port: %s", found[3])
	}
	container, containerCount, ok := portRange(found[4])
	if !ok {
		return nil, failure(invalidArgument, "invalid publish container port: %s", found[4])
	}
	if hostCount != containerCount {
		return nil, failure(invalidArgument, "publish host and container port counts are not equal: %s:%s", found[3], found[4])
	}
	var ports []portRecord
	for i := range hostCount {
		ports = append(ports, portRecord{HostAddress: address, HostPort: host + i, ContainerPort: container + i, Protocol: protocol})
	}
	return ports, nil
}

func portRange(text string) (first, count int, ok bool) {
	low, high, ranged := strings.Cut(text, "-")
	if !ranged {
		high = low
	}
	first, err := strconv.Atoi(low)
	last, lastErr := strconv.Atoi(high)
	return first, last - first + 1, err == nil && lastErr == nil && first > 1 && last >= first && last <= 65535
}

// parseNetworks reads the values of --network.
func (s *session) parseNetworks(raw []string) ([]networkRequest, error) {
	if len(raw) == 0 {
		return []networkRequest{{Network: "default"}}, nil
	}
	var requests []networkRequest
	for _, spec := range raw {
		parts := strings.Split(spec, ",")
		request := networkRequest{Network: parts[0]}
		switch {
		case spec == "":
			return nil, failure(invalidArgument, "network specification cannot be empty")
		case spec == "none" && len(raw) > 1:
			return nil, failure(unsupported, "no other networks may be created along with network none")
		case spec == "none":
			return nil, nil
		case s.faulty("macos15") && request.Network != "default":
			return nil, failure(invalidArgument, "non-default network configuration requires macOS 26 or newer")
		}
		for _, part := range parts[1:] {
			key, value, _ := strings.Cut(part, "=")
			switch {
			case key == "mac" && s.version.AtLeast(0, 8):
				request.MAC = value
			case key == "mtu" && s.version.AtLeast(0, 12):
				mtu, err := strconv.Atoi(value)
				if err != nil || mtu < 1280 || mtu > 65535 {
					return nil, failure(invalidArgument, "invalid mtu value '%s': must be between 1280 and 65535", value)
				}
				request.MTU = mtu
			default:
				return nil, failure(invalidArgument, "unknown network property '%s'. Available properties: mac, mtu", key)
			}
		}
		requests = append(requests, request)
	}
	return requests, nil
}

// parseEnv gives what --env-file and --env say, in this order. A name without a
// value has the host's, or is dropped.
func parseEnv(files, values []string) ([]string, error) {
	var env []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, failure(invalidArgument, "failed to read envfile at %s", file).because(err)
		}
		for _, line := range strings.FieldsFunc(string(text), endsLine) {
			line = strings.TrimLeftFunc(line, unicode.IsSpace)
			if line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			name, _, _ := strings.Cut(line, "=")
			switch {
			case strings.ContainsAny(name, " \t"):
				return nil, failure(invalidArgument, "variable '%s' contains whitespaces", name)
			case name == "":
				return nil, failure(invalidArgument, "no variable name on line '%s'", line)
			}
			env = append(env, inherit(line)...)
		}
	}
	for _, value := range values {
		env = append(env, inherit(value)...)
	}
	return env, nil
}

// endsLine tells what Foundation's newlines are.
func endsLine(r rune) bool { return strings.ContainsRune("\n\v\f\r\u0085\u2028\u2029", r) }

func inherit(variable string) []string {
	if strings.Contains(variable, "=") {
		return []string{variable}
	}
	if value, ok := os.LookupEnv(variable); ok {
		return []string{fmt.Sprintf("%s=%s", variable, value)}
	}
	return nil
}

// lastOfEach keeps the last value of each name, as 0.10 and newer do at create.
func lastOfEach(env []string) []string {
	at := map[string]int{}
	var kept []string
	for _, variable := range env {
		name, _, _ := strings.Cut(variable, "=")
		if i, ok := at[name]; ok {
			kept[i] = variable
			continue
		}
		at[name] = len(kept)
		kept = append(kept, variable)
	}
	return kept
}
