"""The files that the stock tools make of one Keras model, each by its default way.

`stock_files` lists them; making one needs the files before it, so they are made in order.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gzip
import io
import lzma
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.environments import AI_EDGE_QUANTIZER, ONNXRUNTIME_QUANTIZER, run_in
from compressor.errors import CheckFailedError
from compressor.exporters.onnx.quiet import quiet
from compressor.exporters.request import Quantize
from compressor.foundation import quiet_tensorflow

CONVERTER = "TensorFlow's TFLite converter"
LITERT = "the LiteRT quantiser"
KERAS = "Keras's ONNX export"
ONNXRUNTIME = "ONNX Runtime's quantiser"

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip -9": lambda content: gzip.compress(content, 9, mtime=0),
    "xz -9": lambda content: lzma.compress(content, preset=9),
}


@dataclasses.dataclass(frozen=True)
class StockFile:
    """A file that a tool of others makes of a model."""

    tool: str
    form: str
    name: str
    """of the file; its suffix is the format"""
    quantize: Quantize
    """the word that this project has for such weights"""
    make: Callable[[Path], None]
    """write it to a path; raises CheckFailedError where the tool fails, MissingRuntimeError where
    it is not there"""

    @property
    def format(self) -> str:
        """The format: tflite or onnx."""
        return self.name.rpartition(".")[2]


def stock_files(model: Any, calibration: np.ndarray, folder: Path) -> list[StockFile]:
    """Those of `model`, a Keras model of one input, that are to lie in `folder`.

    `calibration` is float32 (examples, *shape), as the model takes them.
    """
    tensorflow, _ = quiet_tensorflow.load()
    optimize = tensorflow.lite.Optimize
    dense, plain = folder / "stock-dense.tflite", folder / "stock-plain.onnx"

    def converted(*optimizations: Any) -> Callable[[Path], None]:
        return functools.partial(_convert, model, optimizations)

    def litert(recipe: str, static: bool = False) -> Callable[[Path], None]:
        return functools.partial(
            _run, AI_EDGE_QUANTIZER, "run_ai_edge_quantizer.py", recipe, dense, calibration, static
        )

    def onnxruntime(how: str) -> Callable[[Path], None]:
        return functools.partial(
            _run,
            ONNXRUNTIME_QUANTIZER,
            "run_onnxruntime_quantizer.py",
            how,
            plain,
            calibration,
            how == "static",
        )

    default, sparse = optimize.DEFAULT, optimize.EXPERIMENTAL_SPARSITY
    files: list[tuple[str, str, str, Quantize, Callable[[Path], None]]] = [
        (CONVERTER, "dense", dense.name, "none", converted()),
        (CONVERTER, "dynamic range", "stock-dynamic.tflite", "dynamic", converted(default)),
        (CONVERTER, "EXPERIMENTAL_SPARSITY", "stock-sparse.tflite", "none", converted(sparse)),
        (CONVERTER, "both", "stock-sparse-dynamic.tflite", "dynamic", converted(default, sparse)),
        (LITERT, "int8", "litert-int8.tflite", "int8", litert("static_wi8_ai8", static=True)),
        (LITERT, "int8 weights", "litert-dynamic.tflite", "dynamic", litert("dynamic_wi8_afp32")),
        (LITERT, "int4", "litert-int4.tflite", "int4", litert("dynamic_wi4_afp32")),
        (
            LITERT,
            "int4, weights only",
            "litert-int4-weights.tflite",
            "int4",
            litert("weight_only_wi4_afp32"),
        ),
        (KERAS, "dense", plain.name, "none", functools.partial(_export, model)),
        (ONNXRUNTIME, "static int8 (QDQ)", "ort-int8.onnx", "int8", onnxruntime("static")),
        (ONNXRUNTIME, "dynamic int8", "ort-dynamic.onnx", "dynamic", onnxruntime("dynamic")),
        (ONNXRUNTIME, "4 bits (MatMulNBits)", "ort-4bit.onnx", "int4", onnxruntime("4bit")),
    ]
    return [StockFile(*file) for file in files]


def _convert(model: Any, optimizations: Sequence[Any], target: Path) -> None:
    tensorflow, _ = quiet_tensorflow.load()
    converter = tensorflow.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = list(optimizations)
    with _reported(CONVERTER), quiet(), contextlib.redirect_stdout(io.StringIO()):
        target.write_bytes(converter.convert())


def _export(model: Any, target: Path) -> None:
    with _reported(KERAS), quiet():
        model.export(target, format="onnx", verbose=False)


def _run(
    environment: Any,
    program: str,
    how: str,
    source: Path,
    calibration: np.ndarray,
    static: bool,
    target: Path,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        examples = Path(folder) / "calibration.npy"
        np.save(examples, calibration)
        given = [str(examples)] if static else []
        run_in(environment, program, how, str(source), str(target), *given)


@contextlib.contextmanager
def _reported(tool: str) -> Any:
    try:
        yield
    except Exception as error:  # the tools raise errors of many kinds
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise CheckFailedError(f"{tool} failed", value=reason) from error
