"""A whole preset from end to end: what came out, and how long each phase took.

    python -m benchmarks.sweep [--preset NAME] [--seeds 0,1,2]
    python -m benchmarks.sweep --scaling [--steps N]    how the time grows

`--scaling` times sweeps of few steps: over 1, 2, 4 and 8 proportions, and of the paper's CNN for
images of 14, 28 and 56 pixels a side, made from MNIST: each has four times the weights of the last.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks._clock import Clock
from benchmarks._record import save
from benchmarks._scaling import measure_scaling
from benchmarks.tables import print_tables
from compressor import make_plan, sweep
from compressor.foundation import NativeOutput
from compressor.report import summary_text


def main() -> None:
    """Run, print and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="quick", choices=["quick", "paper"])
    parser.add_argument("--seeds", default="0", help="such as 0,1,2")
    parser.add_argument("--output", type=Path, help="run directory; default runs/benchmark-PRESET")
    parser.add_argument("--scaling", action="store_true", help="how the time grows, instead")
    parser.add_argument("--steps", type=int, default=20, help="of every training of --scaling")
    parser.add_argument("--images", type=int, default=2000, help="to test on, in --scaling")
    options = parser.parse_args()
    NativeOutput().hold_back()
    if options.scaling:
        save("sweep-scaling", measure_scaling(options.steps, options.images))
        print_tables("sweep-scaling")
        return
    seeds = [int(seed) for seed in options.seeds.split(",")]
    plan = make_plan(preset=options.preset, seeds=seeds)
    with Clock() as clock:
        done = sweep(
            options.output or Path(f"runs/benchmark-{options.preset}"), plan, listener=clock
        )
        clock.close()
    print(summary_text(done.results))
    seconds = {kind: round(value, 1) for kind, value in clock.seconds.items()}
    save(f"sweep-{options.preset}", {"seconds": seconds, "results": done.results})


if __name__ == "__main__":
    main()
