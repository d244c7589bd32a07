"""Quantise a .tflite file by the LiteRT quantiser: runs in an environment of its own.

    python run_ai_edge_quantizer.py RECIPE IN.tflite OUT.tflite [CALIBRATION.npy]

RECIPE is a name in `ai_edge_quantizer.recipe`; the calibration is a float32 array (examples,
*shape) for the one input of the file, which the recipes of static quantisation want.
"""

from __future__ import annotations

import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer import quantizer, recipe


def main() -> None:
    """Quantise the file that is named."""
    name, source, target, *calibration = sys.argv[1:]
    tool = quantizer.Quantizer(source, getattr(recipe, name)())
    ranges = None
    if calibration:
        signatures = Interpreter(source).get_signature_list()
        (key,) = signatures
        (given,) = signatures[key]["inputs"]
        examples = np.load(calibration[0], allow_pickle=False)
        ranges = tool.calibrate({key: [{given: row[None]} for row in examples]})
    tool.quantize(ranges).export_model(target)


if __name__ == "__main__":
    main()
