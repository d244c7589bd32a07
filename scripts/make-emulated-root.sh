#!/usr/bin/env bash
# Make a folder with Debian 12 for another processor, its Python 3.11, numpy and a runtime, to be run
# by qemu's user emulation. Debian packages come by apt-get with a configuration of its own, wheels by
# pip: nothing of this system changes, and it takes no root. Run by the slow tests and by hand.
# Usage: scripts/make-emulated-root.sh arm64|armhf FOLDER [PYTHON]
# Then:  FOLDER/python PROGRAM.py
set -euo pipefail

fail() {
  echo "make-emulated-root: $1" >&2
  exit 3
}

architecture=${1:-}
folder=${2:-}
python=${3:-python3}
case $architecture in
  arm64)
    machine=aarch64 emulator=qemu-aarch64-static processor=cortex-a72
    # Of a Cortex-A72.
    cpuinfo='Features\t: fp asimd crc32\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: 0xd08\nCPU revision\t: 3\n'
    debian=(python3-minimal python3.11-minimal libpython3.11-stdlib libstdc++6 libgomp1)
    platforms=(manylinux_2_28_aarch64 manylinux_2_27_aarch64 manylinux_2_17_aarch64)
    wheels=(ai-edge-litert==2.3.0 onnxruntime==1.31.1 numpy==2.4.6)
    ;;
  armhf)
    # tflite-runtime has a wheel for armv7l; numpy does not, and Debian has 1.24.
    machine=armv7l emulator=qemu-arm-static processor=cortex-a15
    # Of a Cortex-A53 in its 32-bit mode.
    cpuinfo='Features\t: half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt lpae\nCPU implementer\t: 0x41\nCPU architecture: 7\nCPU variant\t: 0x0\nCPU part\t: 0xd03\nCPU revision\t: 4\n'
    debian=(python3-minimal python3.11-minimal libpython3.11-stdlib libstdc++6 python3-numpy)
    platforms=(manylinux_2_34_armv7l)
    wheels=(tflite-runtime==2.14.0)
    ;;
  *)
    echo "usage: $0 arm64|armhf FOLDER [PYTHON]" >&2
    exit 2
    ;;
esac
[ -n "$folder" ] || { echo "usage: $0 arm64|armhf FOLDER [PYTHON]" >&2; exit 2; }
for program in apt-get dpkg-deb "$emulator" "$python"; do
  command -v "$program" >/dev/null || fail "$program is not there (qemu-user-static and a Debian 12)"
done
grep -qs '^VERSION_CODENAME=bookworm' /etc/os-release || fail "the packages are taken as Debian 12 names them, and this is another system"

mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
root=$folder/root
work=$folder/apt
rm -rf "$root" "$work"
mkdir -p "$root" "$work"/{sources,lists/partial,archives/partial,preferences}
log=$folder/log

# Debian's own sources of this system, and no others.
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*; do
  if [ -f "$file" ] && grep -q 'debian-archive-keyring\|/debian' "$file"; then
    cp "$file" "$work/sources/"
  fi
done
touch "$work/status"
cat >"$work/apt.conf" <<CONF
APT::Architecture "$architecture";
APT::Architectures { "$architecture"; };
APT::Install-Recommends "false";
APT::Sandbox::User "";
Dir::State "$work";
Dir::State::status "$work/status";
Dir::State::lists "$work/lists";
Dir::Cache "$work";
Dir::Cache::archives "$work/archives";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "$work/sources";
Dir::Etc::preferencesparts "$work/preferences";
Debug::NoLocking "true";
CONF
apt() { APT_CONFIG=$work/apt.conf apt-get -y -q "$@" >>"$log" 2>&1; }
: >"$log"
# A mirror lacks an index at times; what is missing then shows at the next step.
apt update || echo "make-emulated-root: going on without an index: $(grep -m 1 '^E:' "$log")" >&2
apt install --download-only "${debian[@]}" ||
  fail "apt-get: $(grep -m 1 '^E:' "$log" || tail -n 1 "$log")"
for package in "$work"/archives/*.deb; do
  dpkg-deb -x "$package" "$root"
done

options=(--only-binary :all: --no-deps --python-version 3.11 --implementation cp --quiet)
for platform in "${platforms[@]}"; do
  options+=(--platform "$platform")
done
"$python" -m pip --disable-pip-version-check install "${options[@]}" \
  --target "$root/usr/lib/python3/dist-packages" "${wheels[@]}" >>"$log" 2>&1 ||
  fail "pip: $(grep -m 1 'ERROR' "$log" || tail -n 1 "$log")"

# What packages do when they are configured: Debian chooses among several BLAS by links.
for library in "$root"/usr/lib/*/{blas,lapack}/lib*.so.3; do
  if [ -f "$library" ]; then
    ln -sf "$library" "${library%/*/*}/"
  fi
done
# Runtimes look up the processor here, and end in a segmentation fault over one of another kind.
mkdir -p "$root/proc"
for ((number = 0; number < $(getconf _NPROCESSORS_CONF); number++)); do
  printf 'processor\t: %s\n%b\n' "$number" "$cpuinfo"
done >"$root/proc/cpuinfo"

# No absolute link may lead out of the folder.
find "$root" -type l -lname '/*' ! -lname "$root/*" -delete
cat >"$folder/python" <<RUN
#!/bin/sh
exec $emulator -cpu $processor -L "$root" -E PYTHONDONTWRITEBYTECODE=1 "$root/usr/bin/python3.11" "\$@"
RUN
chmod +x "$folder/python"
rm -rf "$work"
found=$("$folder/python" -c 'import platform; print(platform.machine(), platform.python_version())') ||
  fail "the emulated Python does not start"
[ "${found% *}" = "$machine" ] || fail "emulated is $found, not $machine"
echo "$folder/python: $found"
