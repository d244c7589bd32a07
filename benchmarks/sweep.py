"""A whole preset from end to end: what came out, and how long each phase took."""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from pathlib import Path

from benchmarks._record import save
from compressor import make_plan, sweep
from compressor._progress import TerminalProgress
from compressor._tensorflow import NativeOutput
from compressor.report import summary_text


class _Clock(TerminalProgress):
    """Shows progress, and notes how long the stages of each kind took."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: dict[str, float] = defaultdict(float)
        self._kind, self._began = "start", time.monotonic()

    def stage(self, title: str, images: int = 0, images_left: int = 0) -> None:
        """Close the phase before, and begin the one of `title`."""
        self.close()
        self._kind = title.split(":")[-1].split(",")[-1].strip()
        super().stage(title, images, images_left)

    def close(self) -> None:
        """Count the time since the last stage began."""
        self.seconds[self._kind] += time.monotonic() - self._began
        self._began = time.monotonic()


def main() -> None:
    """Run, print and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="quick", choices=["quick", "paper"])
    parser.add_argument("--seeds", default="0", help="such as 0,1,2")
    parser.add_argument("--output", type=Path, help="run directory; default runs/benchmark-PRESET")
    options = parser.parse_args()
    NativeOutput().hold_back()
    seeds = [int(seed) for seed in options.seeds.split(",")]
    plan = make_plan(preset=options.preset, seeds=seeds)
    with _Clock() as clock:
        done = sweep(
            options.output or Path(f"runs/benchmark-{options.preset}"), plan, listener=clock
        )
        clock.close()
    print(summary_text(done.results))
    seconds = {kind: round(value, 1) for kind, value in clock.seconds.items()}
    save(f"sweep-{options.preset}", {"seconds": seconds, "results": done.results})


if __name__ == "__main__":
    main()
