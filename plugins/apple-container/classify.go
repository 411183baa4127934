package applecontainer

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// class is what the driver makes of a failure.
type class int

const (
	classOther       class = iota
	classAbsent            // no such container
	classNoImage           // no such image
	classExists            // the name is taken
	classNotRunning        // it would have to run
	classRunning           // it would have to be stopped
	classStopping          // on its way down: wait
	classDown              // the system does not run
	classInterrupted       // the server died during the call
	classTransient         // the same call may succeed in a moment
	classCorrupt           // a container that can never start again
	classUsage             // the CLI does not take the arguments
	className
	classMount
	classMemory
	classPort
	classDisk
	classDenied
	classMachine // something of this Mac has to be set up
)

// pattern is a text that a class is known by: every fragment is in it, in lower
// case.
type pattern struct {
	class     class
	fragments []string
}

// patterns, the first that fits decides; the more special before the more
// general. The texts are those of the sources of apple/container from 0.9.0 to
// 1.2.2, but for Virtualization's and the kernel's own, which come from its
// issues. The codes before a message and the casing differ between releases, so
// only the message itself is looked for.
var patterns = []pattern{
	{classDisk, []string{"no space left on device"}},
	{classTransient, []string{"deleteprocess"}},
	{classTransient, []string{"xpc timeout for request"}},
	{classInterrupted, []string{"connection interrupted"}},
	{classDown, []string{"xpc connection error"}},
	{classDown, []string{"plugins are unavailable"}},
	{classDown, []string{"unable to retrieve application data root"}},
	{classDown, []string{"apiserver is not running"}},
	{classTransient, []string{"expected to be in created state"}},
	{classTransient, []string{"shuttingdown"}},
	{classTransient, []string{"resource busy"}},
	{classTransient, []string{"builder is stopping"}},
	{classTransient, []string{"timeout waiting for connection to builder"}},
	{classTransient, []string{"nioconnectionerror"}},
	{classTransient, []string{"failed with response: 429"}}, // a registry that is busy
	{classTransient, []string{"failed with response: 5"}},
	{classMachine, []string{"vmnet_return_t"}},
	{classCorrupt, []string{"config.json", "couldn’t be opened"}},
	{classCorrupt, []string{"config.json", "couldn't be opened"}},
	{classCorrupt, []string{"config.json", "code=260"}},
	{classCorrupt, []string{"config.json", "no such file"}},
	{classCorrupt, []string{"runtime-configuration", "not found"}},
	{classCorrupt, []string{"runtime configuration", "not found"}},
	{classCorrupt, []string{"failed to find runtime plugin"}},
	{classCorrupt, []string{"failed to load container"}},
	{classCorrupt, []string{"vzerrordomain", "storage"}},
	{classCorrupt, []string{"vzerrordomain", "disk image"}},
	{classStopping, []string{"is stopping and can not be deleted"}},
	{classRunning, []string{"is running and can not be deleted"}},
	{classRunning, []string{"container is running"}},
	{classNotRunning, []string{"no sandbox client exists"}},
	{classNotRunning, []string{"no runtime client exists"}},
	{classNotRunning, []string{"container is not running"}},
	{classNotRunning, []string{"container ", " is not running"}},
	{classExists, []string{"container already exists"}},
	{classExists, []string{"container with id", "already exists"}},
	{classExists, []string{"hostname(s) already exist"}},
	{classAbsent, []string{"get failed: container", "not found"}},
	{classAbsent, []string{"container with id", "not found"}},
	{classAbsent, []string{"container not found:"}},
	{classAbsent, []string{"no such container:"}},
	{classAbsent, []string{"failed to delete one or more containers: ["}},
	{classNoImage, []string{"image not found"}},
	{classNoImage, []string{"image with reference"}},
	{classNoImage, []string{"notfound: \"images: "}},
	{classNoImage, []string{"failed to delete one or more images: ["}},
	{classNoImage, []string{"401 unauthorized"}},
	{classNoImage, []string{"404 not found"}},
	{classNoImage, []string{"nxdomain"}},
	{classMemory, []string{"minimum memory amount"}},
	{className, []string{"invalid entity name"}},
	{className, []string{"is not a valid container id"}},
	{className, []string{"container id length", "exceeds maximum"}},
	{classMount, []string{"mount source path", "does not exist"}},
	{classMount, []string{"path '", "does not exist"}},
	{classMount, []string{"path '", "is not a directory"}},
	{classMount, []string{"invalid volume"}},
	{classMount, []string{"invalid directive"}},
	{classMount, []string{"directory sharing device configuration is invalid"}},
	{classPort, []string{"address already in use"}},
	{classDenied, []string{"permission denied while binding to host port"}},
	{classDenied, []string{"-25308"}},
	{classMachine, []string{"rosetta is not installed"}},
	{classMachine, []string{"nested virtualization is not supported"}},
	{classMachine, []string{"default kernel not configured"}},
	{classMachine, []string{"requires macos 26"}},
	{classUsage, []string{"invalid label format"}},
	{classUsage, []string{"label cannot be an empty string"}},
	{classUsage, []string{"invalid signal"}},
	{classUsage, []string{"invalid publish"}},
}

