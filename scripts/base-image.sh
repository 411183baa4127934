#!/usr/bin/env bash
# Makes a base image from Debian's packages, for machines that reach no container
# registry: base-image.sh [TAG]. Does nothing when the engine has the image. Needs
# root, debootstrap and a Docker Engine; DOCKER_HOST says which.
set -euo pipefail

tag=${1:-sero-base:bookworm}
suite=bookworm
# What a sandbox needs: ps, ss, setsid and an interpreter.
packages=ca-certificates,iproute2,procps,python3-minimal,util-linux

have() { docker image inspect "$tag" >/dev/null 2>&1; }

if have; then exit 0; fi
for tool in debootstrap docker tar flock; do
  command -v "$tool" >/dev/null || { echo "base-image.sh: $tool is missing" >&2; exit 1; }
done
[ "$(id -u)" -eq 0 ] || { echo "base-image.sh: debootstrap needs root" >&2; exit 1; }

# Two at once would make it twice.
exec 9>"${TMPDIR:-/tmp}/sero-base-image.lock"
flock 9
if have; then exit 0; fi

dir=$(mktemp -d "${TMPDIR:-/tmp}/sero-base.XXXXXX")
trap 'rm -rf --one-file-system "$dir"' EXIT
debootstrap --variant=minbase --include="$packages" "$suite" "$dir" ${SERO_DEBIAN_MIRROR:+"$SERO_DEBIAN_MIRROR"} 9>&- >"$dir.log" 2>&1 || {
  tail -n 20 "$dir.log" >&2
  exit 1
}
rm -rf "$dir"/var/cache/* "$dir"/var/lib/apt/lists/* "$dir"/var/log/* "$dir.log" \
  "$dir"/usr/share/{doc,man,info,locale}/*
tar -C "$dir" --one-file-system --numeric-owner -c . | docker import --change 'CMD ["/bin/sh"]' - "$tag" >/dev/null
