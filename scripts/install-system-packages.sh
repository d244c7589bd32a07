#!/usr/bin/env bash
# Install what the tests use and no Python package brings: Chromium, for the report's page. Done by
# apt-get where the system is Debian-like and this is root; else one line says what is missing, and
# the tests that need it are skipped. Nothing happens where it is there. Run by `make`.
set -euo pipefail

for name in chromium chromium-browser google-chrome google-chrome-stable; do
  if command -v "$name" >/dev/null; then
    exit 0
  fi
done

why=
if ! command -v apt-get >/dev/null; then
  why="this system has no apt-get"
elif [ "$(id -u)" -ne 0 ]; then
  why="it takes root"
fi
if [ -n "$why" ]; then
  echo "Chromium is not installed here ($why): the tests of the report's page are skipped"
  exit 0
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "installing Chromium"
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; } >"$log" 2>&1; then
  reason=$(grep -m 1 '^E:' "$log" || tail -n 1 "$log")
  echo "Chromium cannot be installed ($reason): the tests of the report's page are skipped"
fi
