package standintest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sero-labs/sero-runtime/plugins/apple-container/internal/standin/grammar"
)

// CheckArgv says what is wrong with the calls of a driver: what the version in
// use does not accept, and what it accepts and means something else by. It is
// applied to every call of every test that uses [Start].
func CheckArgv(calls []Call) []string {
	var wrong []string
	say := func(call Call, format string, args ...any) {
		wrong = append(wrong, fmt.Sprintf("%s: container %.300s: ", call.Version, strings.Join(call.Argv, " "))+fmt.Sprintf(format, args...))
	}
	for _, call := range calls {
		version, err := grammar.ParseVersion(call.Version)
		if err != nil {
			say(call, "%v", err)
			continue
		}
		g, err := grammar.For(version)
		if err != nil {
			say(call, "%v", err)
			continue
		}
		parsed, err := g.Parse(call.Argv)
		if err != nil {
			say(call, "%v", err)
			continue
		}
		for _, variable := range call.Env {
			say(call, "%s changes what the CLI does or says", variable)
		}
		for _, complaint := range misread(parsed) {
			say(call, "%s", complaint)
		}
	}
	return wrong
}

// misread are arguments that are accepted and not what their author meant.
func misread(call *grammar.Call) []string {
	var wrong []string
	for _, name := range call.Options() {
		for _, value := range call.All(name) {
			if strings.HasPrefix(value, "-") {
				wrong = append(wrong, fmt.Sprintf("the value of %s begins with -: %q", name, value))
			}
		}
	}
	for _, name := range []string{"container-id", "container-ids", "containers", "image", "images", "reference"} {
		if i := slices.IndexFunc(call.Args(name), func(id string) bool { return strings.HasPrefix(id, "-") }); i >= 0 {
			wrong = append(wrong, fmt.Sprintf("an id begins with -: %q", call.Args(name)[i]))
		}
	}
	// What follows the image belongs to the entry point, if one is named.
	if rest := call.Args("arguments"); len(rest) > 0 && strings.HasPrefix(rest[0], "-") && !call.Has("--entrypoint") {
		wrong = append(wrong, fmt.Sprintf("%q would be the executable in the guest", rest[0]))
	}
	for _, label := range call.All("--label") {
		if call.Command != "build" && strings.Count(label, "=") != 1 {
			wrong = append(wrong, fmt.Sprintf("the label %q does not arrive as it is", label))
		}
	}
	if call.Command == "system start" && !call.Has("--enable-kernel-install") && !call.Has("--disable-kernel-install") {
		wrong = append(wrong, "it may ask a question")
	}
	if call.Debug {
		wrong = append(wrong, "--debug makes stderr unreadable")
	}
	return wrong
}
