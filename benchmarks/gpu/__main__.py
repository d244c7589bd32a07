"""Measuring artefacts on a machine with an NVIDIA GPU, which needs no network and no compressor.

    python -m benchmarks.gpu prepare --run runs/demo

makes runs/gpu/gpu.tar.gz of a finished demo: `measure.py` (python measure.py --help says how it is
used), the runner, the test images, and ONNX artefacts of the dense model and of pruned ones in
float32, float16 and int8, each run here on the CPU for its accuracy.

    python -m benchmarks.gpu publish gpu.json

checks what measure.py wrote there, also where it is not finished, copies it to benchmarks/results
and writes its table into RESULTS.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.gpu.publish import publish
from compressor import CompressorError
from compressor.foundation import quiet_tensorflow


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepare or publish; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, dest="command")
    prepare_parser = commands.add_parser("prepare", help="make what goes to the machine")
    add = prepare_parser.add_argument
    add("--run", type=Path, default=Path("runs/demo"), help="a finished sweep")
    add("--work", type=Path, default=Path("runs/gpu"), help="the folder to write to")
    add(
        "--model",
        metavar="NAME=FILE",
        type=_named,
        action="append",
        default=[],
        help="one more .keras file, or another one for dense, 90 %% or channels (repeatable)",
    )
    publish_parser = commands.add_parser("publish", help="keep the results")
    publish_parser.add_argument("file", type=Path, help="the gpu.json that measure.py wrote")
    options = parser.parse_args(arguments)
    try:
        if options.command == "publish":
            print(publish(options.file))
            return 0
        # TensorFlow is not needed to publish.
        from benchmarks.gpu.prepare import prepare

        quiet_tensorflow.NativeOutput().hold_back()
        archive = prepare(options.run, options.work, dict(options.model))
    except CompressorError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"written to: {archive}, {archive.stat().st_size:,} bytes")
    return 0


def _named(text: str) -> tuple[str, Path]:
    name, _, file = text.rpartition("=")
    if not name or not file:
        raise argparse.ArgumentTypeError(f"{text}: give NAME=FILE")
    return name, Path(file)


if __name__ == "__main__":
    sys.exit(main())
