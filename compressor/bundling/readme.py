"""The README.md in a bundle, for whoever finds it on a device."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from string import Template

from compressor.exporters.c.text import identifier
from deploy.answers import gives, proven
from deploy.artifact import Artifact
from deploy.manifest import Latency, Manifest
from deploy.tasks import CLASSIFYING, MULTI_LABEL, RECONSTRUCTION, REGRESSION, SEGMENTATION

_TEXT = Template("""\
# $name

A bundle of `compressor`: the model `$file`, with all that is needed to run it and to check it.

- packed for: $device, executed by $runtime $version
- model: $format, $quantize, $bytes bytes, sha256 `$sha256`
- takes: $inputs
- gives: $gives
- $metrics: $accuracy
- latency: $latency
- made of: $provenance

$use
Before you trust it: check the signature with a runner that you got another way, and whose public
key you know. This file, like all that is in here, is only as good as that signature.
""")

_RUN = """\
    python -I NAME.bundle verify          # is it whole, and does it compute here what it should?
    python -I NAME.bundle run $example    # PNG, IDX or .npy: $answer
    python -I NAME.bundle bench           # how fast is it here?
    python -I NAME.bundle serve           # answers over HTTP on this machine

NAME.bundle is this bundle's file; it takes a Python with numpy and $runtime. Run so, it proves that
it is whole, not from whom it is: that needs a runner that was installed apart (`runner.pyz`).
"""
_APP = """\
There is no Python on the device, so no program is in here. An app takes `model/$file`, and
`manifest.json` for its inputs, outputs and labels; `check.npz` holds inputs and the outputs that
they must give, within the tolerance in it. A bundle is a zip file: any zip library reads it.
"""
_FIRMWARE = """\
    make                # build/firmware.elf and .bin: main.c, to which you add your sensor
    make check          # every integer of the check vectors, on an emulated board (QEMU)
    make selftest       # the same for the board itself; a debugger prints what it says

It takes gcc-arm-none-eabi; verify this folder before you build in it. `model/$file` is the flash
image of main.c as it is, to be written to the start of the program's flash. `arduino/` holds a
library for Arduino of the same code, with the self-test as its example. The start-up leaves the
clock as the chip resets.
"""
_WEB = """\
Put the folder on any web server and open its page; over `file://` browsers load no model. Nothing
is fetched from anywhere else. The page runs the check vectors itself before it answers.
"""

_MICRO = """\
The sources in `firmware/` go into a program with TFLite Micro; `$name_resolver.h` adds the
operators that the model needs, and no others:

    #include "tensorflow/lite/micro/micro_interpreter.h"
    #include "$name_check.h"
    #include "$name_model.h"
    #include "$name_resolver.h"

    alignas(16) static uint8_t arena[$name_arena_bytes];

    tflite::MicroMutableOpResolver<$name_operators> resolver;
    $name_add_operators(resolver);
    tflite::MicroInterpreter interpreter(
        tflite::GetModel($name_model), resolver, arena, sizeof arena);
    if (interpreter.AllocateTensors() != kTfLiteOk) { /* the arena is too small */ }
    if ($name_check(interpreter) != 0) { /* it does not compute here what it must */ }

The arena was measured on the machine that packed this. `check.npz` holds further inputs with their
outputs, `model/$file` is the model, and `manifest.json` says how inputs are scaled.
"""


def bundle_readme(manifest: Manifest, kind: str) -> bytes:
    """The README of a bundle; its use is by `kind`: `python`, `app`, `browser`, `firmware` or
    `tflite-micro`."""
    artifact = manifest.artifact
    uses = {"python": _RUN, "app": _APP, "browser": _WEB, "firmware": _FIRMWARE}
    use = (uses | {"tflite-micro": _MICRO})[kind]
    use = use.replace("$name_", f"{identifier(Path(artifact.file).stem)}_")
    text = _TEXT.substitute(
        name=manifest.name,
        file=artifact.file,
        device=manifest.device,
        runtime=manifest.runtime,
        version=manifest.runtime_version,
        format=artifact.format,
        quantize="float32" if artifact.quantize == "none" else artifact.quantize,
        bytes=f"{artifact.bytes:,}",
        sha256=artifact.sha256,
        inputs=", ".join(
            f"{rule.name} {list(rule.shape)} {rule.dtype} ({rule.reason})"
            for rule in artifact.preprocessing
        ),
        gives=_gives(artifact),
        metrics="accuracy" if artifact.heads is None else "metrics",
        accuracy=_accuracy(artifact),
        latency=_latency(manifest.latency),
        provenance=_provenance(artifact),
        use=Template(use).substitute(
            file=artifact.file, runtime=manifest.runtime, **_run(artifact)
        ),
    )
    return text.encode()


def _gives(artifact: Artifact) -> str:
    """What comes out: of several outputs each by its name."""
    if artifact.heads is None:
        return f"{artifact.classes} classes, {artifact.outputs_are}"
    return ", ".join(
        f"{head.name + ': ' if head.name else ''}{gives(head)} ({head.task})"
        for head in artifact.heads
    )


def _accuracy(artifact: Artifact) -> str:
    shown = [(proven(artifact.tasks, verified), verified) for verified in artifact.verified]
    found = [
        f"{text.removeprefix('accuracy ') if artifact.heads is None else text} of "
        f"{verified.examples:,} examples in {verified.runtime} {verified.version}"
        for text, verified in shown
        if text
    ]
    return "; ".join(found) or "not measured"


def _run(artifact: Artifact) -> dict[str, str]:
    """The example of `run`."""
    tasks = {head.task for head in artifact.tasks}
    if artifact.heads is None or tasks <= set(CLASSIFYING):
        return {"example": "IMAGE...", "answer": "the class of each image"}
    answers = {
        MULTI_LABEL: "the labels of each example",
        REGRESSION: "the numbers for each example",
        RECONSTRUCTION: "the reconstruction error of each example",
        SEGMENTATION: "a mask of each image, as PNG",
    }
    answer = answers[tasks.pop()] if len(tasks) == 1 else "what each output says"
    return {"example": "FILE... ", "answer": answer}


def _latency(latencies: Sequence[Latency]) -> str:
    found = [
        f"{latency.p50_ms:.3g} ms (p50), {latency.p99_ms:.3g} ms (p99) for a batch of "
        f"{latency.batch} in {latency.runtime} {latency.version}, {latency.threads} threads, "
        f"on {latency.cpu}"
        for latency in latencies
    ]
    return "; ".join(found) or "not measured"


def _provenance(artifact: Artifact) -> str:
    made = artifact.provenance
    parts = [
        None if made.sparsity is None else f"a model of sparsity {made.sparsity:.4g}",
        None if made.seed is None else f"seed {made.seed}",
        None if made.data_sha256 is None else f"data set {made.data_sha256[:16]}",
        f"by {made.created_by}",
    ]
    return ", ".join(part for part in parts if part is not None)
