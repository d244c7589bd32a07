"""Running C compilers, and Zig's, which compiles for WebAssembly and for other processors.

Zig comes as the wheel ziglang, pinned, in an environment of its own: the same code gives the same
bytes on every machine.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from compressor.errors import CheckFailedError
from compressor.foundation import temporary_folder
from compressor.runtimes.environments import Environment

ZIGLANG = Environment(
    name="ziglang",
    version="0.17.1",
    requirements=(
        (
            "ziglang==0.17.1",
            (
                "ea6cc5d87b033cf0aedfbc8f9549a908cae6c50ac31f1698188fa48a74524b54",
                "b7c5f02fccd40f89b999ee16a1f5ddced56e6182370f8affe494bcf8a28cf07e",
                "09953b6af7f64168b915180a42774f520f92d86ef6331b28e33915c7e1f0bb23",
                "4e0b4b9c02b8d0d220e9948010f860b62ff11d96abb39762eca5fa2ef3f7bc97",
            ),
        ),
    ),
    pythons=((3, 11), (3, 12), (3, 13)),
    machines=(
        *(("Linux", machine) for machine in ("x86_64", "aarch64")),
        *(("Darwin", machine) for machine in ("arm64", "x86_64")),
    ),
    check="import subprocess, sys; "
    "subprocess.run([sys.executable, '-m', 'ziglang', 'version'], check=True)",
)

_SECONDS = 600
_SHOWN = 200


def zig_cc(arguments: Sequence[str], folder: Path, cache: Path | None = None) -> None:
    """Run `zig cc` in `folder`, with a `cache` of C libraries or one that is gone afterwards.

    Raises MissingRuntimeError where ziglang is not installed, CheckFailedError where it refuses the
    code.
    """
    python = ZIGLANG.python()
    with temporary_folder("compressor-zig-") as temporary:
        places = {f"ZIG_{kind}_CACHE_DIR": str(cache or temporary) for kind in ("GLOBAL", "LOCAL")}
        run_compiler([str(python), "-I", "-m", ZIGLANG.name, "cc", *arguments], folder, places)


def run_compiler(
    command: Sequence[str], folder: Path, variables: Mapping[str, str] | None = None
) -> str:
    """What a compiler, run in `folder`, prints on standard output.

    Raises CheckFailedError, with its first error, where it fails.
    """
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, **(variables or {})},
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CheckFailedError("the C compiler cannot be run", value=error) from error
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or [done.stderr]
        raise CheckFailedError("the C compiler refuses the code", value=lines[0][:_SHOWN])
    return done.stdout
