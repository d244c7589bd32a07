#!/usr/bin/env bash
# Install what the tests use and no Python package brings. Done by apt-get where the system is
# Debian-like and this is root; else a line says what is missing, and the tests that need it are
# skipped. What is there is left as it is. Run by `make`.
set -euo pipefail

# package | a program, or a file of /, that says it is there | what is skipped without it
wanted="
chromium       | chromium chromium-browser google-chrome google-chrome-stable | the tests of pages
openssh-client | ssh                                                          | the tests over ssh
openssh-server | sshd                                                         | the tests over ssh
clang          | clang                                                        | the test that clang compiles generated C code
gcc            | gcc cc                                                       | the tests of generated C code
gcc-arm-none-eabi       | arm-none-eabi-gcc                                   | the tests of generated C code on Cortex-M
libnewlib-arm-none-eabi | /usr/lib/arm-none-eabi/newlib/libc_nano.a           | the tests of generated C code on Cortex-M
npm            | npm                                                          | the tests of bundles for browsers
qemu-system-arm | qemu-system-arm                                             | the tests of generated C code on Cortex-M
strace         | strace                                                       | the tests of what commands ask a network
"

is_there() {
  local name
  for name in "$@"; do
    # sshd lies where users do not look.
    if [ -e "/${name#/}" ] || PATH="$PATH:/usr/sbin:/sbin" command -v "$name" >/dev/null; then
      return 0
    fi
  done
  return 1
}

missing=() skipped=()
while IFS='|' read -r package programs what; do
  # shellcheck disable=SC2086 # programs are words
  if [ -n "$package" ] && ! is_there $programs; then
    missing+=("${package// /}")
    skipped+=("${what# }")
  fi
done <<<"$wanted"
if [ "${#missing[@]}" -eq 0 ]; then
  exit 0
fi

give_up() {
  echo "${missing[*]} cannot be installed ($1): skipped are$(printf '%s\n' "${skipped[@]}" |
    sort -u | sed 's/^/ /' | paste -sd,)"
  exit 0
}

if ! command -v apt-get >/dev/null; then
  give_up "this system has no apt-get"
elif [ "$(id -u)" -ne 0 ]; then
  give_up "it takes root"
fi

log=$(mktemp)
policy=/usr/sbin/policy-rc.d
made_policy=
clean_up() {
  rm -f "$log"
  if [ -n "$made_policy" ]; then
    rm -f "$policy"
  fi
}
trap clean_up EXIT
# No package may start a server here: the tests start their own, on loopback.
if [ ! -e "$policy" ]; then
  made_policy=yes
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
fi
echo "installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
  give_up "$(grep -m 1 '^E:' "$log" || tail -n 1 "$log")"
fi
# Nor is it to start with the machine.
case " ${missing[*]} " in
  *" openssh-server "*)
    if command -v systemctl >/dev/null; then
      systemctl disable ssh.service ssh.socket >/dev/null 2>&1 || true
    fi
    ;;
esac
