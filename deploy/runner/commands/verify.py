"""verify: whether a bundle is whole, from whom it is, and whether it computes right here."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from deploy.runner.commands.options import add_engine_options
from deploy.runner.source import BundleSource

if TYPE_CHECKING:
    from deploy.bundle import Bundle

SUMMARY = "check the bundle: container, digests, signature; then its check vectors, in the runtime"
OWN_SUMMARY = "check this bundle: container and digests; then its check vectors, in the runtime"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--static, --json, and those of the engine."""
    parser.add_argument("--static", action="store_true", help="run nothing: no check vectors")
    parser.add_argument("--json", action="store_true", help="answer as a JSON object")
    add_engine_options(parser)


def execute(arguments: argparse.Namespace, source: BundleSource) -> int:
    """Print what was proven; 1 where the check vectors come out wrong."""
    bundle = source.open()
    proven = described(bundle)
    if arguments.static:
        bundle.vectors()
    else:
        proven.update(_checked(bundle, arguments))
    check = proven["check"]
    passed = check is None or check["passed"]
    if arguments.json:
        print(json.dumps({"ok": passed, **proven}, allow_nan=False))
    else:
        print("\n".join(_lines(proven)))
    return 0 if passed else 1


def described(bundle: Bundle) -> dict[str, Any]:
    """What a bundle that was opened is, and what has been proven of it by that."""
    manifest = bundle.manifest
    return {
        "name": manifest.name,
        "device": manifest.device,
        "sha256": bundle.sha256,
        "bytes": bundle.size,
        "signed_by": bundle.signed_by.identifier if bundle.signed_by else None,
        "artefact": {"file": bundle.artifact.file, "sha256": bundle.artifact.sha256},
        "packed_for": {"runtime": manifest.runtime, "version": manifest.runtime_version},
        "runtime": None,
        "check": None,
    }


def _checked(bundle: Bundle, arguments: argparse.Namespace) -> dict[str, Any]:
    from deploy.model import Model

    any_version = arguments.any_version
    with Model(bundle, threads=arguments.threads, any_version=any_version) as model:
        engine = model.engine
        return {
            "check": model.check().describe(),
            "runtime": {
                "name": engine.runtime,
                "version": engine.version,
                "provider": engine.provider,
                "device": engine.device,
            },
        }


def _lines(proven: dict[str, Any]) -> list[str]:
    key = proven["signed_by"]
    origin = f"signed by key {key}" if key else "not proven: this shows integrity, not origin"
    lines = [
        f"bundle    {proven['name']} for {proven['device']}, {proven['bytes']:,} bytes",
        f"sha256    {proven['sha256']}",
        f"origin    {origin}",
        "content   container, schema and the digest of every member are right",
    ]
    check, runtime = proven["check"], proven["runtime"]
    if check is None:
        return [*lines, "vectors   not run (--static)"]
    provider = f", {runtime['provider']}" if runtime["provider"] else ""
    device = f" on {runtime['device']['name']}" if (runtime["device"] or {}).get("name") else ""
    lines.append(f"runtime   {runtime['name']} {runtime['version']}{provider}{device}")
    count, difference = check["examples"], check["difference"]
    by = "no numbers" if difference is None else f"{difference:.3g}"
    if check["passed"]:
        lines.append(f"vectors   {count} of {count} right, within {check['tolerance']:.3g}")
    else:
        lines.append(f"vectors   WRONG: they differ by {by}, tolerated {check['tolerance']:.3g}")
    return lines
