"""The whole report as one Markdown page: report.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compressor.report import _format as form
from compressor.report.answer import hypothesis_text
from compressor.report.artefacts import artefact_table, has_artefacts
from compressor.report.document import Results, by_sparsity
from compressor.report.figures import CAPTIONS
from compressor.report.tables import (
    encoding_table,
    proportion_tables,
    seeds_note,
    summary_table,
    workload,
)


def results_markdown(results: Results) -> str:
    """The complete report: summary, artefacts, answer, figures, encodings, tables, conditions.

    Figures are embedded as `figures/NAME.png`, relative to the page, each with a link to
    its SVG; `write_figures(results, folder_of_the_page / "figures")` puts them there.
    """
    note = seeds_note(results)
    time_note = (
        f"Prediction time is the median of {workload(results)}; "
        "weights kept are those of the pruned layers."
    )
    sections = [
        f"# Pruning proportion against size, accuracy and prediction time\n\n{_what(results)}\n",
        f"## Summary\n\n{summary_table(results)}\n{f'{time_note} {note}'.strip()}\n",
        *([f"## Artefacts\n\n{artefact_table(results)}"] if has_artefacts(results) else []),
        f"## The hypothesis\n\n{hypothesis_text(results)}",
        f"## Figures\n\n{_figures()}",
        f"## Encodings\n\n{encoding_table(results)}",
        f"## One table a proportion\n\n{proportion_tables(results)}",
        f"## Conditions\n\n{conditions_table(results)}",
    ]
    return "\n".join(sections)


def conditions_table(results: Results) -> str:
    """What the numbers were measured on: machine, versions, threads, batch, data, training."""
    experiment, environment = results["experiment"], results["environment"]
    machine, data = environment["machine"], experiment["data"]
    time = results["dense"][0]["prediction_time"]
    versions = {"Python": environment["python"], **environment["versions"]}
    rows = {
        "machine": f"{machine['cpu']}, {machine['cores']} cores, "
        f"{machine['memory_bytes'] / 2**30:.1f} GiB, {machine['system']}",
        "versions": ", ".join(
            f"{name} {version}"
            for name, version in {"compressor": results["compressor_version"], **versions}.items()
        ),
        "threads": f"{experiment['threads']} in training, {time['threads']} in measuring",
        "measurement": f"{workload(results)}, {time['rounds']} rounds",
        "data": f"{data['name']}, {form.count(data['train'])} training images, "
        f"{form.count(experiment['validation_images'])} of them held out for validation, "
        f"{form.count(data['test'])} test images, sha256 {data['digest']}",
        "training": _training(experiment["training"]),
        **_retraining(experiment["retraining"]),
        "seeds": ", ".join(str(seed) for seed in experiment["seeds"]),
        "preset": experiment["preset"],
    }
    return form.markdown_table(["condition", "value"], [list(row) for row in rows.items()], left=2)


def _retraining(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """One condition for all the proportions that were retrained alike."""
    alike: dict[str, list[str]] = {}
    for sparsity, found in settings.items():
        alike.setdefault(_training(found), []).append(form.proportion(float(sparsity)))
    return {f"retraining at {', '.join(names)}": text for text, names in alike.items()}


def _training(settings: Mapping[str, Any]) -> str:
    text = (
        f"{form.count(settings['steps'])} steps of {settings['batch_size']} images, "
        f"learning rate {settings['learning_rate']:g} ({settings['learning_rate_schedule']})"
    )
    if "dropout" in settings:
        text += f", dropout {settings['dropout']:g}"
    if settings.get("dropout_scale", 1) != 1:
        text += f", dropout scaled by {settings['dropout_scale']:.3g}"
    return text


def _what(results: Results) -> str:
    experiment = results["experiment"]
    proportions = ", ".join(form.proportion(sparsity) for sparsity in by_sparsity(results))
    seeds = len(experiment["seeds"])
    return (
        f"A model of {form.count(results['dense'][0]['parameters'])} parameters, trained on "
        f"{experiment['data']['name']}, with {', '.join(experiment['layers'])} pruned at "
        f"{proportions}, retrained, and stored sparse; {seeds} seed{'s' if seeds > 1 else ''}. "
        "All numbers are in results.json, and one row a seed and proportion in results.csv."
    )


def _figures() -> str:
    parts = [
        f"[![{caption}](figures/{name}.png)](figures/{name}.svg)\n\n{caption}\n"
        for name, caption in CAPTIONS.items()
    ]
    return "\n".join(parts)
