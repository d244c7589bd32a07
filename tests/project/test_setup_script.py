"""scripts/setup-venv.sh, with a Python that only pretends to make an environment."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.race

_SCRIPT = Path(__file__).parents[2] / "scripts" / "setup-venv.sh"
_PYTHON = """#!/bin/bash
case "$*" in
*"-m venv"*)
  echo made >>made
  mkdir -p "$3/bin"
  for name in python uv compressor; do
    printf '#!/bin/bash\\n' >"$3/bin/$name"
    chmod +x "$3/bin/$name"
  done
  ;;
esac
"""


@pytest.mark.skipif(shutil.which("flock") is None, reason="there is no flock")
def test_two_at_once_set_up_once(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    script = Path(shutil.copy(_SCRIPT, tmp_path / "scripts"))
    for name in ("constraints.txt", "setup.cfg", "pyproject.toml"):
        (tmp_path / name).touch()
    python = tmp_path / "python"
    python.write_text(_PYTHON)
    python.chmod(0o755)
    command = [str(script), ".venv", str(python)]

    running = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(3)]

    assert [process.wait() for process in running] == [0, 0, 0]
    assert (tmp_path / "made").read_text() == "made\n"
    assert (tmp_path / ".venv" / ".ready").is_file()

    (tmp_path / ".venv" / ".ready").unlink()  # it was interrupted
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    assert (tmp_path / "made").read_text() == "made\nmade\n"