// usageCode is the exit code for arguments that the CLI does not take.
const usageCode = 64

// classify says what a failed call means, by its exit code and what it printed.
// It is the only place that reads the CLI's words.
func classify(r result) class {
	text := strings.ToLower(r.stderr + "\n" + r.stdout)
	for _, p := range patterns {
		if !slices.ContainsFunc(p.fragments, func(f string) bool { return !strings.Contains(text, f) }) {
			return p.class
		}
	}
	if r.code == usageCode {
		return classUsage
	}
	return classOther
}

// meaning is a class in the protocol's terms.
type meaning struct {
	reason    driver.Reason
	message   string // %s is the resource; empty: the CLI's own words
	retryable bool
	remedies  []driver.Remedy
}

var meanings = map[class]meaning{
	classOther:       {reason: driver.Internal},
	classAbsent:      {reason: driver.NotFound, message: "there is no sandbox %s"},
	classNoImage:     {reason: driver.ImageNotFound, message: "there is no image %s", remedies: []driver.Remedy{{Text: "check its name, or build it"}}},
	classExists:      {reason: driver.AlreadyExists, message: "a sandbox %s exists already", remedies: []driver.Remedy{{Text: "remove it first"}}},
	classNotRunning:  {reason: driver.NotRunning, message: "sandbox %s is not running", remedies: []driver.Remedy{{Text: "start it", Command: []string{"sero", "up"}}}},
	classRunning:     {reason: driver.NotStopped, message: "sandbox %s is running", remedies: []driver.Remedy{{Text: "stop it first", Command: []string{"sero", "stop"}}}},
	classStopping:    {reason: driver.NotStopped, message: "sandbox %s is still stopping", retryable: true, remedies: []driver.Remedy{{Text: "try again in a moment"}}},
	classDown:        {reason: driver.EngineNotRunning, message: "Apple's container system is not running", remedies: []driver.Remedy{{Text: "start it", Command: []string{"container", "system", "start", "--enable-kernel-install"}}}},
	classInterrupted: {reason: driver.Internal, message: "Apple's container system ended during the call", retryable: true},
	classTransient:   {reason: driver.Internal, retryable: true},
	classCorrupt:     {reason: driver.Corrupt, message: "sandbox %s is broken: what Apple's container keeps of it is gone or unreadable", remedies: []driver.Remedy{{Text: "remove it by force; it is made anew when it is needed", Command: []string{"sero", "recreate"}}}},
	classUsage:       {reason: driver.InvalidArgument},
	className:        {reason: driver.NameInvalid, message: "%s is no name for a container", remedies: []driver.Remedy{{Text: "use lower-case letters, digits and hyphens, 63 at most"}}},
	classMount:       {reason: driver.MountDenied},
	classMemory:      {reason: driver.InvalidArgument, message: "Apple's container needs 200 MiB of memory or more for a sandbox"},
	classPort:        {reason: driver.PortInUse, remedies: []driver.Remedy{{Text: "choose another port, or none"}}},
	classDisk:        {reason: driver.OutOfDisk, message: "there is no room left on the disk", remedies: []driver.Remedy{{Text: "remove images that nobody needs", Command: []string{"container", "image", "prune"}}}},
	classDenied:      {reason: driver.PermissionDenied, remedies: []driver.Remedy{{Text: "unlock the keychain by logging in on the Mac itself, or choose a port from 1024"}}},
	classMachine:     {reason: driver.Internal, remedies: []driver.Remedy{{Text: "see docs/drivers/apple-container.md for what this Mac needs"}}},
}

// failure is a failed call as an error about a resource.
func failure(r result, resource string) *driver.Error {
	m := meanings[classify(r)]
	message := m.message
	switch {
	case message == "":
		message = words(r)
	case strings.Contains(message, "%s"):
		message = fmt.Sprintf(message, resource)
	}
	e := driver.Errorf(m.reason, "%s", message).About(resource)
	e.Retryable, e.Remedies = m.retryable, slices.Clone(m.remedies)
	return e
}

// maxWords is how much of what the CLI says gets into a message, in bytes.
const maxWords = 600

// words is what the CLI said, on one line.
func words(r result) string {
	text := strings.TrimSpace(r.stderr)
	if text == "" {
		text = strings.TrimSpace(r.stdout)
	}
	if _, said, ok := strings.Cut(text, "Error: "); ok {
		text = said
	}
	if text, _, _ = strings.Cut(text, "\nUsage: "); text == "" {
		what := "container"
		if len(r.args) > 0 {
			what += " " + r.args[0]
		}
		return fmt.Sprintf("%q ended with exit code %d and said nothing", what, r.code)
	}
	return oneLine(text, maxWords)
}

// oneLine is a text without line breaks and control characters, cut to its last
// bytes, where what matters most is.
func oneLine(text string, most int) string {
	text = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(text, "?"), func(r rune) bool {
		return unicode.IsControl(r) || r == ' '
	}), " ")
	if len(text) > most {
		text = "…" + strings.ToValidUTF8(text[len(text)-most:], "")
	}
	return strings.TrimRight(text, ".")
}
