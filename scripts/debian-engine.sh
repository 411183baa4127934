#!/usr/bin/env bash
# Runs a command where the Docker Engine of another Debian answers on the usual
# socket, and dockerd on the path is that one: in namespaces of its own, with the
# rest of this machine's files. Nothing of it is left, and the machine's own engine
# goes on untouched. It has the tests' base image if that one has it. Needs root,
# apt, and Debian as its host.
#
#   scripts/debian-engine.sh trixie go test -count=1 ./plugins/docker ./test/lifecycle
#
# SERO_ENGINE_CGROUP=2 gives it the hierarchy of cgroup v2, with those controllers
# that the machine does not have in v1.
set -euo pipefail

image=sero-base:bookworm
packages=(docker.io docker-cli containerd runc iptables iproute2 kmod bash dash coreutils util-linux mount
  grep sed gawk findutils procps tar gzip curl ca-certificates libc-bin)

usage() {
  echo "usage: $0 SUITE COMMAND..." >&2
  exit 2
}

# download puts the packages of a suite and what they need into $dir/usr. They are
# only unpacked: no script of theirs runs.
download() {
  local suite=$1 mirror=${SERO_DEBIAN_MIRROR:-http://deb.debian.org/debian}
  mkdir -p "$dir"/apt/{etc/apt.conf.d,etc/preferences.d,state/lists/partial,cache/archives/partial} "$dir/tree"
  : >"$dir/apt/status"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$dir/apt/etc/sources.list"
  local apt=(apt-get -qq -o "Dir::Etc=$dir/apt/etc" -o "Dir::State=$dir/apt/state" -o "Dir::Cache=$dir/apt/cache"
    -o "Dir::State::status=$dir/apt/status" -o APT::Sandbox::User=root)
  "${apt[@]}" update
  "${apt[@]}" install --yes --download-only --no-install-recommends "${packages[@]}" >/dev/null
  find "$dir/apt/cache/archives" -name '*.deb' -print0 | xargs -0 -I {} dpkg-deb -x {} "$dir/tree"
  rm -rf "$dir/apt"
  for name in iptables ip6tables iptables-save ip6tables-save iptables-restore ip6tables-restore; do
    ln -sf xtables-nft-multi "$dir/tree/usr/sbin/$name" # an alternative, which a script would make
  done
}

# inside runs in the new namespaces: it makes the other Debian's /usr this one's.
inside() {
  mkdir -p "$dir/tree/usr/local" "$dir/data" "$dir/cgroup"
  mount --bind /usr/local "$dir/tree/usr/local"
  mount --rbind /sys/fs/cgroup "$dir/cgroup"
  mount -t sysfs sysfs /sys # of the new network
  if [ "${SERO_ENGINE_CGROUP:-}" = 2 ]; then
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    umount -R -l "$dir/cgroup"
  else
    mount --move "$dir/cgroup" /sys/fs/cgroup
  fi
  mount -t proc proc /proc
  mount -t tmpfs tmpfs /run
  mkdir -p /run/lock /var/lib/docker
  umount -R -l /var/lib/docker 2>/dev/null || true # the other engine's
  mount --bind "$dir/data" /var/lib/docker
  mount --rbind "$dir/tree/usr" /usr
  hash -r
  ip link set lo up
  dockerd >"$dir/log" 2>&1 </dev/null &
  local engine=$!
  for _ in $(seq 300); do
    if curl -fsS --unix-socket /var/run/docker.sock http://docker/_ping >/dev/null 2>&1; then
      docker version --format 'Docker Engine {{.Server.Version}}, API {{.Server.APIVersion}}'
      [ ! -e "$dir/image.tar" ] || docker load --quiet --input "$dir/image.tar"
      local code=0
      "$@" || code=$?
      kill "$engine"
      wait "$engine" || true
      return "$code"
    fi
    kill -0 "$engine" 2>/dev/null || break
    sleep 0.1
  done
  tail -n 20 "$dir/log" >&2
  echo "the Docker Engine does not start" >&2
  return 1
}

if [ -n "${SERO_ENGINE_DIR:-}" ]; then
  dir=$SERO_ENGINE_DIR
  unset SERO_ENGINE_DIR
  inside "$@"
  exit
fi
[ $# -ge 2 ] || usage
[ "$(id -u)" -eq 0 ] || { echo "$0: needs root" >&2; exit 1; }
suite=$1
shift
dir=$(mktemp -d /tmp/sero-engine.XXXXXX)
trap 'rm -rf --one-file-system "$dir"' EXIT
download "$suite"
# What runs inside reaches no network to make the tests' image.
if docker image inspect "$image" >/dev/null 2>&1; then docker save --output "$dir/image.tar" "$image"; fi
# Whatever runs inside ends with its first process, and the mounts with the last one.
SERO_ENGINE_DIR=$dir unshare --mount --net --pid --fork --kill-child --propagation private bash "${BASH_SOURCE[0]}" "$@"
