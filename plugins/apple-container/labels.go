package applecontainer

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// labelInstance is the driver's own label: when a sandbox was made, and a random
// part. Before 1.0 the CLI tells no time of creation.
const labelInstance = "dev.sero.instance"

// escape makes a label's part fit for the CLI, which splits at every "=", loses
// one at the end, takes no empty text (apple/container#1977), and takes what
// begins with "-" for an option. It is percent
// encoding of little more than that, so that people can still read it.
func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c == '%' || c == '=' || c < ' ' || c == 0x7f || c == '-' && i == 0 {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// unescape undoes escape. What was not escaped stays as it is.
func unescape(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(c))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// labelOptions are the options that carry labels, in order.
func labelOptions(labels map[string]string) []string {
	var args []string
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		args = append(args, "--label", escape(name)+"="+escape(labels[name]))
	}
	return args
}

// splitLabels gives the labels as they were asked for, and the instance and the
// time of creation that the driver added. Labels of others are left as they are.
func splitLabels(stored map[string]string) (labels map[string]string, instance string, created time.Time) {
	labels = make(map[string]string, len(stored))
	instance, ours := stored[labelInstance]
	for name, value := range stored {
		switch {
		case name == labelInstance:
		case ours:
			labels[unescape(name)] = unescape(value)
		default:
			labels[name] = value
		}
	}
	if at, _, ok := strings.Cut(instance, "-"); ok {
		if ms, err := strconv.ParseInt(at, 10, 64); err == nil {
			created = time.UnixMilli(ms)
		}
	}
	return labels, instance, created
}

// ours tells whether sero made a sandbox.
func ours(sb driver.Sandbox) bool { return sb.Labels[driver.LabelManaged] == "true" }
