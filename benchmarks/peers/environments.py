"""The environments of the peers: pinned, hash-checked, in the user's cache, apart from `.venv`.

    python -m benchmarks.peers.environments [NAME ...]    make them now

Each is made when it is first needed. The packages of one lie in NAME.txt beside this file, as pip
reads them; the programs that run in it (`run_*.py`) import nothing of this project.
"""

from __future__ import annotations

import argparse
import re
import subprocess
from pathlib import Path
from typing import NoReturn

from compressor.errors import CheckFailedError, MissingRuntimeError
from compressor.runtimes.environments import Environment

HERE = Path(__file__).parent
_SECONDS = 3600
_PACKAGE = re.compile(r"([A-Za-z0-9._-]+==[A-Za-z0-9._+!-]+)((?:\s+--hash=sha256:[0-9a-f]{64})+)")

Requirements = tuple[tuple[str, tuple[str, ...]], ...]


def read_requirements(path: Path) -> Requirements:
    """Each package==version of a requirements file with the sha256 of its wheels.

    Raises ValueError for a line that is not pinned so.
    """
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    found = []
    for entry in filter(None, "\n".join(lines).replace("\\\n", " ").splitlines()):
        match = _PACKAGE.fullmatch(entry.strip())
        if match is None:
            raise ValueError(f"{path.name}: not pinned by hashes: {entry.strip()[:80]}")
        found.append((match[1], tuple(re.findall(r"sha256:(\w+)", match[2]))))
    return tuple(found)


def _environment(name: str, version: str, requirements: str, check: str) -> Environment:
    return Environment(
        name=name,
        version=version,
        requirements=read_requirements(HERE / requirements),
        pythons=((3, 11), (3, 12)),
        machines=(("Linux", "x86_64"),),
        check=check,
        group="peers",
        installer=f"python -m benchmarks.peers.environments {name}",
    )


TFMOT = _environment(
    "tensorflow-model-optimization",
    "0.8.1",
    "tfmot.txt",
    "import os; os.environ['TF_USE_LEGACY_KERAS'] = '1'; import tensorflow_model_optimization",
)
AI_EDGE_QUANTIZER = _environment(
    "ai-edge-quantizer",
    "0.10.0",
    "ai_edge_quantizer.txt",
    "from ai_edge_quantizer import quantizer, recipe",
)
ONNXRUNTIME_QUANTIZER = _environment(
    "onnxruntime-quantizer",  # it wants packages that running a model does not
    "1.31.1",
    "onnxruntime_quantizer.txt",
    "import os; os.environ['ORT_DISABLE_TELEMETRY'] = '1'; "
    "import onnx_ir, sympy, onnxruntime.quantization",
)
ENVIRONMENTS = {
    environment.name: environment
    for environment in (TFMOT, AI_EDGE_QUANTIZER, ONNXRUNTIME_QUANTIZER)
}


def packages(environment: Environment) -> dict[str, str]:
    """Package -> version of all that an environment holds."""
    return dict(name.split("==") for name, _ in environment.requirements)


def run_in(environment: Environment, program: str, *arguments: str) -> str:
    """Run the `program` beside this file in an environment, made where it is not there yet.

    Returns what it printed on standard output. Raises MissingRuntimeError where there can be no
    such environment, CheckFailedError, with the last line of what it said, where it fails.
    """
    environment.install()
    # -I: neither the user's variables nor this folder's modules reach the peer.
    command = [str(environment.python()), "-I", str(HERE / program), *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise CheckFailedError(
            f"{environment.name} did not come to an end", value=f"{_SECONDS} s"
        ) from error
    if done.returncode:
        _fail(environment, done)
    return done.stdout


def _fail(environment: Environment, done: subprocess.CompletedProcess[str]) -> NoReturn:
    said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    raise CheckFailedError(
        f"{environment.name} failed", value=(said or [f"exit code {done.returncode}"])[-1][:300]
    )


def main() -> None:
    """Make the environments named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *ENVIRONMENTS], default=[])
    for name in parser.parse_args().names or ENVIRONMENTS:
        try:
            ENVIRONMENTS[name].install()
            print(f"{name}: {ENVIRONMENTS[name].folder}")
        except MissingRuntimeError as error:
            print(f"{name}: {error}")
            raise SystemExit(error.exit_code) from None


if __name__ == "__main__":
    main()
