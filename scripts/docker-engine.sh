#!/usr/bin/env bash
# Makes sure that a Docker Engine answers: does nothing when one does, else
# installs Debian's and starts it in the background. Needs root or sudo.
#
#   scripts/docker-engine.sh start   prints "started" when it had to start one
#   scripts/docker-engine.sh stop    ends the one that start started
set -euo pipefail

pidfile=/run/sero-ci-dockerd.pid
log=/var/log/sero-ci-dockerd.log

as_root() {
  if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}

# The engine is asked over its socket: a docker command may be there without one.
answers() {
  as_root timeout 10 curl -fsS --unix-socket /var/run/docker.sock http://docker/_ping >/dev/null 2>&1
}

start() {
  if answers; then
    echo "an engine answers"
    return
  fi
  local missing=()
  [ -x /usr/sbin/dockerd ] || command -v dockerd >/dev/null || missing+=(docker.io)
  [ -x /usr/sbin/iptables ] || command -v iptables >/dev/null || missing+=(iptables)
  command -v curl >/dev/null || missing+=(curl)
  if [ "${#missing[@]}" -gt 0 ]; then
    echo "installing: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    as_root apt-get update -qq
    as_root apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
    answers && return # the package may have started it
  fi
  # A session of its own: it must outlive this script and no signal of a terminal may reach it.
  as_root setsid bash -c "exec env PATH=\"\$PATH:/usr/sbin:/sbin\" dockerd --pidfile '$pidfile' >'$log' 2>&1 </dev/null &"
  for _ in $(seq 60); do
    if answers; then
      echo "started"
      return
    fi
    sleep 1
  done
  as_root tail -n 20 "$log" >&2
  echo "the Docker Engine does not start" >&2
  return 1
}

stop() {
  local pid
  pid=$(as_root cat "$pidfile" 2>/dev/null) || return 0
  as_root kill "$pid" 2>/dev/null || return 0
  for _ in $(seq 30); do
    as_root kill -0 "$pid" 2>/dev/null || return 0
    sleep 1
  done
  echo "the Docker Engine does not end" >&2
  return 1
}

case ${1:-} in
start) start ;;
stop) stop ;;
*)
  echo "usage: $0 start|stop" >&2
  exit 2
  ;;
esac
