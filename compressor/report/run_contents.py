"""What a run directory holds that can be reported; everything is hostile until checked.

A sweep has results.json, and its models unless they were removed; a run of train or prune has its
steps. Either may have artefacts and bench.json. A folder of .tflite and .onnx files has only these.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from compressor.errors import CheckpointError, CompressorError, UsageError
from compressor.foundation import Listener, SilentListener
from compressor.models import source_digest
from compressor.report import formatting as form
from compressor.report.chosen import chosen_trials
from compressor.report.networks import Network, read_network
from compressor.runs import (
    BENCH,
    MODEL,
    RECORD,
    STEPS,
    VERSIONS,
    Bench,
    Results,
    is_finished,
    is_graph,
    model_digest,
    outdated_steps,
    read_bench,
    read_record,
    read_results,
    sparsity_name,
)
from compressor.searching import SEARCH, TRIAL, read_search
from deploy import Artifact, ArtifactError, read_artifact
from deploy.artifact import DESCRIPTION_SUFFIX
from deploy.tasks import Head, part_key
from deploy.text import clean

RESULTS = "results.json"
_MOST_ARTEFACTS = 64
_MOST_GRAPHS = 6


class FoundArtefact(NamedTuple):
    """An artefact that lies in the run directory, with its description."""

    file: str
    """relative to the run directory"""
    artifact: Artifact
    current: bool = True
    """whether it was made of a model that the run directory, as far as is known, holds now"""

    def value(self, head: Head, part: str = "") -> float | None:
        """The metric that decides of a head, the worst in any of the runtimes.

        `part` is what its name begins with, such as "validation_".
        """
        key = part_key(head.key(), part)
        found = [value for run in self.artifact.verified if (value := run.value(key)) is not None]
        worst = min if head.decides.higher_is_better else max
        return worst(found, default=None)

    def values(self, part: str = "") -> dict[str, float | None]:
        """The same of all heads, by the keys of a document."""
        return {part_key(head.key(), part): self.value(head, part) for head in self.artifact.tasks}


@dataclass
class RunContents:
    """What there is to report."""

    name: str
    results: Results | None = None
    bench: Bench | None = None
    search: Mapping[str, Any] | None = None
    """what search.json holds, here or in the folder `search` of a sweep"""
    records: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """of the steps of train and prune, by step"""
    versions: Mapping[str, str] = field(default_factory=dict)
    """what each of these steps was made with, in words"""
    before: Network | None = None
    after: Sequence[Network] = ()
    """the pruned networks, from the least to the most pruned"""
    artefacts: Sequence[FoundArtefact] = ()
    notes: list[str] = field(default_factory=list)
    """what could not be read, and why"""


def read_run(
    path: Path, results: Results | None = None, listener: Listener | None = None
) -> RunContents:
    """Read the run directory `path`; `results` replaces reading its results.json.

    Raises UsageError when it is no run directory, CheckpointError for a results.json or bench.json
    that is damaged. A model or an artefact that cannot be read is left out, with a note.
    """
    if results is None and (path / RESULTS).exists():
        results = read_results(path / RESULTS)
    contents = RunContents(path.resolve().name, results)
    if (path / BENCH).exists():
        contents.bench = read_bench(path / BENCH)
    beside = path / "search" / SEARCH
    if (path / SEARCH).exists() or (results is not None and beside.exists()):
        contents.search = read_search(beside if results is not None else path / SEARCH)
    elif results is None:
        contents.records = {**_records(path)}
        _without_outdated(contents, path)
        contents.versions = {step: _versions(path / step) for step in contents.records}
    known = results, contents.search, contents.records or None
    graphs = [] if any(found is not None for found in known) else _graph_files(path)
    if all(found is None for found in (*known, contents.bench)) and not graphs:
        if any(path.glob(f"seed-*/*/{RECORD}")):
            hint = "run the same compressor sweep again to finish it"
            raise UsageError("the sweep is not finished", value=path, hint=hint)
        hint = "give the run directory of sweep, search, train or prune, or a folder of models"
        raise UsageError("there is nothing to report here", value=path, hint=hint)
    _read_networks(contents, path, graphs, listener or SilentListener())
    contents.artefacts = list(_artefacts(contents, path, graphs))
    return contents


def _graph_files(path: Path) -> list[Path]:
    """The .tflite and .onnx files of a folder that nothing describes: as found, or pruned."""
    files = sorted(place for place in path.glob("*") if is_graph(place))
    return [file for file in files if not Path(f"{file}{DESCRIPTION_SUFFIX}").exists()]


def _records(path: Path) -> dict[str, dict[str, Any]]:
    found = {}
    for name in STEPS:
        if (path / name / RECORD).is_file():
            result = read_record(path / name)["result"]
            if not isinstance(result, Mapping):
                raise CheckpointError("the record of a step is damaged", value=path / name)
            found[name] = dict(result)
    return found


def _without_outdated(contents: RunContents, path: Path) -> None:
    for step in outdated_steps(path):
        contents.records.pop(step, None)
        contents.notes.append(
            f"{step} is left out: it was made of another model or pruning than is now in the "
            "steps before it."
        )


def _versions(step: Path) -> str:
    config = read_record(step)["config"]
    found = config.get(VERSIONS) if isinstance(config, Mapping) else None
    if not isinstance(found, Mapping) or not found:
        return "versions that its record does not say"
    return clean(", ".join(f"{name} {version}" for name, version in found.items()), 240)


def _read_networks(
    contents: RunContents, path: Path, graphs: Sequence[Path], listener: Listener
) -> None:
    if graphs:
        _read_graphs(contents, graphs[:_MOST_GRAPHS])
        return
    first = _model_before(contents, path)
    files = [*([(first, "dense")] if first else []), *_models_after(contents, path)]
    files = [(file, title) for file, title in files if file.is_file()]
    if files:
        listener.stage("read the models")
    networks: list[Network] = []
    for file, title in files:
        try:
            networks.append(read_network(file, title))
        except CompressorError as error:
            _leave_out(contents, "A model", error, path)
            continue
        if file == first:
            contents.before = networks.pop()
    contents.after = networks


def _read_graphs(contents: RunContents, files: Sequence[Path]) -> None:
    """The file with the most weights that are not zero is the dense one of those like it."""
    networks: list[Network] = []
    for file in files:
        try:
            networks.append(read_network(file, file.name))
        except CompressorError as error:
            _leave_out(contents, "A model", error, file.parent)
    networks.sort(key=lambda network: -network.nonzeros)
    if networks:
        contents.before, *others = networks
        names = {kernel.name for kernel in contents.before.kernels}
        contents.after = [one for one in others if {k.name for k in one.kernels} == names]


def _leave_out(contents: RunContents, what: str, error: Exception, path: Path) -> None:
    """Note it, without the place of the run directory `path`: the report may go elsewhere."""
    reason = CompressorError(str(error).replace(f"{path}/", ""))
    contents.notes.append(f"{what} is left out: {reason}.")


def _model_before(contents: RunContents, path: Path) -> Path | None:
    """The model before pruning: step_1, or the file that `prune` was given, where it still is."""
    if contents.results is not None:
        return _first_seed(contents.results, path) / "step_1" / MODEL
    if contents.search is not None:
        return None
    if (path / "step_1" / MODEL).is_file():
        return path / "step_1" / MODEL
    beside = path.resolve().with_name(path.resolve().name.removesuffix("-pruned") + ".keras")
    pruned = next((path / s for s in ("step_2_2", "step_2_1") if s in contents.records), None)
    if pruned is None or not beside.is_file():
        return None
    config = read_record(pruned)["config"]
    same = isinstance(config, Mapping) and config.get("model") == model_digest(beside)
    return beside if same else None


def _models_after(contents: RunContents, path: Path) -> list[tuple[Path, str]]:
    if contents.search is not None and contents.results is None:
        return [(path / trial / MODEL, title) for trial, title in chosen_trials(contents.search)]
    if contents.results is None:
        last = "step_2_2" if "step_2_2" in contents.records else "step_2_1"
        sparsity = contents.records.get("step_2_1", contents.records.get(last, {})).get("sparsity")
        title = f"{form.proportion(sparsity)} pruned" if form.is_fraction(sparsity) else "pruned"
        files = [(path / last / MODEL, title)]
        if (shrunk := path / "shrunk.keras").is_file() and _is_current(
            shrunk, _step_models(contents, path)
        ):
            files.append((shrunk, "shrunk"))
        return files
    root = _first_seed(contents.results, path)
    every = sorted({row["sparsity"] for row in contents.results["proportions"]})
    return [
        (root / sparsity_name(s) / "step_2_2" / MODEL, f"{form.proportion(s)} pruned")
        for s in sorted({every[len(every) // 2], every[-1]})  # the middle one and the highest
    ]


def _first_seed(results: Results, path: Path) -> Path:
    return path / f"seed-{int(results['dense'][0]['seed'])}"


def _artefacts(
    contents: RunContents, path: Path, graphs: Sequence[Path]
) -> Iterator[FoundArtefact]:
    """The artefacts beside the steps of a run; those of a sweep are in its results."""
    patterns = ("*.tflite", "*.onnx", "*/*.tflite", "*/*.onnx")
    places = sorted(set(itertools.chain.from_iterable(map(path.glob, patterns))))
    known = _models_here(contents, path) if places else set()
    for place in places[:_MOST_ARTEFACTS]:
        folder = place.parent.name
        trial = contents.search is not None and folder.startswith(TRIAL)
        if folder.startswith(".") or trial or place in graphs:
            continue
        try:
            artifact = read_artifact(place)
        except ArtifactError as error:
            _leave_out(contents, "An artefact", error, path)
            continue
        name, source = str(place.relative_to(path)), artifact.provenance.source_sha256
        current = source is None or not known or source in known
        if not current:
            contents.notes.append(
                f"{clean(name)} was made of another model than is here now: the first numbers "
                "leave it out."
            )
        yield FoundArtefact(name, artifact, current)


def _models_here(contents: RunContents, path: Path) -> set[str]:
    """The sha256 of the models that a run of train or prune holds, and began with."""
    found = _step_models(contents, path)
    others = itertools.chain(path.glob("*.keras"), path.glob("*/*.keras"))
    more = [
        one for one in itertools.islice(others, _MOST_ARTEFACTS) if one.parent.name not in STEPS
    ]
    return found and found | {model_digest(place) for place in more if _is_current(place, found)}


def _step_models(contents: RunContents, path: Path) -> set[str]:
    """The same without other files."""
    found = set()
    rounds = filter(is_finished, path.glob("round-*/step_2_*"))
    for step in [*(path / name for name in contents.records), *rounds]:
        with contextlib.suppress(CheckpointError):
            record = read_record(step)
            found |= {record["sha256"].get(MODEL), record["config"].get("model")}
    return found - {None}


def _is_current(model: Path, here: set[str]) -> bool:
    """Whether a .keras file, as far as it says so, was made of a model with one of these sha256."""
    try:
        source = source_digest(model)
    except CompressorError:
        return True  # reading the model says what is wrong with it
    return source is None or source in here
