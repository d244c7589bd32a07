"""The device program: verify, run and bench, by an installed runner and by a bundle itself."""

from __future__ import annotations

import gzip
import importlib.metadata
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import Signer, bundle_of, relisted, with_manifest, with_members
from device_runner import OWNER, DeviceRunner, Done
from PIL import Image

from compressor.data import Dataset
from deploy.vectors import CheckVectors

VERSIONS = {
    "litert": importlib.metadata.version("ai-edge-litert"),
    "onnxruntime": importlib.metadata.version("onnxruntime-gpu"),
}
FILES = [("float.tflite", "litert"), ("small.tflite", "litert"), ("small.onnx", "onnxruntime")]


@pytest.fixture(scope="module")
def runner(tmp_path_factory: Any) -> DeviceRunner:
    return DeviceRunner.write(tmp_path_factory.mktemp("device") / "runner.pyz", OWNER)


@pytest.fixture(scope="module")
def bundles(artefacts: Path, tmp_path_factory: Any) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bundles")
    found = {}
    for name, runtime in FILES:
        content = bundle_of(artefacts / name, OWNER, runtime=runtime, version=VERSIONS[runtime])
        found[name] = folder / f"{name}.bundle"
        found[name].write_bytes(content)
    return found


@pytest.fixture(scope="module")
def bundle(bundles: dict[str, Path]) -> Path:
    return bundles["float.tflite"]


