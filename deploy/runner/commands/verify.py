"""verify: whether a bundle is intact, who signed it, and whether its outputs are right here."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from deploy.runner.commands.options import add_engine_options
from deploy.runner.source import BundleSource

if TYPE_CHECKING:
    from deploy.bundle import Bundle

SUMMARY = "check the bundle: container, digests and signature, then its check vectors"
OWN_SUMMARY = "check this bundle: container and digests, then its check vectors"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--static", action="store_true", help="do not run the check vectors")
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    add_engine_options(parser)


def execute(arguments: argparse.Namespace, source: BundleSource) -> int:
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
    """What a bundle is, as far as opening it has proven."""
    manifest = bundle.manifest
    return {
        "name": manifest.name,
        "device": manifest.device,
        "sha256": bundle.sha256,
        "bytes": bundle.size,
        "signed_by": bundle.signer,
        "artefact": {"file": bundle.artifact.file, "sha256": bundle.artifact.sha256},
        "packed_for": {"runtime": manifest.runtime, "version": manifest.runtime_version},
        "runtime": None,
        "check": None,
    }


def _checked(bundle: Bundle, arguments: argparse.Namespace) -> dict[str, Any]:
    from deploy.model import Model

    model = Model.load(bundle, arguments.threads, arguments.any_version)
    return {"check": model.check().describe(), "runtime": model.engine.describe()}


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
