"""Packing: what goes in, the same every time, and a refusal of what cannot run on the device."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
from command_line import compressor
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

import compressor as library
from compressor.errors import BundleError, RunDirectoryError, UsageError
from deploy.profile import PROFILES


def _member(bundle: Path, name: str) -> bytes:
    with zipfile.ZipFile(bundle) as archive:
        return archive.read(name)


def _manifest(bundle: Path) -> Any:
    return json.loads(_member(bundle, "manifest.json"))


@pytest.fixture
def exported(artefacts: Path, tmp_path: Path) -> Path:
    """A folder of artefacts that may be written to."""
    return Path(shutil.copytree(artefacts, tmp_path / "exported"))


def test_a_bundle_holds_what_the_description_says(signed: Path, artefacts: Path) -> None:
    manifest = _manifest(signed)

    assert manifest["artifact"] == json.loads((artefacts / "small.tflite.json").read_text())
    assert manifest["name"] == "small-raspberrypi-4"
    assert manifest["device"] == "raspberrypi-4"
    assert manifest["runtime"]["name"] == "litert"
    assert _member(signed, "model/small.tflite") == (artefacts / "small.tflite").read_bytes()
    assert _member(signed, "check.npz") == (artefacts / "small.tflite.check.npz").read_bytes()
    with zipfile.ZipFile(signed) as archive:
        names = archive.namelist()
    listed = [member["name"] for member in manifest["members"]]
    assert sorted([*listed, "manifest.json", "signature.json"]) == names
    assert {"__main__.py", "deploy/runner/__main__.py", "README.md", "sbom.cdx.json"} <= set(names)


def test_the_same_artefact_gives_the_same_bytes(
    signed: Path, artefacts: Path, release: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other name.bundle"
    key = release / "release.key"
    library.package([artefacts / "small.tflite"], "raspberrypi-4", other, sign=key, counter=7)

    assert other.read_bytes() == signed.read_bytes()


def test_without_a_key_there_is_no_time_in_it(artefacts: Path, tmp_path: Path) -> None:
    made = [tmp_path / "one.bundle", tmp_path / "two.bundle"]
    for path, now in zip(made, (1_000, 2_000), strict=True):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("time.time", lambda now=now: float(now))
            library.package([artefacts / "small.tflite"], "raspberrypi-4", path)

    assert made[0].read_bytes() == made[1].read_bytes()
    assert "counter" not in _manifest(made[0])


def test_a_signed_bundle_counts_in_seconds_unless_told(
    artefacts: Path, release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("package", artefacts / "small.tflite", "--device", "raspberrypi-4")
    path, signed = tmp_path / "b.bundle", ("--sign", release / "release.key")
    monkeypatch.setattr("time.time", lambda: 1_234_567.8)

    said = compressor(*words, "-o", path, *signed)
    assert "counter 1234567\n" in said.stdout
    assert _manifest(path)["counter"] == 1_234_567
    key = ("--key", release / "release.pub", "--static")
    assert "counter 1234567\n" in compressor("verify", path, *key).stdout
    told = compressor(*words, "-o", path, *signed, "--counter", 5, "--force", "--json").json()
    assert told["counter"] == _manifest(path)["counter"] == 5


def test_counters_that_cannot_be(artefacts: Path, release: Path, tmp_path: Path) -> None:
    words = ("package", artefacts / "small.tflite", "--device", "raspberrypi-4")
    rest, key = ("-o", tmp_path / "b.bundle", "--counter"), ("--sign", release / "release.key")

    assert "not signed proves nothing: 5" in compressor(*words, *rest, 5).refusal()
    for counter in (0, -1, 2**53 + 1, 10**30):
        refused = compressor(*words, *rest, counter, *key).refusal()
        assert f"a counter is from 1 to {2**53}: {counter}" in refused
    assert not (tmp_path / "b.bundle").exists()


def test_the_sbom_is_cyclonedx_and_names_what_the_device_must_bring(
    signed: Path, artefacts: Path
) -> None:
    text = _member(signed, "sbom.cdx.json").decode()
    sbom = json.loads(text)

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    parts = {part["name"]: part for part in sbom["components"]}
    assert {"small.tflite", "ai-edge-litert", "numpy", "compressor-runner"} <= set(parts)
    artifact = json.loads((artefacts / "small.tflite.json").read_text())
    assert parts["small.tflite"]["hashes"] == [{"alg": "SHA-256", "content": artifact["sha256"]}]
    assert parts["ai-edge-litert"]["purl"].startswith("pkg:pypi/ai-edge-litert@")
    assert "timestamp" not in sbom["metadata"]


def test_its_readme_tells_a_stranger_what_it_is(signed: Path) -> None:
    text = _member(signed, "README.md").decode()

    for said in ("small.tflite", "raspberrypi-4", "litert", "quarters", "%", "signature"):
        assert said in text
    assert "python -I NAME.bundle verify" in text
    assert "$" not in text


def test_who_takes_it_for_a_model_is_told_what_it_is(signed: Path) -> None:
    done = compressor("inspect", signed)
    assert done.code == 2
    assert "it is a bundle: compressor verify" in done.stderr


def test_a_device_without_python_gets_no_runner(artefacts: Path, tmp_path: Path) -> None:
    path = tmp_path / "app.bundle"
    library.package([artefacts / "small.tflite"], "android-arm64", path)

    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
    assert names == {
        *("README.md", "check.npz", "manifest.json", "model/small.tflite", "sbom.cdx.json")
    }
    assert library.verify(path)["check"]["passed"]


def test_what_the_device_prefers_is_packed_and_the_rest_is_explained(
    artefacts: Path, tmp_path: Path
) -> None:
    files = [artefacts / name for name in ("small.onnx", "float.tflite", "small.tflite")]

    made = compressor(
        *("package", *files, "--device", "raspberrypi-4", "-o", tmp_path / "b.bundle", "--json")
    ).json()

    assert made["artefact"] == str(artefacts / "small.tflite")
    left = {Path(one["file"]).name: one["why"] for one in made["left_out"]}
    assert set(left) == {"small.onnx", "float.tflite"}
    assert "litert" in left["small.onnx"]
    assert "small.tflite is preferred" in left["float.tflite"]


def test_what_cannot_run_there_is_refused_and_says_what_can(
    artefacts: Path, tmp_path: Path
) -> None:
    target = tmp_path / "b.bundle"

    message = compressor(
        "package", artefacts / "small.onnx", "--device", "raspberrypi-4", "-o", target
    ).refusal()

    assert "cannot run on raspberrypi-4" in message
    assert "linux-x86-64" in message
    assert "--for litert" in message
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_device_is_refused_with_those_that_are_known(
    artefacts: Path, tmp_path: Path
) -> None:
    message = compressor(
        "package", artefacts / "small.onnx", "--device", "toaster", "-o", tmp_path / "b"
    ).refusal()

    assert "toaster" in message
    assert "raspberrypi-4" in message


def test_a_bundle_is_not_overwritten_unasked(signed: Path, artefacts: Path, tmp_path: Path) -> None:
    target = tmp_path / "b.bundle"
    target.write_bytes(signed.read_bytes())
    arguments = ("package", artefacts / "small.tflite", "--device", "raspberrypi-4", "-o", target)

    assert "there already" in compressor(*arguments).refusal()
    assert target.read_bytes() == signed.read_bytes()
    assert compressor(*arguments, "--force").code == 0
    assert target.read_bytes() != signed.read_bytes()
    assert library.verify(target, static=True)["name"] == "small-raspberrypi-4"


def test_a_folder_of_the_users_is_never_replaced(artefacts: Path, tmp_path: Path) -> None:
    folder = tmp_path / "precious"
    folder.mkdir()
    (folder / "thesis.tex").write_text("text")
    for device, artefact in (("raspberrypi-4", "small.tflite"), ("browser", "small.onnx")):
        with pytest.raises(RunDirectoryError):
            library.package([artefacts / artefact], device, folder, force=True)
    assert [path.name for path in folder.iterdir()] == ["thesis.tex"]
    # The manifest of a web app is none of ours.
    (folder / "manifest.json").write_text('{"name": "my app"}')
    with pytest.raises(RunDirectoryError, match="no bundle"):
        library.package([artefacts / "small.onnx"], "browser", folder, force=True)
    assert len(list(folder.iterdir())) == 2


def test_force_replaces_bundles_only(exported: Path, release: Path, tmp_path: Path) -> None:
    artefact, key = exported / "small.tflite", tmp_path / "release.key"
    key.write_bytes((release / "release.key").read_bytes())
    key.chmod(0o600)
    for target in (artefact, exported / "small.tflite.json", key):
        before = target.read_bytes()
        message = compressor(
            *("package", artefact, "--device", "raspberrypi-4", "-o", target, "--force"),
            *("--sign", key),
        ).refusal()
        assert "no bundle" in message
        assert target.read_bytes() == before


def test_check_vectors_of_another_artefact_are_refused(exported: Path, tmp_path: Path) -> None:
    """Of the same model even, so that their shapes fit."""
    own, other = (exported / f"{name}.tflite.check.npz" for name in ("small", "float"))
    assert own.read_bytes() != other.read_bytes()
    own.write_bytes(other.read_bytes())

    message = compressor(
        *("package", exported / "small.tflite", "--device", "raspberrypi-4"),
        *("-o", tmp_path / "b.bundle"),
    ).refusal()

    assert "small.tflite.check.npz" in message
    assert "check vectors are of another artefact" in message
    assert not (tmp_path / "b.bundle").exists()


@pytest.mark.parametrize("suffix", [".json", ".check.npz"])
def test_an_artefact_without_what_belongs_to_it_is_refused(
    exported: Path, tmp_path: Path, suffix: str
) -> None:
    (exported / f"small.tflite{suffix}").unlink()

    message = compressor(
        *("package", exported / "small.tflite", "--device", "raspberrypi-4"),
        *("-o", tmp_path / "b.bundle"),
    ).refusal()

    assert f"small.tflite{suffix}" in message


def test_a_folder_is_no_artefact(exported: Path, tmp_path: Path) -> None:
    message = compressor(
        *("package", exported, "--device", "raspberrypi-4", "-o", tmp_path / "b.bundle")
    ).refusal()

    assert str(exported) in message and "name the files in it" in message


def test_a_bundle_is_called_as_asked(artefacts: Path, tmp_path: Path) -> None:
    """So that another artefact of the same product replaces it on the device."""
    target = tmp_path / "b.bundle"
    arguments = ("package", artefacts / "small.tflite", "--device", "raspberrypi-4", "-o", target)

    for wrong in ("", "../digits", "a b", ".digits", "a/b"):
        assert repr(wrong) in compressor(*arguments, "--name", wrong).refusal()
    assert not target.exists()
    assert compressor(*arguments, "--name", "digits").code == 0
    assert _manifest(target)["name"] == "digits"
    assert library.verify(target, static=True)["name"] == "digits"


def test_what_does_not_fit_the_storage_with_all_that_goes_along_is_refused(
    artefacts: Path, tmp_path: Path
) -> None:
    size = (artefacts / "small.tflite").stat().st_size
    text = (PROFILES / "raspberrypi-4.toml").read_text()
    text = text.replace('name = "raspberrypi-4"', 'name = "tiny"')
    board, target = tmp_path / "tiny.toml", tmp_path / "b.bundle"
    board.write_text(text.replace("8_000_000_000", str(size + 1000)))

    message = compressor(
        *("package", artefacts / "small.tflite", "--device", board, "-o", target)
    ).refusal()

    assert f"{size + 1000:,}" in message
    assert not target.exists()


def test_an_artefact_that_was_altered_is_refused(exported: Path, tmp_path: Path) -> None:
    file = exported / "small.tflite"
    file.write_bytes(file.read_bytes()[:-1] + b"x")

    with pytest.raises(BundleError, match="another file"):
        library.package([file], "raspberrypi-4", tmp_path / "b.bundle")


def test_a_name_that_no_bundle_can_hold_is_refused(exported: Path, tmp_path: Path) -> None:
    description = json.loads((exported / "small.tflite.json").read_text())
    description["file"] = "my model.tflite"
    (exported / "my model.tflite").write_bytes((exported / "small.tflite").read_bytes())
    (exported / "my model.tflite.json").write_text(json.dumps(description))

    with pytest.raises(UsageError, match="my model"):
        library.package([exported / "my model.tflite"], "raspberrypi-4", tmp_path / "b.bundle")


def test_latencies_are_what_bench_measured(artefacts: Path, tmp_path: Path) -> None:
    results = tmp_path / "bench.json"
    library.bench(
        [artefacts / "small.tflite"], output=results, rounds=2, round_seconds=0.01, starts=1
    )
    [row] = json.loads(results.read_text())["runs"][0]["rows"]

    target = tmp_path / "b.bundle"
    library.package([artefacts / "small.tflite"], "raspberrypi-4", target, latencies=results)

    [latency] = _manifest(target)["latency"]
    assert latency["p50_ms"] == row["latency_ms"]["p50"]["value"]
    assert latency["runtime"] == "litert"
    assert "p50" in _member(target, "README.md").decode()
    with pytest.raises(UsageError, match="has not measured"):
        library.package(
            [artefacts / "float.tflite"], "raspberrypi-4", tmp_path / "c", latencies=results
        )


def test_a_device_of_the_users_own(artefacts: Path, tmp_path: Path) -> None:
    import deploy.profile

    shipped = Path(deploy.profile.__file__).parent / "devices" / "raspberrypi-4.toml"
    own = tmp_path / "kitchen.toml"
    own.write_text(shipped.read_text().replace("raspberrypi-4", "kitchen-pi"))

    made = library.package([artefacts / "small.tflite"], own, tmp_path / "b.bundle")

    assert made["device"] == "kitchen-pi"
    own.write_text("hello")
    with pytest.raises(UsageError, match=r"kitchen\.toml"):
        library.package([artefacts / "small.tflite"], own, tmp_path / "c.bundle")
