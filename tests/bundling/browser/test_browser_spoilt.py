"""What the page says of a copy that is spoilt: nothing that is not proven runs."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawing_page import DrawingPage, serving

RED = {"light": "rgb(179, 32, 31)", "dark": "rgb(255, 143, 135)"}


def relisted(folder: Path, name: str, content: bytes) -> None:
    """Put another file in the folder, and have the manifest list it."""
    (folder / name).write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_text())
    for member in manifest["members"]:
        if member["name"] == name:
            member |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def refusal(browser: Any, folder: Path, state: str, **options: Any) -> str:
    """What the page says; it must have started nothing and let nobody draw."""
    with serving(folder) as address, DrawingPage(browser, address, **options) as shown:
        assert shown.state == state
        assert shown.page.locator("#board").get_attribute("inert") is not None
        if state == "wrong":
            scheme = options.get("scheme", "light")
            colour = "getComputedStyle(document.getElementById('status')).color"
            assert shown.evaluate(colour) == RED[scheme]
        assert not shown.page.locator("#facts").is_visible() and shown.text("verdict") == "?"
        return shown.text("status-text")


@pytest.mark.sampled(1)
@pytest.mark.parametrize("name", ["model/digits.onnx", "runtime/ort.wasm", "runtime/ort.js"])
def test_one_altered_byte_is_wrong_and_nothing_of_it_runs(browser, own_site, name) -> None:
    content = bytearray((own_site / name).read_bytes())
    content[len(content) // 2] ^= 1
    (own_site / name).write_bytes(content)

    said = refusal(browser, own_site, "wrong")
    found = hashlib.sha256(content).hexdigest()
    assert said.startswith(f"WRONG: {name} has sha256 {found[:12]}")
    assert said.endswith("Nothing of it is run.")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.slow
def test_wrong_outputs_are_said_in_red(browser, own_site, scheme) -> None:
    check = json.loads((own_site / "check.json").read_text())
    outputs = np.frombuffer(base64.b64decode(check["outputs"]), "<f4").reshape(16, 10).copy()
    outputs[[3, 7], 0] += 2 * check["tolerance"]
    check["outputs"] = base64.b64encode(outputs.tobytes()).decode()
    relisted(own_site, "check.json", json.dumps(check).encode())

    said = refusal(browser, own_site, "wrong", scheme=scheme)
    assert said.startswith("WRONG: only 14 of 16 check vectors right in onnxruntime-web 1.30.0. ")
    assert "Outputs differ by up to " in said and said.endswith("so it is not asked.")


def test_another_model_than_the_described_one_is_wrong(browser, own_site) -> None:
    content = (own_site / "model" / "digits.onnx").read_bytes() + b"\0"
    relisted(own_site, "model/digits.onnx", content)

    assert "the description is of another file" in refusal(browser, own_site, "wrong")


def test_a_member_that_is_not_listed_is_not_trusted(browser, own_site) -> None:
    manifest = json.loads((own_site / "manifest.json").read_text())
    manifest["members"] = [one for one in manifest["members"] if one["name"] != "check.json"]
    (own_site / "manifest.json").write_text(json.dumps(manifest))

    assert "does not list check.json" in refusal(browser, own_site, "wrong")


@pytest.mark.slow
def test_what_cannot_be_fetched_or_read_is_named(browser, own_site) -> None:
    manifest = json.loads((own_site / "manifest.json").read_text())
    manifest["schema"]["version"] = 2
    (own_site / "manifest.json").write_text(json.dumps(manifest))
    assert "compressor-bundle 2" in refusal(browser, own_site, "failed")
    (own_site / "manifest.json").write_text("{")
    assert "manifest.json is damaged" in refusal(browser, own_site, "failed")
    (own_site / "manifest.json").unlink()
    said = refusal(browser, own_site, "failed")
    assert "manifest.json cannot be fetched: the web server answers 404" in said
    (own_site / "classifier.js").unlink()
    assert "damaged or not whole" in refusal(browser, own_site, "failed")


def test_a_file_that_onnxruntime_refuses_is_said(browser, own_site) -> None:
    manifest = json.loads((own_site / "manifest.json").read_text())
    manifest["artifact"]["sha256"] = hashlib.sha256(b"no model").hexdigest()
    (own_site / "manifest.json").write_text(json.dumps(manifest))
    relisted(own_site, "model/digits.onnx", b"no model")

    assert refusal(browser, own_site, "failed").startswith("This page cannot run: ")


def test_a_browser_without_webassembly_is_told(browser, own_site) -> None:
    start = own_site / "start.js"
    start.write_text("delete globalThis.WebAssembly;\n" + start.read_text())

    assert "no WebAssembly" in refusal(browser, own_site, "failed")


@pytest.mark.slow
def test_plain_http_has_a_sha256_of_ours(browser, site, own_site) -> None:
    """Browsers offer theirs on https and localhost only."""
    lengths = [0, 1, 3, 55, 56, 57, 63, 64, 65, 119, 120, 128, 1000, 70_001]
    expected = [hashlib.sha256(bytes(k % 251 for k in range(n))).hexdigest() for n in lengths]
    start = own_site / "start.js"
    start.write_text(
        "Object.defineProperty(globalThis, 'crypto', { value: {} });\n" + start.read_text()
    )
    with serving(own_site) as address, DrawingPage(browser, address) as shown:
        found = shown.page.evaluate(
            """async lengths => {
              const { sha256 } = await import("./sha256.js");
              const bytes = n => Uint8Array.from({ length: n }, (_, k) => k % 251);
              return Promise.all(lengths.map(n => sha256(bytes(n))));
            }""",
            lengths,
        )
        assert shown.evaluate("crypto.subtle") is None
        assert found == expected
        assert shown.state == "right"
    (own_site / "model" / "digits.onnx").write_bytes(b"another")
    assert refusal(browser, own_site, "wrong").startswith("WRONG: model/digits.onnx has sha256 ")
