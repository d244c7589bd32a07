"""How fast the command line starts: fresh processes, in turns with an empty Python."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from benchmarks._record import save, summarize

ROUNDS = 15
COMMAND = str(Path(sys.executable).with_name("compressor"))
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "compressor --version": [COMMAND, "--version"],
    "compressor --help": [COMMAND, "--help"],
    "compressor sweep --help": [COMMAND, "sweep", "--help"],
    "import compressor": [sys.executable, "-c", "import compressor"],
}


def main() -> None:
    """Measure, print and save."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS + 1):
        for name, command in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            times[name].append(time.perf_counter() - start)
    rows = {name: summarize(measured[1:]) for name, measured in times.items()}
    for name, row in rows.items():
        print(f"{name:26} {1000 * row['p50']:7.0f} ms median, {1000 * row['p99']:7.0f} ms p99")
    save("startup", {"unit": "s", "rounds": ROUNDS, "rows": rows})


if __name__ == "__main__":
    main()
