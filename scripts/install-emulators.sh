#!/usr/bin/env bash
# Install qemu's user emulators, by which the long tests run bundles as on an ARM device. Done by
# apt-get where the system is Debian-like and this is root; else one line says what is missing, and
# those tests are skipped. Nothing happens where they are there. Run by `make test-all`.
set -euo pipefail

if command -v qemu-aarch64-static >/dev/null && command -v qemu-arm-static >/dev/null; then
  exit 0
fi

why=
if ! command -v apt-get >/dev/null; then
  why="this system has no apt-get"
elif [ "$(id -u)" -ne 0 ]; then
  why="it takes root"
fi
if [ -z "$why" ]; then
  log=$(mktemp)
  trap 'rm -f "$log"' EXIT
  echo "installing qemu-user-static"
  export DEBIAN_FRONTEND=noninteractive
  if ! { apt-get update -qq &&
    apt-get install -y -qq --no-install-recommends qemu-user-static; } >"$log" 2>&1; then
    why=$(grep -m 1 '^E:' "$log" || tail -n 1 "$log")
  fi
fi
if [ -n "$why" ]; then
  echo "qemu-user-static is not installed ($why): the tests under emulation are skipped"
fi
