#!/usr/bin/env bash
# Checks the apple-container driver on a Mac, with the real CLI, and prints a
# report: the conformance suite, and what the stand-in for the CLI cannot show.
# It touches only containers and images that it makes, and stops no system.
#
#   scripts/verify-macos.sh [--dry-run] [--image IMAGE] [--out DIRECTORY]
#
# IMAGE has to be in Apple's image store; sero-node:latest unless given.
set -euo pipefail

dry='' image=sero-node:latest out=''
while [ $# -gt 0 ]; do
  case $1 in
    --dry-run) dry=1 ;;
    --image) image=${2:?--image needs a name}; shift ;;
    --out) out=${2:?--out needs a directory}; shift ;;
    *) sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
  shift
done

cd "$(dirname "$0")/.."
cli=${SERO_APPLE_CONTAINER_PATH:-/usr/local/bin/container}
name=sero-verify-$$
failed=0

say() { printf '%s\n' "$*"; }
# check WHAT COMMAND...: runs a command, and says whether it did what it has to.
check() {
  local what=$1 said
  shift
  if [ -n "$dry" ]; then say "would check: $what"; return; fi
  if said=$("$@" 2>&1); then say "ok    $what"; else
    failed=$((failed + 1))
    say "FAIL  $what"
    printf '%s\n' "$said" | tail -n 5 | sed 's/^/      /'
  fi
}

if [ -z "$dry" ]; then
  # As for the driver, a CLI that is named is taken anywhere.
  [ "$(uname -sm)" = "Darwin arm64" ] || [ -n "${SERO_APPLE_CONTAINER_PATH:-}" ] || { say "this is $(uname -sm), not a Mac with Apple silicon; try --dry-run" >&2; exit 1; }
  [ -x "$cli" ] || { say "there is no $cli: install it from https://github.com/apple/container/releases" >&2; exit 1; }
  out=${out:-$(mktemp -d)}
  mkdir -p "$out"
  go build -o "$out/sero" ./cmd/sero
  go build -o "$out/sero-driver-apple-container" ./cmd/sero-driver-apple-container
  work=$(mktemp -d) # below /var, which is a link: as many projects are
  export SERO_HOME=$work/home SERO_RUNTIME_DIR=/tmp/$name
  mkdir -p "$work/ws" "$work/read-only"
  mkdir -m 700 "$SERO_RUNTIME_DIR"
  end() {
    (cd "$work/ws" && "$out/sero" rm --force -w "$work/ws" >/dev/null 2>&1) || true
    "$out/sero" daemon stop >/dev/null 2>&1 || true
    "$cli" delete --force "$name" >/dev/null 2>&1 || true
    rm -rf "$work" "$SERO_RUNTIME_DIR"
  }
  trap end EXIT
  say "$(sw_vers 2>/dev/null || uname -a)"
  "$cli" --version
  "$cli" system status || true
  printf '{"image": "%s", "driver": "apple-container"}\n' "$image" >"$work/ws/sero.json"
fi

sero() { (cd "$work/ws" && "$out/sero" "$@"); }
suite() { "$out/sero" driver test --json "$out/conformance.json" "$out/sero-driver-apple-container" | tee "$out/conformance.txt" | tail -n 25; }
stopped_and_started() { sero stop && [ "$(sero exec -- echo back)" = back ]; }
output_whole() { [ "$(sero exec -- head -c 20000000 /dev/zero | wc -c | tr -d ' ')" = 20000000 ]; }
input_whole() { [ "$(head -c 20000000 /dev/zero | sero exec -- wc -c | tr -d ' ')" = 20000000 ]; }
unread_input() { # does input that nobody reads hold up another command?
  head -c 1000000 /dev/zero | sero exec --timeout 20s -- sleep 15 >/dev/null 2>&1 &
  local first=$! answer
  sleep 3
  answer=$(sero exec --timeout 5s -- echo free) || true
  wait "$first" || true
  [ "$answer" = free ]
}
cancelled() {
  sero exec --timeout 1s -- sleep 4711 >/dev/null 2>&1 || true
  ! sero exec -- sh -c 'cat /proc/[0-9]*/cmdline 2>/dev/null | tr "\\0" " " | grep "sleep 471[1]"' >/dev/null 2>&1
}
read_only() { # a write inside fails, and the host's directory is as it was
  "$cli" create --name "$name" --volume "$work/read-only:/read-only:ro" --entrypoint /bin/sh "$image" -c 'sleep 600' >/dev/null
  "$cli" start "$name" >/dev/null
  ! "$cli" exec "$name" touch /read-only/made && [ ! -e "$work/read-only/made" ]
}
foreign() { # another's container is there, as it was
  "$cli" inspect "$name" | grep -q "$name"
}
reached() { # a server inside answers at the sandbox's own address
  # The image is sero-node, or has Python's library.
  local server='command -v node >/dev/null && exec node -e "require(\"http\").createServer((q, s) => s.end(\"hi\")).listen(8123, \"0.0.0.0\")"; exec python3 -m http.server 8123'
  sero run --name verify --wait 60s -- sh -c "$server" >"$work/run" &&
    curl -fsS -m 10 "$(grep -o 'http://[0-9][^ ]*' "$work/run" | head -n 1)" >/dev/null
}

check "the conformance suite" suite
check "a workspace opens" sero up
check "a command runs in Linux" sh -c "cd '${work:-.}/ws' && [ \"\$('${out:-.}/sero' exec -- uname -s)\" = Linux ]"
check "20 MB of output arrive whole" output_whole
check "20 MB of input arrive whole" input_whole
check "input that nobody reads holds up no other command" unread_input
check "a command that was cancelled is gone inside" cancelled
check "a stopped workspace starts again" stopped_and_started
check "a read-only mount is read-only" read_only
check "a server inside is reached" reached
check "another's container is still there" foreign
say ""
say "By hand, please: lock the screen for a minute during 'sero exec -- sleep 120'; put the Mac to sleep; a VPN; after an upgrade of the CLI."
[ -n "$dry" ] || say "$failed failed; the suite's report is in $out"
[ "$failed" -eq 0 ]