@pytest.fixture(scope="module")
def picture(tiny_data: Dataset) -> bytes:
    return png(tiny_data.x_test[3])


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def rows(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


@pytest.mark.sampled(1)
@pytest.mark.parametrize(("name", "runtime"), FILES)
def test_verify_says_what_was_proven(runner, bundles, name, runtime) -> None:
    found = json.loads(runner("verify", bundles[name], "--json").stdout)
    said = runner("verify", bundles[name]).stdout

    assert found["ok"] and found["check"]["passed"]
    assert found["signed_by"] == OWNER.public.identifier
    assert found["runtime"]["name"] == runtime
    assert found["runtime"]["version"] == VERSIONS[runtime]
    assert f"signed by key {OWNER.public.identifier}" in said
    assert f"{found['check']['examples']} of {found['check']['examples']} right" in said


@pytest.mark.parametrize(("name", "runtime"), FILES)
def test_what_a_runtime_says_of_itself_is_not_shown(
    runner, bundles, picture, name, runtime
) -> None:
    done = runner("run", bundles[name], "-", given=picture)

    assert done.code == 0
    assert done.stderr == ""


@pytest.mark.slow
def test_a_bundle_that_runs_itself_claims_no_origin(bundle, runner, picture) -> None:
    itself = DeviceRunner(bundle)
    found = itself("verify")
    helped = itself("--help")

    assert found.code == 0
    assert "integrity, not origin" in found.stdout
    assert "signed by" not in found.stdout
    for text in (helped.stdout, itself("run", "--help").stdout):
        assert "not its origin" in " ".join(text.split())
    assert "protocol" not in helped.stdout and "store" not in helped.stdout
    assert itself("protocol").code == 2
    assert "--store" in runner("serve", "--help").stdout
    assert "--store" not in itself("serve", "--help").stdout
    assert itself("serve", "--store", "digits").code == 2
    assert itself("run", "-", given=picture).stdout.startswith("-\t0\t3\t")


def test_a_static_check_needs_no_runtime(artefacts, runner, tmp_path) -> None:
    path = tmp_path / "other.bundle"
    path.write_bytes(
        bundle_of(artefacts / "float.tflite", OWNER, runtime="tflite-runtime", version="2.14.0")
    )

    assert "not run" in runner("verify", "--static", path).stdout
    missing = runner("verify", path)
    assert missing.code == 3
    assert "tflite-runtime is not installed" in missing.error


def test_a_runtime_of_another_version_is_not_taken_unasked(runner, artefacts, tmp_path) -> None:
    path = tmp_path / "old.bundle"
    path.write_bytes(bundle_of(artefacts / "float.tflite", OWNER, version="0.0.1"))

    refused = runner("verify", path)
    assert refused.code == 3
    assert VERSIONS["litert"] in refused.error and "0.0.1" in refused.error
    assert runner("verify", path, "--any-version").code == 0


def test_wrong_check_vectors_fail(runner, bundle, artefacts, tmp_path) -> None:
    vectors = CheckVectors.read(artefacts / "float.tflite.check.npz")
    wrong = CheckVectors(vectors.inputs, vectors.outputs + 9, vectors.tolerance).to_bytes()
    path = tmp_path / "wrong.bundle"
    path.write_bytes(relisted(bundle.read_bytes(), {"check.npz": wrong}, OWNER))

    verified, measured = runner("verify", path), runner("bench", path, "--seconds", 1)
    assert verified.code == measured.code == 1
    assert "WRONG" in verified.stdout
    assert "the outputs for the check vectors are wrong" in measured.error


@pytest.mark.sampled(2)
@pytest.mark.parametrize("command", ["verify", "run", "bench", "serve"])
def test_what_no_trusted_key_signed_is_refused_by_every_command(
    runner, bundle, tmp_path, command
) -> None:
    stranger = Signer(2)
    unsigned, foreign = tmp_path / "unsigned.bundle", tmp_path / "foreign.bundle"
    unsigned.write_bytes(with_members(bundle.read_bytes(), {"signature.json": None}))
    foreign.write_bytes(relisted(bundle.read_bytes(), {"README.md": b"x"}, stranger))
    more = ["nothing.png"] if command == "run" else []

    for path, said in ((unsigned, "not signed"), (foreign, "another key")):
        done = runner(command, path, *more)
        assert done.code == 2
        assert said in done.error
        assert done.stdout == ""
    if command == "verify":
        key = stranger.write_public(tmp_path / "stranger.pub")
        assert runner("verify", foreign, "--key", key).code == 0


def test_a_runner_without_a_key_says_what_to_do(bundle, tmp_path) -> None:
    bare = DeviceRunner.write(tmp_path / "bare.pyz")
    refused = bare("verify", bundle)

    assert refused.code == 2
    assert "--key PUB" in refused.error
    key = OWNER.write_public(tmp_path / "owner.pub")
    assert bare("verify", bundle, "--key", key).code == 0


@pytest.mark.sampled(1)
@pytest.mark.parametrize(("name", "runtime"), FILES)
def test_examples_of_every_format_give_the_artefact_s_classes(
    runner, bundles, tiny_data, to_idx_file, tmp_path, name, runtime
) -> None:
    images = tiny_data.x_test
    idx = to_idx_file(images)
    (tmp_path / "packed").write_bytes(gzip.compress(idx.read_bytes()))
    np.save(tmp_path / "all.npy", images)
    np.save(tmp_path / "one.npy", images[5])
    np.savez(tmp_path / "named.npz", images)
    (tmp_path / "picture.png").write_bytes(png(images[7]))
    files = [idx, tmp_path / "packed", tmp_path / "all.npy", tmp_path / "named.npz"]
    singles = {tmp_path / "one.npy": 5, tmp_path / "picture.png": 7}

    found = rows(runner("run", bundles[name], *files, *singles, "--json", "--batch", 7).stdout)

    by_file = {str(file): [row for row in found if row["file"] == str(file)] for file in files}
    reference = by_file[str(files[0])]
    assert [row["index"] for row in reference] == list(range(len(images)))
    accuracy = np.mean([row["class"] for row in reference] == tiny_data.y_test)
    assert accuracy > 0.9
    for row in found:
        assert sum(row["probabilities"]) == pytest.approx(1, abs=1e-4)
        assert row["probability"] == max(row["probabilities"])
        assert row["label"] == str(row["class"]) == str(np.argmax(row["probabilities"]))
    for file in files[1:]:
        assert [row["class"] for row in by_file[str(file)]] == [row["class"] for row in reference]
    for file, number in singles.items():
        (row,) = [row for row in found if row["file"] == str(file)]
        assert row["class"] == reference[number]["class"]


@pytest.fixture(scope="module")
def to_idx_file(tmp_path_factory: Any) -> Any:
    def write(images: np.ndarray) -> Path:
        path: Path = tmp_path_factory.mktemp("idx") / "images"
        head = bytes([0, 0, 8, images.ndim])
        sizes = b"".join(size.to_bytes(4, "big") for size in images.shape)
        path.write_bytes(head + sizes + images.tobytes())
        return path

    return write


def test_dark_on_light_in_colour_of_another_size(runner, bundle, tiny_data, tmp_path) -> None:
    light = Image.fromarray(255 - tiny_data.x_test[2]).convert("RGB").resize((80, 80), 0)
    light.save(tmp_path / "photo.png")

    refused = runner("run", bundle, tmp_path / "photo.png")
    assert refused.code == 2
    assert "80 x 80" in refused.error and "--resize" in refused.error
    done = runner("run", bundle, tmp_path / "photo.png", "--resize", "--invert", "--top", 2)
    name, number, label, probability, ranking = done.stdout.strip().split("\t")
    assert (name, number, label) == (str(tmp_path / "photo.png"), "0", "2")
    assert ranking.startswith(f"2:{probability} ")
    assert len(ranking.split()) == 2


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "begins with nothing"),
        (b"GIF89a", "not a PNG, IDX, .npy or .npz file"),
        (b"\x93NUMPY\1\0", "damaged"),
        (b"\0\0\x08\x03", "truncated"),
        (b"\x1f\x8b\x08", "gzip file is"),
        (b"PK\x03\x04", "not a readable file of arrays"),
        (b"\x89PNG", "PNG picture"),
    ],
)
def test_a_file_of_no_examples_is_refused_in_one_line(
    runner, bundle, tmp_path, content, said
) -> None:
    (tmp_path / "file").write_bytes(content)
    done = runner("run", bundle, tmp_path / "file")

    assert done.code == 2
    assert said in done.error and str(tmp_path / "file") in done.error
    assert done.stdout == ""


