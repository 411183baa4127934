#!/usr/bin/env bash
# Shows sero's main job on examples/hello-web: a workspace is opened, commands
# and a terminal run in it, a dev server is started, its addresses answer, and
# everything is stopped. It runs in the best driver of this machine, the host's
# where there is none that isolates; SERO_DEMO_DRIVER names another. It uses
# directories of its own, leaves nothing behind, and fails when a step does not do
# what it should.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD

# Not below TMPDIR: the path of a socket is limited, and on macOS that one is long.
tmp=$(mktemp -d /tmp/sero-demo.XXXXXX)
export SERO_HOME=$tmp/home SERO_RUNTIME_DIR=$tmp/run

clean_up() {
  code=$?
  trap - EXIT
  if [ -x "$tmp/bin/sero" ]; then
    cd "$tmp/hello-web" 2>/dev/null && "$tmp/bin/sero" rm >/dev/null 2>&1 || true
    "$tmp/bin/sero" daemon stop >/dev/null 2>&1 || true
  fi
  chmod -R u+w "$tmp" 2>/dev/null || true
  rm -rf "$tmp"
  [ "$code" -eq 0 ] || echo "demo: FAILED in: $step" >&2
  exit "$code"
}
trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# step TITLE begins a part.
step() {
  step=$1
  printf '\n== %s\n' "$step"
}

fail() {
  printf 'demo: %s\n' "$*" >&2
  exit 1
}

# show COMMAND shows a command line, runs it, shows what it prints and keeps
# that in $output and its exit code in $code.
show() {
  printf '$ %s\n' "$1"
  code=0
  bash -o pipefail -c "$1" >"$tmp/output" 2>&1 </dev/null || code=$?
  sed 's/^/  /' "$tmp/output"
  output=$(cat "$tmp/output")
}

# want CODE [TEXT...] checks the last command.
want() {
  [ "$code" -eq "$1" ] || fail "the exit code is $code, not $1"
  shift
  for text in "$@"; do
    case $output in
    *"$text"*) ;;
    *) fail "the output has no \"$text\"" ;;
    esac
  done
}

step "Build sero"
mkdir -p "$tmp/bin"
make -s build
cp bin/sero "$tmp/bin/sero"
go build -o "$tmp/bin/" ./scripts/fetch ./scripts/terminal
export PATH=$tmp/bin:$PATH
show "sero version"
want 0 "sero "

step "Open a workspace"
cp -R examples/hello-web "$tmp/hello-web"
cd "$tmp/hello-web"
tree() { find . -type f -exec cksum {} + | sort; }
before=$(tree)
show "sero up${SERO_DEMO_DRIVER:+ --driver $SERO_DEMO_DRIVER}"
want 0 "hello-web" "driver"
case $output in
*"HOST MODE"*) isolated= ;;
*) isolated=yes ;;
esac
show "sero ls"
want 0 "hello-web"

if [ -n "$isolated" ]; then
  step "See that it is not this machine"
  show "sero exec -- cat /etc/os-release"
  want 0 "ID="
  show "sero exec -- sh -c 'pwd; hostname; echo made inside >from-inside'"
  want 0 "/workspace"
  show "cat from-inside"
  want 0 "made inside"
  rm from-inside

  step "Show it a directory that it cannot change"
  mkdir "$tmp/reference"
  echo "read me" >"$tmp/reference/notes"
  show "sero mount add --read-only $tmp/reference"
  want 0
  show "sero recreate"
  want 0 "made anew"
  show "sero exec -- cat $tmp/reference/notes"
  want 0 "read me"
  show "sero exec -- sh -c 'echo scribble >$tmp/reference/notes'"
  [ "$code" -ne 0 ] || fail "a read-only mount was written to"
  want "$code" "Read-only file system"
fi

step "Run commands in it"
show "sero exec -- sh -c 'echo from \$PWD; ls'"
want 0 "main.go"
show "sero exec -- sh -c 'exit 7'"
printf '  exit code %s\n' "$code"
want 7
show "sero exec --timeout 1s -- sh -c 'sleep 60 & sleep 60'"
printf '  exit code %s\n' "$code"
want 124

step "Pipe 20 MB through it"
head -c 20000000 /dev/urandom >"$tmp/random"
show "cksum <$tmp/random"
want 0
sum=$output
show "sero exec -- cat <$tmp/random | cksum"
want 0 "$sum"

step "Open a terminal in it"
show "terminal 'stty size; exit 5' sero shell"
want 5 "30 100"

step "Start a dev server"
CGO_ENABLED=0 GOOS=${isolated:+linux} go build -o server .
show "sero run --name web --wait 2m -- ./server"
want 0 "http://"
url=$(printf '%s\n' "$output" | grep -o 'http://[^ ]*' | sed -n 1p)
preview=$(printf '%s\n' "$output" | grep -o 'http://web.hello-web.localhost:[0-9]*')
show "fetch $url"
want 0 "Hello from a dev server"
show "fetch $preview"
want 0 "Hello from a dev server"
show "sero dev ls"
want 0 "web" "running" "$url"
show "sero dev logs web"
want 0 "listening on" "GET /"

step "Stop it all"
show "sero dev stop web"
want 0 "stopped"
show "fetch -timeout 2s $url"
[ "$code" -ne 0 ] || fail "the server still answers"
show "sero stop"
want 0
show "sero rm"
want 0
rm server
[ "$(tree)" = "$before" ] || fail "the workspace's files are not what they were"
show "sero ls"
want 0
show "sero daemon stop"
want 0
cd "$root"

printf '\nThe main job works: %s was started, answered and was stopped.\n' "$url"
