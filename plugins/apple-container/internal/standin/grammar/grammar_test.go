package grammar

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// released are the versions whose command lines the facts list.
var released = []string{"0.6.0", "0.8.0", "0.9.0", "0.10.0", "0.12.3", "1.0.0", "1.2.2"}

func grammarFor(t *testing.T, version string) *Grammar {
	t.Helper()
	v, err := ParseVersion(version)
	if err != nil {
		t.Fatal(err)
	}
	g, err := For(v)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// TestEveryVersionAccepts holds the argument vectors that all released versions
// take unchanged.
func TestEveryVersionAccepts(t *testing.T) {
	const lines = `
--version
system status
system start --enable-kernel-install
list --all --format json
inspect ID
image inspect repo/app:1
image list --format json
image pull --platform linux/arm64 repo/app:1
build --progress plain --tag repo/app:1 --file /abs/Dockerfile /abs/context
create --name ID --label k=v --cpus 4 --memory 8192M --mount type=bind,source=/abs,target=/w --volume /abs2:/w2:ro --env K=V --workdir /w --dns 1.1.1.1 --publish 127.0.0.1:8080:80 --ssh --entrypoint /bin/sleep repo/app:1 infinity
start ID
exec --interactive --tty --user 1000 --workdir /w --env K=V ID sh -lc cmd
exec --interactive ID tar -C / -xf -
logs -n 200 ID
stop --time 10 ID
kill --signal KILL ID
delete --force ID
network inspect default
builder status --format json
image delete repo/app:1
image tag A:1 B:2
image load --input /abs/file.tar`
	for _, version := range released {
		g := grammarFor(t, version)
		for line := range strings.SplitSeq(strings.TrimSpace(lines), "\n") {
			if _, err := g.Parse(strings.Fields(line)); err != nil {
				t.Errorf("%s refuses %s: %v", version, line, err)
			}
		}
	}
}

// TestGates holds what came, and what went, with a version.
func TestGates(t *testing.T) {
	tests := []struct {
		line  string
		since string // the first of released that takes it
		until string // the first that takes it no longer
	}{
		{line: "exec --detach ID cmd", since: "0.8.0"},
		{line: "stats ID --format json --no-stream", since: "0.8.0"},
		{line: "system df --format json", since: "0.8.0"},
		{line: "create --read-only image", since: "0.8.0"},
		{line: "system version --format json", since: "0.8.0"},
		{line: "image pull --disable-progress-updates a", until: "0.8.0"},
		{line: "image pull --progress none a", since: "0.8.0"},
		{line: "image pull --max-concurrent-downloads 3 a", since: "0.8.0"},
		{line: "image load --force", since: "0.8.0"},
		{line: "image delete --force a", since: "0.9.0"},
		{line: "create --ulimit nofile=1 image", since: "0.9.0"},
		{line: "build --dns 1.1.1.1 .", since: "0.9.0"},
		{line: "network create --internal n", since: "0.9.0"},
		{line: "prune", since: "0.9.0"},
		{line: "create --init image", since: "0.10.0"},
		{line: "system status --format json", since: "0.10.0"},
		{line: "system start --timeout 5", since: "0.10.0"},
		{line: "build --pull .", since: "0.10.0"},
		{line: "build --secret id=a .", since: "0.12.3"},
		{line: "create --cap-add ALL image", since: "0.12.3"},
		{line: "image pull --progress plain a", since: "0.12.3"},
		{line: "list --format yaml", since: "0.12.3"},
		{line: "copy a ID:/b", since: "1.0.0"},
		{line: "cp a ID:/b", since: "1.0.0"},
		{line: "create --shm-size 1G image", since: "1.0.0"},
		{line: "list --format toml", since: "1.0.0"},
		{line: "create --kernel-arg a image", since: "1.2.2"},
		{line: "create --masked-path /a image", since: "1.2.2"},
		{line: "build --ssh default .", since: "1.2.2"},
	}
	for _, test := range tests {
		for i, version := range released {
			_, err := grammarFor(t, version).Parse(strings.Fields(test.line))
			want := i >= slices.Index(released, test.since) && (test.until == "" || i < slices.Index(released, test.until))
			if (err == nil) != want {
				t.Errorf("%s: %s: %v, accepted should be %v", version, test.line, err, want)
			}
		}
	}
}

// TestRules holds how the CLI reads a command line: facts 2.
func TestRules(t *testing.T) {
	tests := []struct {
		name string
		argv []string
		says string // the refusal, or "" where it is accepted
	}{
		{"unknown option", []string{"list", "--al"}, "Unknown option '--al'"},
		{"no abbreviations", []string{"create", "--interact", "i"}, "Unknown option '--interact'"},
		{"missing value", []string{"create", "--name"}, "Missing value for '--name <name>'"},
		{"a value may not look like an option", []string{"create", "--env", "-X=1", "i"}, "Missing value for '--env <env>'"},
		{"unless it is attached", []string{"create", "--env=-X=1", "i"}, ""},
		{"an empty attached value takes the next word", []string{"create", "--env=", "A=1", "i"}, ""},
		{"an empty word is a value", []string{"create", "--workdir", "", "i"}, ""},
		{"short with =", []string{"exec", "-e=A=1", "c", "x"}, ""},
		{"short with the value in one word", []string{"exec", "-eA", "c", "x"}, "Unknown option '-eA'"},
		{"a pack", []string{"exec", "-it", "c", "x"}, ""},
		{"a pack whose last takes the next word", []string{"exec", "-ite", "A=1", "c", "x"}, ""},
		{"all after the first positional is the guest's", []string{"run", "i", "--rm"}, ""},
		{"a terminator before the id", []string{"exec", "-it", "--", "c", "ls"}, ""},
		{"exec without a command", []string{"exec", "c"}, "Missing expected argument '<arguments> ...'"},
		{"create without an image", []string{"create", "--name", "x"}, "Missing expected argument '<image>'"},
		{"too much", []string{"start", "a", "b"}, "Unexpected argument 'b'"},
		{"too much by two", []string{"start", "a", "b", "c"}, "2 unexpected arguments: 'b', 'c'"},
		{"no number", []string{"stop", "--time", "soon", "a"}, "The value 'soon' is invalid for '--time <time>'"},
		{"no format", []string{"list", "--format", "xml"}, "The value 'xml' is invalid for '--format <format>'"},
		{"a switch with a value", []string{"list", "--all=yes"}, "The option '--all' does not take any value."},
		{"debug only in front", []string{"--debug", "list"}, ""},
		{"debug behind", []string{"exec", "--debug", "c", "x"}, "Unknown option '--debug'"},
		{"aliases", []string{"i", "ls"}, ""},
		{"logs --tail", []string{"logs", "--tail", "3", "c"}, "Unknown option '--tail'"},
		{"no such subcommand", []string{"image", "prefetch"}, "Unexpected argument 'prefetch'"},
		{"an option where a subcommand should be", []string{"image", "--all"}, "Unknown option '--all'"},
	}
	for _, version := range released {
		g := grammarFor(t, version)
		for _, test := range tests {
			_, err := g.Parse(test.argv)
			if test.says == "" && err != nil {
				t.Errorf("%s: %s: %v", version, test.name, err)
			}
			if test.says == "" {
				continue
			}
			usage, ok := errors.AsType[*UsageError](err)
			if !ok || usage.Message != test.says || !strings.HasPrefix(usage.Usage, "Usage: container ") {
				t.Errorf("%s: %s: %#v, want %q", version, test.name, err, test.says)
			}
		}
	}
}

func TestWhatWasGiven(t *testing.T) {
	call, err := grammarFor(t, "1.2.2").Parse([]string{"rm", "-f", "--all"})
	if err != nil || call.Command != "delete" || !call.Has("--force") || !call.Has("--all") {
		t.Errorf("%+v, %v", call, err)
	}
	call, err = grammarFor(t, "1.2.2").Parse([]string{"exec", "--cwd", "/a", "-w", "/b", "c", "ls", "--", "-l"})
	if err != nil {
		t.Fatal(err)
	}
	if dir, _ := call.Last("--workdir"); dir != "/b" {
		t.Errorf("the last value counts: %q", dir)
	}
	if got := call.Args("arguments"); !slices.Equal(got, []string{"ls", "--", "-l"}) {
		t.Errorf("verbatim: %q", got)
	}
}
