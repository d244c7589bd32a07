"""What `compressor devices` says on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from compressor.report.formatting import NOTHING, count, size, text_table
from deploy.operator_table import find_table

_HEADER = ["device", "processor", "memory", "runtime", "Python", "prefers"]


def devices_text(profiles: Sequence[Mapping[str, Any]]) -> str:
    """The devices, a row for each; `profiles` as `DeviceProfile.describe` gives them."""
    rows = [
        [
            profile["name"],
            f"{profile['cpu']['cores']} x {profile['cpu']['architecture']}",
            size(profile["memory"]["available_bytes"]),
            f"{profile['runtime']['name']} {profile['runtime']['version']}",
            " ".join(profile["python"]["versions"]) or NOTHING,
            f"{profile['prefer']['format']} {profile['prefer']['quantize'][0]}",
        ]
        for profile in profiles
    ]
    return text_table(_HEADER, rows)


def device_text(profile: Mapping[str, Any]) -> str:
    """One device whole, a line for each of its parts."""
    cpu, memory, gpu = profile["cpu"], profile["memory"], profile.get("gpu")
    python, prefer = profile["python"], profile["prefer"]
    features = f" ({', '.join(cpu['features'])})" if cpu["features"] else ""
    lines = {
        "processor": f"{cpu['cores']} x {cpu['model']}, {cpu['architecture']}{features}",
        "memory": f"{count(memory['available_bytes'])} of {count(memory['bytes'])} bytes for it",
        "storage": f"{count(profile['storage']['available_bytes'])} bytes",
        "GPU": "none" if gpu is None else f"{gpu['model']}, {count(gpu['memory_bytes'])} bytes",
        "runtime": f"{profile['runtime']['name']} {profile['runtime']['version']}",
        "operators": _operators_text(profile),
        "Python": f"{', '.join(python['versions'])} with numpy {python['numpy']}"
        if python["versions"]
        else "none: bundles hold no program",
        "prefers": f"{prefer['format']}; {', '.join(prefer['quantize'])}; for "
        f"{prefer['optimize']}; widths of multiples of {prefer['width_multiple']}",
    }
    width = max(map(len, lines)) + 2
    text = "".join(f"{f'{what}:':<{width}}{said}\n" for what, said in lines.items())
    return f"{profile['name']}: {profile['description']}\n{text}"


def _operators_text(profile: Mapping[str, Any]) -> str:
    own, runtime = profile.get("operators"), profile["runtime"]
    if own is not None:
        return f"{len(own)}, listed in the profile"
    table = find_table(runtime["name"], runtime["version"])
    if table is None:
        return "not known; list them as [operators]"
    measured = f"measured in {table.runtime} {table.version}"
    if "ai.onnx" in table.operators:
        return f"ONNX up to opset {table.operators['ai.onnx']}, {measured}"
    return f"{len(table.operators)}, {measured}"
