"""Where an artefact goes, and in which runtime: checked before any work is done."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from compressor.errors import RunDirectoryError, UsageError
from compressor.exporters.checking import FORMATS
from compressor.exporters.graphs.file import is_graph_file
from compressor.exporters.inspection import artifact_format
from compressor.exporters.request import MICRO, ROUNDED, ROUNDINGS, Optimize
from compressor.runs import REJECTED, artefact_path, artefact_stem, model_to_shrink
from compressor.runtimes import find, python_of
from deploy.artifact import DESCRIPTION_SUFFIX, is_file_name

C = "c"
"""The format whose artefacts are folders of code, with a library that was compiled of it."""
_TIMED = ("litert", "tflite-runtime", "onnxruntime")
"""Runtimes of which the latency is measured in themselves, on this machine."""
_LONGEST_NAME = 255
"""bytes of a file name"""


def target_of(model: Any, output: Path | str | None, file_format: str | None) -> tuple[str, Path]:
    if is_graph_file(model):
        return _graph_target(Path(model), output, file_format)
    if isinstance(model, (str, Path)):
        model_to_shrink(Path(model))  # a model that is not there is said first
    suffix = Path(output).suffix.removeprefix(".") if output is not None else ""
    chosen = file_format or suffix
    if file_format == C:
        return C, _c_target(model, output)
    if chosen not in FORMATS:
        raise UsageError(
            "the format is not known" if chosen else "no format is given",
            **({"value": chosen} if chosen else {}),
            hint=f"choose {' or '.join(FORMATS)}, or --format {C} with a folder",
        )
    if output is None:
        return chosen, artefact_path(model, chosen)
    if suffix != chosen:
        raise UsageError(f"a {chosen} artefact is a .{chosen} file", value=output)
    return chosen, Path(output)


def _graph_target(
    source: Path, output: Path | str | None, file_format: str | None
) -> tuple[str, Path]:
    """Where the variant of a .tflite or .onnx file goes: by default NAME-small beside it."""
    own = artifact_format(source)
    assert own is not None
    if file_format == C:
        if own != "tflite":
            raise UsageError(
                "C code is made of Keras models and .tflite files",
                value=source.name,
                hint="export the model that it was made of",
            )
        return C, _c_target(source, output)
    target = source.with_name(f"{source.stem}-small.{own}") if output is None else Path(output)
    asked = file_format or target.suffix.removeprefix(".")
    if asked != own:
        raise UsageError(
            f"a .{own} file stays one",
            value=f"{target.name} is to be .{asked}" if asked else target,
            hint=f"write a .{own} file, or export the model that it was made of",
        )
    if target.suffix != f".{own}":
        raise UsageError(f"a {own} artefact is a .{own} file", value=target)
    if target.exists() and target.samefile(source):
        raise UsageError(
            "the model would be overwritten", value=target, hint="name another with -o"
        )
    return own, target


def _c_target(model: Any, output: Path | str | None) -> Path:
    """The library in the folder `output`, by default MODEL-c."""
    from compressor.exporters.c.text import identifier

    stem = artefact_stem(model)
    folder = artefact_path(model, C).with_name(f"{stem}-{C}") if output is None else Path(output)
    if folder.exists() and not folder.is_dir():
        raise UsageError("C code goes into a folder", value=folder)
    return folder / f"{identifier(stem)}.so"


def check_empty(folder: Path, force: bool) -> None:
    """Raise RunDirectoryError where files of C code could replace others, such as a Makefile."""
    if folder.is_dir() and any(folder.iterdir()) and not force:
        hint = "name another with -o, or --force, which replaces files of the same names"
        raise RunDirectoryError("the folder is not empty", value=folder, hint=hint)


def check_for_c(
    quantize: str, encoding: str | None, max_slowdown: Any, host: Any, rounding: str | None
) -> None:
    """Raise UsageError for what C code does not have."""
    if quantize not in ("none", "int8", "auto"):
        raise UsageError("C code computes in int8", value=quantize, hint="leave --quantize out")
    given_by_name = {"encoding": encoding, "slowdown": max_slowdown, "host": host}
    for what, given in (given_by_name | {"rounding": rounding}).items():
        if given not in (None, "auto"):
            shown = getattr(given, "name", given)
            raise UsageError(f"C code takes no {what}", value=shown, hint="leave it out")


def aim_of(file_format: str, runtime: str, optimize: Optimize | None) -> Optimize:
    """The aim that was asked for, else what suits: balanced where the latency is known here.

    Raises UsageError for balanced where it is not.
    """
    if optimize is None:
        return "balanced" if runtime in _TIMED else "size"
    check_choice("aim", optimize, ("size", "latency", "balanced", "ram"))
    if optimize == "balanced" and (file_format == C or runtime == MICRO):
        raise UsageError("no latency is measured there", value=optimize, hint="choose size")
    return optimize


def check_for_small(runtime: str, quantize: str, values: int, optimize: str) -> None:
    """Raise UsageError for what only small devices have, where another runtime is asked for.

    Fewer bits for TFLite Micro in int8, and for C code that decodes weights; TFLite Micro's memory.
    """
    micro = runtime == MICRO
    check_choice("number of bits", str(values), ("8", "5", "4"))
    if values != 8 and not (_decodes(runtime) or (micro and quantize in ("int8", "auto"))):
        hint = f"give --for {MICRO} --quantize int8, or leave --values out"
        what = "only int8 in TFLite Micro, and C code for small devices, has values of fewer bits"
        raise UsageError(what, value=values, hint=hint)
    if optimize == "ram" and not micro:
        hint = f"choose size or latency, or --for {MICRO}"
        raise UsageError("only TFLite Micro's memory is known", value=optimize, hint=hint)


def _decodes(runtime: str) -> bool:
    """Whether it is a processor whose C code decodes weights; on a host they lie plain."""
    from compressor.exporters.c import DECODING

    return runtime in DECODING


def runtime_of(file_format: str, runtime: str | None) -> str:
    if file_format == C:
        from compressor.exporters.c import TARGETS

        python_of(C)  # raises where there is no compiler
        check_choice("processor", runtime or TARGETS[0], TARGETS)
        return runtime or TARGETS[0]
    runtime = FORMATS[file_format] if runtime is None else runtime
    takes = find(runtime).format
    if file_format != takes:
        raise UsageError(
            f"{runtime} does not run {file_format}", value=runtime, hint=f"it runs {takes}"
        )
    python_of(runtime)  # raises where it is not available, before any work is done
    return runtime


def check_choice(what: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise UsageError(f"unknown {what}", value=value, hint=f"choose from {', '.join(known)}")


def check_rounding(rounding: str | None, quantize: str) -> None:
    if rounding is not None:
        check_choice("rounding", rounding, ROUNDINGS)
    if rounding == "reconstruct" and quantize not in (*ROUNDED, "auto"):
        raise UsageError(
            "this quantisation rounds no weights by reconstruction",
            value=quantize,
            hint=f"choose from {', '.join(ROUNDED)}, or leave --rounding out",
        )


def check_drop(max_drop: float | None) -> None:
    """Raise UsageError for what no metric can lose."""
    if max_drop is not None and not 0 <= max_drop <= 1:
        raise UsageError(
            "a drop is a part of what a metric was",
            value=max_drop,
            hint="--max-drop 1 is one point, or an error one percent larger (in Python 0.01)",
        )


def check_free(target: Path, force: bool) -> None:
    """Raise UsageError for a name that no artefact can have, RunDirectoryError for a file that is
    there."""
    name = target.name
    added = f"{name}{REJECTED}{DESCRIPTION_SUFFIX}"
    if not is_file_name(name) or len(added.encode()) > _LONGEST_NAME:
        hint = 'leave out \\ : * ? " < > | and spaces at its ends, or shorten it'
        raise UsageError("an artefact cannot have this file name", value=name, hint=hint)
    if target.exists() and not force:
        raise RunDirectoryError(
            "the file is there already", value=target, hint="name another with -o, or --force"
        )
