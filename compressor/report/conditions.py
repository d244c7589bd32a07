"""What the numbers of a sweep were measured on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compressor.report import formatting as form
from compressor.report.content import Table
from compressor.report.tables import workload
from compressor.runs import Results


def machine_text(machine: Mapping[str, Any]) -> str:
    """A machine in one line: the host if it was another, processor, cores, memory, system."""
    where = f"{machine['host']}: " if machine.get("host") else ""
    return (
        f"{where}{machine['cpu']}, {machine['cores']} cores, "
        f"{machine['memory_bytes'] / 2**30:.1f} GiB, {machine['system']}"
    )


def conditions_table(results: Results) -> Table:
    """What the numbers were measured on: machine, versions, threads, batch, data, training."""
    experiment, environment = results["experiment"], results["environment"]
    machine, data = environment["machine"], experiment["data"]
    time = results["dense"][0]["prediction_time"]
    versions = {"Python": environment["python"], **environment["versions"]}
    rows = {
        "machine": machine_text(machine),
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
    return Table(["condition", "value"], [list(row) for row in rows.items()], left=2)


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
