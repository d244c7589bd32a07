"""The description of an artefact, from the results of its export."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import re
from pathlib import Path
from typing import Any

from compressor._version import __version__
from compressor.errors import CompressorError
from compressor.exporters.checking import Checked, Job
from compressor.exporters.reference import Reference
from compressor.exporters.request import ExportedFile
from compressor.exporters.verdict import Comparison
from compressor.foundation import read_json
from compressor.runs import model_digest
from deploy import Artifact
from deploy.artifact import DESCRIPTION_SUFFIX, NUMBERS
from deploy.artifact_parts import DataFile, GeneratedCode, InputRule, Port, Provenance, Verification
from deploy.errors import ArtifactError
from deploy.files import read_regular
from deploy.tasks import CLASSIFYING, PARTS, is_plain, part_key

_WEIGHTS = re.compile(r"weights-[0-9a-f]{16}\.bin")
_MOST_READ = 16 * 2**20
_SEED_FOLDER = re.compile(r"seed-(\d+)")


def describe_artifact(job: Job, checked: Checked, name: str, vectors: bytes) -> Artifact:
    """The description of the artefact `name` whose file of check vectors is `vectors`."""
    verdict, facts, request = checked.verdict, checked.facts, checked.request
    feed, objective = job.reference.feed, job.reference.objective
    dtypes = {port["name"]: port["dtype"] for port in facts["inputs"]}
    scaled = {port["name"] for port in facts["inputs"] if port["scale"] is not None}
    heads = tuple(
        dataclasses.replace(aim.head, outputs_are=aim.outputs if aim.head.classes else "")
        for aim in objective.aims
    )
    first = next((head for head in heads if head.classes), None)
    shown, chosen = verdict.reported, verdict.chosen_on
    plain = is_plain(heads)
    made = {}
    if on := job.calibrated_on(request):
        made = dict.fromkeys(job.real_inputs, f"; calibrated on {on}")
    return Artifact(
        format=checked.format,
        file=name,
        bytes=checked.size,
        sha256=hashlib.sha256(checked.file.content).hexdigest(),
        vectors_sha256=hashlib.sha256(vectors).hexdigest(),
        quantize=request.quantize,
        # Runners that were installed earlier know no other aim; this one is nearly as fast.
        optimize="latency" if request.optimize == "balanced" else request.optimize,
        runtime=request.runtime,
        inputs=_ports(facts["inputs"]),
        outputs=_outputs(facts["outputs"], job.reference),
        preprocessing=tuple(
            InputRule(
                given,
                source,
                shape,
                # The runner makes integers of real numbers, by the scale of such an input.
                rule.dtype if given in scaled else dtypes[given],
                rule.scale,
                rule.reason + made.get(rule.name, ""),
            )
            for given, rule, source, shape in zip(
                checked.file.inputs, feed.rules, feed.sources, feed.row_shapes, strict=True
            )
        ),
        outputs_are=first.outputs_are if first else NUMBERS,
        classes=first.classes if first else 0,
        threshold=first.threshold if first else None,
        labels=job.labels,
        tensors=checked.file.tensors,
        needs=checked.file.needs,
        verified=(
            Verification(
                runtime=facts["runtime"],
                version=facts["version"],
                provider=facts["provider"],
                batch=job.batch,
                examples=shown.examples,
                accuracy=shown.accuracy if plain else None,
                reference_accuracy=shown.reference_accuracy if plain else None,
                difference=shown.difference,
                validation_accuracy=chosen.accuracy if plain else None,
                validation_reference_accuracy=chosen.reference_accuracy if plain else None,
                values={} if plain else _values(shown, chosen),
            ),
        ),
        provenance=Provenance(
            sparsity=job.sparsity,
            seed=_seed(job.source),
            data_sha256=None if job.data is None else job.data.digest,
            source_sha256=None if job.source is None else model_digest(job.source),
            versions={
                name: importlib.metadata.version(name) for name in job.packages(checked.format)
            },
            created_by=f"compressor {__version__}",
        ),
        code=_code(checked.file) if checked.format == "c" else None,
        data=_data(checked.file),
        heads=None if plain else heads,
    )


def _values(shown: Comparison, chosen: Comparison) -> dict[str, float]:
    """Every metric under the key of its document, of the test examples and of those chosen on."""
    parts = (shown.values, shown.reference_values, chosen.values, chosen.reference_values)
    return {
        part_key(key, prefix): value
        for prefix, values in zip(PARTS, parts, strict=True)
        for key, value in values.items()
    }


def replaced_weights(target: Path) -> Path | None:
    """The file with the weights of an artefact that is replaced; None where another names it."""
    own = target.with_name(target.name + DESCRIPTION_SUFFIX)
    with contextlib.suppress(CompressorError, ArtifactError):
        data = Artifact.parse(read_json(own)).data
        if data is None or not _WEIGHTS.fullmatch(data.file):
            return None
        # Descriptions, and reports of what was rejected.
        others = set(target.parent.glob(f"*{DESCRIPTION_SUFFIX}")) - {own}
        if not any(data.file.encode() in read_regular(one, _MOST_READ) for one in others):
            return target.with_name(data.file)
    return None


def _code(file: ExportedFile) -> GeneratedCode:
    sources = {name: text for name, text in file.beside.items() if name.endswith((".c", ".h"))}
    digests = {name: hashlib.sha256(text).hexdigest() for name, text in sources.items()}
    return GeneratedCode(file.details["target"], digests)


def _data(file: ExportedFile) -> DataFile | None:
    made = (
        DataFile(name, len(content), hashlib.sha256(content).hexdigest())
        for name, content in file.data.items()
    )
    return next(made, None)


def _ports(ports: list[dict[str, Any]]) -> tuple[Port, ...]:
    return tuple(Port(**port | {"shape": tuple(port["shape"])}) for port in ports)


def _outputs(ports: list[dict[str, Any]], reference: Reference) -> tuple[Port, ...]:
    """The ports; of one output alone what a row held counts, whatever the file says of it."""
    found, heads = _ports(ports), reference.heads
    shape = heads[0].shape if heads[0].task not in CLASSIFYING else reference.scores.shape[1:]
    if len(found) == 1 and not _holds(found[0].shape, (None, *shape)):
        return (dataclasses.replace(found[0], shape=(None, *shape)),)
    return found


def _holds(shape: tuple[int | None, ...], wanted: tuple[int | None, ...]) -> bool:
    pairs = zip(shape[1:], wanted[1:], strict=False)
    return len(shape) == len(wanted) and all(size in (None, own) for size, own in pairs)


def _seed(source: Path | None) -> int | None:
    """The seed of a model in the run directory of a sweep, from the names of its folders."""
    if source is None:
        return None
    found = (_SEED_FOLDER.fullmatch(part) for part in reversed(source.parts))
    return next((int(match[1]) for match in found if match), None)
