#!/usr/bin/env bash
# Make .venv and install the project in it, pinned by constraints.txt. Fast where uv can be had,
# by pip where not. Run by `make`; usage: scripts/setup-venv.sh VENV PYTHON
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$1
python=$2
log=$venv.log

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "compressor needs Python 3.11 or newer: $("$python" --version)" >&2
  exit 2
}
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
  # Debian splits venv off the interpreter.
  echo "installing python3-venv"
  apt-get update -qq && apt-get install -y -qq python3-venv >"$log"
fi

# Two at once, `make test` beside `make demo`: the second one waits, and finds it done.
exec 9>"$venv.lock"
if command -v flock >/dev/null; then
  flock 9
  newer=$(find constraints.txt setup.cfg pyproject.toml scripts/setup-venv.sh \
    -newer "$venv/.ready" 2>/dev/null || echo "not made")
  [ -n "$newer" ] || exit 0
fi

rm -rf "$venv"
echo "setting up $venv (log: $log)"
"$python" -m venv "$venv"
pip=("$venv/bin/python" -m pip install --quiet --disable-pip-version-check)
what=(--constraint constraints.txt --editable '.[test,lint]')
if "${pip[@]}" --constraint constraints.txt uv >>"$log" 2>&1 &&
  "$venv/bin/uv" pip install --quiet --python "$venv/bin/python" "${what[@]}" >>"$log" 2>&1; then
  :
else
  echo "uv is not to be had, using pip"
  "${pip[@]}" "${what[@]}" >>"$log" 2>&1 || {
    tail -n 20 "$log" >&2
    exit 2
  }
fi
"$venv/bin/compressor" --version
touch "$venv/.ready"
