#!/usr/bin/env bash
# Shows sero's main job on examples/hello-web with the host driver: a workspace
# is opened, commands and a terminal run in it, a dev server is started, its URL
# answers, and everything is stopped. It uses directories of its own, leaves
# nothing behind, and fails when a step does not do what it should.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD

# Not below TMPDIR: the path of a socket is limited, and on macOS that one is long.
tmp=$(mktemp -d /tmp/sero-demo.XXXXXX)
export SERO_HOME=$tmp/home SERO_RUNTIME_DIR=$tmp/run

clean_up() {
  code=$?
  trap - EXIT
  [ ! -x "$tmp/bin/sero" ] || "$tmp/bin/sero" daemon stop >/dev/null 2>&1 || true
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
go build -o "$tmp/bin/sero" ./cmd/sero
go build -o "$tmp/bin/" ./scripts/fetch ./scripts/terminal
export PATH=$tmp/bin:$PATH
show "sero version"
want 0 "sero "

step "Open a workspace"
cp -R examples/hello-web "$tmp/hello-web"
cd "$tmp/hello-web"
show "sero up --driver host"
want 0 "hello-web"
show "sero ls"
want 0 "hello-web" "host"

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
show "sero run --name web --wait 2m -- go run ."
want 0 "http://"
url=$(printf '%s\n' "$output" | grep -o 'http://[^ ]*' | sed -n 1p)
show "fetch $url"
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
show "sero ls"
want 0
show "sero daemon stop"
want 0
cd "$root"

printf '\nThe main job works: %s was started, answered and was stopped.\n' "$url"
