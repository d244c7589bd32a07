"""What each layer of Keras can do here, found by doing it; and the table of docs/export.md.

    PYTHONPATH=tests/support python -m layer_table [NAME ...]

measures all layers, or those whose name has NAME in it, and writes the results and the table.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import re
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from layer_catalogue import BEFORE, ENTRIES, LAYER, Entry

from compressor.errors import CompressorError
from compressor.exporters import onnx, tflite
from compressor.exporters.request import Request
from compressor.foundation import quiet_tensorflow, write_bytes
from compressor.pruning import PruningSpec
from compressor.pruning.kernels import weights_by_key
from compressor.pruning.masks import remove_masks
from compressor.pruning.pruner import Pruner
from compressor.shrinking import shrink
from deploy import quiet_onnxruntime

RESULTS = Path(__file__).with_name("layer_table.json")
PAGE = Path(__file__).parents[2] / "docs" / "export.md"
COLUMNS = ("prunes", "shrinks", "TFLite", "ONNX", "int8")
YES, NO, NONE = "yes", "no", ""
NAMED = "by name"

CLOSE, ROUNDED = 1e-4, 0.2
"""How far outputs may be off, of their scale: of float32 files, and of int8."""

_EXAMPLES = 8
_CALIBRATION = 32

Row = dict[str, str]


def main() -> None:
    """Measure the layers named, and write the results and the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    names = parser.parse_args().names
    found = stored() if names else {}
    for entry in ENTRIES:
        if not names or any(name in entry.name for name in names):
            found[entry.name] = measured(entry)
            print(entry.name, found[entry.name], file=sys.stderr, flush=True)
    found = {entry.name: found[entry.name] for entry in ENTRIES}
    write_bytes(RESULTS, (json.dumps(found, indent=1) + "\n").encode())
    write_bytes(PAGE, filled(PAGE.read_text(), found).encode())


def stored() -> dict[str, Row]:
    """The results as they are stored: name of a layer -> its row."""
    results: dict[str, Row] = json.loads(RESULTS.read_text())
    return results


def measured(entry: Entry) -> Row:
    """The row of a layer: each column, and why a format refuses it, as `TFLite: why`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Keras and converters think of a layer
        return _measured(entry)


def _measured(entry: Entry) -> Row:
    _, keras = quiet_tensorflow.load()
    row = {"prunes": _prunes(entry, keras), "shrinks": _shrinks(entry, keras)}
    model = entry.model(keras)
    integers = []
    for name, export, run in (
        ("TFLite", tflite.export, in_litert),
        ("ONNX", onnx.export, in_onnxruntime),
    ):
        runtime = {"TFLite": "litert", "ONNX": "onnxruntime"}[name]
        why = _exports(entry, model, export, run, Request(runtime), CLOSE)
        row[name] = NO if why else YES
        if why:
            row[f"{name}: why"] = why
            continue
        request = Request(runtime, quantize="int8", calibration=[entry.examples(_CALIBRATION)])
        if not _exports(entry, model, export, run, request, ROUNDED):
            integers.append(name)
    row["int8"] = YES if len(integers) == 2 else ", ".join(integers) or NO
    return row


def _prunes(entry: Entry, keras: Any) -> str:
    """Whether the layer's kernels get masks, and are zero where they say so."""
    model = entry.model(keras)
    for names, answer in ((("all",), YES), ((LAYER,), NAMED)):
        with contextlib.suppress(CompressorError):
            masks = Pruner(model, PruningSpec(0.5, layers=names)).prune().masks
            own = {n: mask for n, mask in masks.items() if re.split("[/:]", n)[0] == LAYER}
            weights = weights_by_key(model)
            remove_masks(model)
            if own:
                assert all(not weights[n].numpy()[~mask].any() for n, mask in own.items())
                return answer
    return NONE


def _shrinks(entry: Entry, keras: Any) -> str:
    """Whether a dead unit in front of the layer is removed through it, exactly."""
    if entry.inputs == 0:
        return NONE
    model = entry.model(keras)
    for name in (BEFORE, "beside", "behind")[: entry.inputs]:
        for variable in model.get_layer(name).weights:
            values = variable.numpy()
            values[..., 2] = 0
            variable.assign(values)
    with contextlib.suppress(CompressorError):
        examples = entry.examples(_EXAMPLES)
        return YES if BEFORE in shrink(model, examples).removed else NO
    return NO


def _exports(
    entry: Entry, model: Any, export: Any, run: Any, request: Request, tolerance: float
) -> str:
    """Why the export is refused or wrong; empty where it computes what the model does."""
    examples = entry.examples(_EXAMPLES)
    try:
        file = export(model, request)
        outputs = run(file.content, examples)
    except CompressorError as error:
        return f"{error.what} ({error.value})" if error.value else error.what
    except Exception as error:  # a runtime raises what it likes
        return f"it does not run ({type(error).__name__})"
    right = np.asarray(model(examples, training=False))
    off = np.abs(outputs - right).max() / max(np.abs(right).max(), 1e-6)
    return "" if off <= tolerance else "the file computes something else"


def in_litert(content: bytes, examples: np.ndarray) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=1)
    source = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(source, examples.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(source, examples)
    interpreter.invoke()
    return np.array(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))


def in_onnxruntime(content: bytes, examples: np.ndarray) -> np.ndarray:
    session = quiet_onnxruntime.load().InferenceSession(content, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: examples})[0])


def filled(page: str, results: dict[str, Row]) -> str:
    """The page with the table of the results between its marks."""
    begin, end = "<!-- table layers -->", "<!-- end -->"
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n{rendered(results)}\n{end}{after}"


def rendered(results: dict[str, Row]) -> str:
    """The table: layers that come one after another with the same answers share a row."""
    header = ["layer", *COLUMNS]
    lines = [_line(header), "|---" * len(header) + "|"]
    for section, entries in itertools.groupby(ENTRIES, lambda entry: entry.section):
        lines.append(_line([f"**{section}**", *[""] * len(COLUMNS)]))
        rows = [(entry.name, results[entry.name]) for entry in entries]
        for cells, same in itertools.groupby(rows, lambda row: [row[1][c] for c in COLUMNS]):
            lines.append(_line([", ".join(name for name, _ in same), *cells]))
    reasons: dict[str, list[str]] = {}
    for file_format in ("TFLite", "ONNX"):
        for name, row in results.items():
            if (why := row.get(f"{file_format}: why")) is not None:
                reasons.setdefault(f"- {file_format}: {_plain(why)}", []).append(name)
    listed = [f"{reason}: {', '.join(names)}" for reason, names in reasons.items()]
    return "\n".join([*lines, *(["", "Refused, and why:", "", *listed] if listed else [])])


def _plain(why: str) -> str:
    """A reason without the name of the model's layer, and as Markdown."""
    why = re.sub(r"\((\w+) \(.*\)\)$|\(.{80,}\)$", lambda found: f"({found[1] or '...'})", why)
    return re.sub(r"([\[\]<>|*_`])", r"\\\1", why.replace(f"({LAYER})", "").strip())


def _line(cells: Sequence[str]) -> str:
    return f"|{'|'.join(f' {cell} ' if cell else ' ' for cell in cells)}|"


if __name__ == "__main__":
    main()