@pytest.mark.slow
def test_examples_in_another_layout_are_refused_by_the_name_of_their_file(
    runner, bundle, tiny_data, tmp_path
) -> None:
    rows, columns = tiny_data.x_test.shape[1:]
    folded = tiny_data.x_test[:3].reshape(3, rows // 2, 2 * columns).astype(np.float32)
    np.save(tmp_path / "folded.npy", folded)
    np.save(tmp_path / "bools.npy", tiny_data.x_test[:2] > 99)
    np.savez(tmp_path / "uneven.npz", a=np.zeros((2, 8, 8)), b=np.zeros((3, 8, 8)))

    for name, said in (
        ("folded.npy", f"given [{rows // 2}, {2 * columns}]"),
        ("bools.npy", "scaled already"),
        ("uneven.npz", "differ in their number of rows"),
    ):
        done = runner("run", bundle, tmp_path / name)
        assert done.code == 2
        assert said in done.error and str(tmp_path / name) in done.error
        assert done.stdout == ""


def through_shell(redirection: str, command: list[str], **variables: str) -> Done:
    """How a command ends that a shell starts with a redirection."""
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {redirection}', "sh", *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
        env={**os.environ, **variables},
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.mark.parametrize("command", ["verify", "run", "bench"])
@pytest.mark.slow
def test_closed_streams_change_nothing(runner, bundle, picture, tmp_path, command) -> None:
    (tmp_path / "picture.png").write_bytes(picture)
    more = {"run": [tmp_path / "picture.png"], "bench": ["--seconds", 1, "--rounds", 2]}
    words = runner.command(command, bundle, *more.get(command, []))

    silent = through_shell(">&-", words)
    assert (silent.code, silent.stdout) == (0, "")
    assert "Error" not in silent.stderr and "Exception" not in silent.stderr
    assert through_shell(">&- 2>&- <&-", words).code == 0
    assert through_shell(">&- 2>&- <&-", [*words, "--nonsense"]).code == 2


def test_standard_input_that_is_closed_has_no_examples(runner, bundle) -> None:
    done = through_shell("<&-", runner.command("run", bundle, "-"))
    assert done.code == 2
    assert "begins with nothing" in done.error


@pytest.mark.sampled(1)
@pytest.mark.parametrize("words", [["verify", "--static"], ["verify", "--help"], ["--help"]])
def test_what_cannot_be_written_is_one_line(runner, bundle, words) -> None:
    named = [bundle] if "--static" in words else []
    command = runner.command(*words, *named)

    full = through_shell(">/dev/full", command)
    assert full.code == 2
    assert "No space left" in full.error
    assert through_shell(">/dev/full 2>&1", command).code == 2


def test_labels_that_a_terminal_s_encoding_has_not_are_escaped(
    runner, bundle, picture, tmp_path
) -> None:
    def name(manifest: dict[str, Any]) -> None:
        manifest["artifact"]["labels"] = ["\u6771", "\u897f", "\u5357", "\u5317"]

    (tmp_path / "named.bundle").write_bytes(with_manifest(bundle.read_bytes(), name, OWNER))
    (tmp_path / "picture.png").write_bytes(picture)
    command = runner.command("run", tmp_path / "named.bundle", tmp_path / "picture.png")
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    # -I would ignore the two variables.
    plain = [word for word in command if word != "-I"]

    done = through_shell("", plain, **ascii_only)
    assert done.code == 0, done.stderr
    assert "\\u" in done.stdout and done.stdout.isascii()


def test_usage_errors(runner, bundle) -> None:
    assert runner("run", bundle, "/nowhere.png").code == 2
    assert "unknown command: walk" in runner("walk").error
    assert runner().code == 2
    assert runner("--help").code == 0
    assert runner("run", bundle, "x", "--threads", "0").code == 2
    assert "no such file" in runner("verify", "/nowhere.bundle").error


def test_bench_measures_here(runner, bundle) -> None:
    done = runner("bench", bundle, "--seconds", 1, "--rounds", 3, "--json")
    found = json.loads(done.stdout)

    assert found["check"]["passed"]
    assert found["latency_ms"]["rounds"] == 3
    assert 0 < found["latency_ms"]["p50"]["value"] <= found["latency_ms"]["p99"]["value"]
    assert found["throughput"]["low"] <= found["throughput"]["value"]
    assert found["peak_memory_bytes"] > 10**6
    assert found["machine"]["cores"] >= 1
    assert found["import_ms"] > 0 < found["load_ms"]


def test_only_the_command_that_was_asked_for_is_compiled(runner, bundle) -> None:
    """At every start each module is compiled: what a command does not need costs time."""
    program = (
        f"import sys; sys.path.insert(0, {str(runner.path)!r})\n"
        "from deploy.runner.__main__ import main\n"
        f"main(['verify', '--static', {str(bundle)!r}])\n"
        "print(*sys.modules, file=sys.stderr)\n"
    )
    command = [sys.executable, "-I", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    loaded = set(done.stderr.split())

    assert "deploy.runner.commands.verify" in loaded
    unwanted = ("serving", "images", "statistics", "engine", "engines", "store", "model")
    assert not {name for name in loaded if name.startswith("deploy") and name.endswith(unwanted)}
    assert not loaded & {"importlib.metadata", "http.server", "email", "tempfile", "statistics"}
