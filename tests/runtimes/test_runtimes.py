"""The registry of runtimes, and environments of their own: made once, checked, never half."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import platform
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import runnable_files
from empty_home import EmptyHome
from package_index import PackageIndex, package_index

from compressor import runtimes
from compressor.errors import CompressorError, MissingRuntimeError, UsageError
from compressor.runtimes import registry
from compressor.runtimes.environments import Environment, cache_folder
from compressor.runtimes.runner import Runner

NO_GPU = pytest.mark.skipif(registry._driver_is_there(), reason="there is an NVIDIA driver")
HERE = (platform.system(), platform.machine())


@pytest.fixture
def cache(monkeypatch, tmp_path) -> Path:
    monkeypatch.setenv("COMPRESSOR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def index() -> Iterator[PackageIndex]:
    with package_index() as found:
        yield found


@pytest.fixture
def home(monkeypatch, tmp_path) -> EmptyHome:
    found = EmptyHome(tmp_path / "empty")
    for name, value in found.environment().items():
        monkeypatch.setenv(name, value)
    # pip asks a rustc for its version, and that of rustup writes to the home directory.
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    return found


@pytest.fixture
def toy(cache, index, home, monkeypatch, tmp_path) -> Environment:
    """An environment of one small package, from a wheel that was just made; no network."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", index.url)
    # Otherwise pip keeps no copies of what comes without TLS.
    monkeypatch.setenv("PIP_TRUSTED_HOST", index.url.removeprefix("http://"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    wheel = tmp_path / "toy_runtime-1.5-py3-none-any.whl"
    info = "toy_runtime-1.5.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("toy_runtime.py", "ANSWER = 42\n")
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: toy-runtime\nVersion: 1.5\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    index.files["/"] = ("text/html", f'<a href="{wheel.name}">{wheel.name}</a>'.encode())
    index.files[f"/{wheel.name}"] = ("application/zip", wheel.read_bytes())
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return Environment(
        name="toy",
        version="1.5",
        requirements=(("toy-runtime==1.5", ("0" * 64, digest)),),
        pythons=(sys.version_info[:2],),
        machines=(HERE,),
        check="import toy_runtime; assert toy_runtime.ANSWER == 42",
    )


def answer_of(environment: Environment) -> str:
    program = "import toy_runtime, sys; print(toy_runtime.ANSWER, len(sys.path))"
    command = [str(environment.python()), "-I", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.split()[0]


def test_the_runtimes_are_pinned_and_described(cache) -> None:
    rows = runtimes.describe()

    assert {row["name"]: row["format"] for row in rows} == {
        "litert": "tflite",
        "tflite-runtime": "tflite",
        "tflite-micro": "tflite",
        "onnxruntime": "onnx",
        "onnxruntime-gpu": "onnx",
        "onnxruntime-web": "onnx",
        "cuda": "onnx",
        "tensorrt": "onnx",
        "c": "c",
    }
    assert json.loads(json.dumps(rows)) == rows
    states = {row["name"]: row for row in rows}
    assert states["litert"]["state"] == "installed"
    assert states["litert"]["version"] == importlib.metadata.version("ai-edge-litert")
    assert states["litert"]["python"] == sys.executable and states["litert"]["reason"] is None
    missing = states["tflite-runtime"]
    assert missing["state"] == "missing" and missing["version"] is missing["python"] is None
    assert missing["reason"].endswith("compressor runtimes install tflite-runtime")
    for name in ("onnxruntime-gpu", "onnxruntime-web"):
        assert registry.RUNTIMES[name].verified_in == "onnxruntime"
        assert states[name]["state"] == "substituted" and "CPU" in states[name]["reason"]


def test_looking_imports_no_runtime() -> None:
    program = (
        "import sys\nfrom compressor import runtimes\nruntimes.describe()\n"
        "print({'onnxruntime', 'ai_edge_litert', 'tensorflow', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout.strip() == "set()"


def test_what_is_not_known_or_not_there_is_one_line(cache, rejected, monkeypatch) -> None:
    for call in (runtimes.state, runtimes.python_of, runtimes.install):
        assert "litert" in rejected(UsageError, call, "cobol")
    message = rejected(MissingRuntimeError, runtimes.python_of, "tflite-runtime")
    assert str(cache) in message and "compressor runtimes install tflite-runtime" in message
    absent = dataclasses.replace(registry.RUNTIMES["litert"], module="no_such_module")
    monkeypatch.setitem(registry.RUNTIMES, "litert", absent)
    assert "pip install ai-edge-litert" in rejected(MissingRuntimeError, runtimes.install, "litert")
    assert runtimes.state("litert") == registry.State(None, "is not installed")


@pytest.mark.parametrize("name", ["cuda", "tensorrt"])
def test_a_gpu_that_is_not_there_is_said_so(name, rejected, monkeypatch) -> None:
    monkeypatch.setattr(registry, "_DRIVER", "libcuda-of-no-machine.so.1")
    (row,) = [row for row in runtimes.describe() if row["name"] == name]

    assert row["state"] == "missing" and row["version"] is row["python"] is None
    assert row["reason"] == ("has no NVIDIA driver: libcuda-of-no-machine.so.1 cannot be loaded")
    for call in (runtimes.python_of, runtimes.install):
        message = rejected(MissingRuntimeError, call, name)
        assert "no NVIDIA driver" in message and "pip install onnxruntime-gpu[cuda" in message
    with Runner(name) as runner:
        message = rejected(MissingRuntimeError, runner.load, "any.onnx")
        assert "no NVIDIA driver" in message
        assert runner._process.process is None  # nothing was started for it


@pytest.mark.sampled(1)
@NO_GPU
@pytest.mark.parametrize("name", ["cuda", "tensorrt"])
def test_a_driver_alone_is_tried_in_a_process_of_its_own(
    name, rejected, monkeypatch, tmp_path
) -> None:
    monkeypatch.setattr(registry, "_driver_is_there", lambda: True)
    monkeypatch.setattr(registry, "RUNTIMES", {name: registry.RUNTIMES[name]})
    (row,) = runtimes.describe()

    assert row["state"] == "missing" and row["python"] is None
    assert row["reason"] == "no NVIDIA driver: libcuda.so.1 cannot be loaded"
    message = rejected(MissingRuntimeError, runtimes.install, name)
    assert message == f"{name} cannot run here: {row['reason']}"
    (tmp_path / "any.onnx").write_bytes(b"")
    with Runner(name) as runner:
        message = rejected(MissingRuntimeError, runner.load, tmp_path / "any.onnx")
        assert "no NVIDIA driver" in message and MissingRuntimeError.exit_code == 3
    monkeypatch.setattr(Runner, "probe", lambda self: {"version": "9.9"})
    assert runtimes.install(name) == row | {
        "version": "9.9",
        "state": "installed",
        "reason": None,
        "python": sys.executable,
    }


@pytest.mark.skipif(runtimes.state("cuda").version is None, reason="there is no NVIDIA GPU")
@pytest.mark.parametrize("graph", [False, True], ids=["runs", "graph"])
def test_a_gpu_computes_what_the_processor_does(graph, tmp_path) -> None:
    path = tmp_path / "two.onnx"
    table, kernel = runnable_files.write_onnx(path)
    image = np.random.default_rng(4).random((9, 6), np.float32)
    tokens = np.arange(9) % 5
    with Runner("cuda") as runner:
        facts = runner.load(path, graph=graph)
        scores = runner.predict({"image": image, "tokens": tokens}, batch=4)
        times = runner.measure(runs=5, batch=2, warmup=1)

    assert facts["provider"] == "CUDAExecutionProvider" and facts["device"]["name"]
    np.testing.assert_allclose(scores, table[tokens] + image @ kernel, atol=1e-5)
    assert len(times) == 5 and min(times) > 0


def test_installing_what_is_there_changes_nothing() -> None:
    (row,) = [row for row in runtimes.describe() if row["name"] == "litert"]

    assert runtimes.install("litert") == row


@pytest.mark.slow
def test_an_environment_is_made_once_and_not_of_what_was_left_half(toy, cache, index, home) -> None:
    (toy.folder / "bin").mkdir(parents=True)
    (toy.folder / "bin" / "python").write_text("half")
    (toy.folder / "left-over").write_text("half")
    assert toy.missing() == "is not installed"
    errors = []

    def install() -> None:
        try:
            toy.install()
        except CompressorError as error:
            errors.append(error)

    threads = [threading.Thread(target=install) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not errors and not toy.missing()
    assert toy.folder == cache / "runtimes" / "toy-1.5"
    assert answer_of(toy) == "42" and not (toy.folder / "left-over").exists()
    # In its folder only, without a copy in pip's cache; and nothing else was asked for.
    assert home.left() == [] and set(index.asked) == set(index.files)
    made = (toy.folder / ".ready").stat().st_mtime_ns
    toy.install()
    assert (toy.folder / ".ready").stat().st_mtime_ns == made
    (toy.folder / "bin" / "python").unlink()
    assert toy.missing() == "has lost its Python"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"requirements": (("toy-runtime==1.5", ("1" * 64,)),)}, "packages cannot be installed"),
        pytest.param(
            {"requirements": (("toy-runtime==1.6", ("1" * 64,)),)},
            "toy-runtime==1.6",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"check": "import sys; sys.exit('GLIBC_2.99 not found')"},
            "GLIBC_2.99",
            marks=pytest.mark.slow,
        ),
    ],
    ids=["another file", "no file", "does not work"],
)
@pytest.mark.slow
def test_an_environment_that_is_not_what_was_pinned_is_not_there(
    toy, rejected, change, said
) -> None:
    wrong = dataclasses.replace(toy, **change)

    assert said in rejected(MissingRuntimeError, wrong.install)
    assert wrong.missing() == "is not installed"


def test_where_no_wheel_fits_nothing_is_made(toy, rejected, monkeypatch, tmp_path) -> None:
    fake = tmp_path / "python2.7"
    fake.write_text("#!/bin/sh\necho 'no such command' >&2; exit 127\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    message = rejected(
        MissingRuntimeError, dataclasses.replace(toy, pythons=((2, 7), (2, 6))).install
    )
    assert f"{fake} (no venv)" in message and "Python 2.7, 2.6" in message
    strange = dataclasses.replace(toy, machines=(("Plan9", "mips"),))
    assert "Plan9 mips" in rejected(MissingRuntimeError, strange.install)
    assert not toy.folder.exists()


def test_pip_may_take_only_pinned_wheels_by_their_hashes() -> None:
    environment = registry.TFLITE_RUNTIME
    command = environment.pip_command(Path("list.txt"))
    lines = environment.requirements_text().splitlines()

    assert {"--require-hashes", "--no-deps"} <= set(command)
    assert command[command.index("--only-binary") + 1] == ":all:"
    assert command[0].endswith("tflite-runtime-2.14.0/bin/python")
    assert [line.split()[0] for line in lines] == ["numpy==1.26.4", "tflite-runtime==2.14.0"]
    for line in lines:
        digests = [word.removeprefix("--hash=sha256:") for word in line.split()[1:]]
        assert len(set(digests)) == len(digests) == 6  # three Pythons, two machines
        assert all(len(digest) == 64 and int(digest, 16) for digest in digests)


def test_the_cache_is_the_user_s(monkeypatch, tmp_path) -> None:
    monkeypatch.delenv("COMPRESSOR_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "shared"))
    assert cache_folder() == tmp_path / "shared" / "compressor"
    for unusable in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", unusable)
        assert cache_folder() == tmp_path / ".cache" / "compressor"
    monkeypatch.setenv("COMPRESSOR_CACHE", "~/mine")
    assert cache_folder() == tmp_path / "mine"


@pytest.mark.slow
def test_tflite_runtime_is_installed_and_has_its_own_numpy(cache) -> None:
    row = runtimes.install("tflite-runtime")
    program = (
        "import numpy, tflite_runtime.interpreter as i; print(numpy.__version__, i.Interpreter)"
    )
    command = [row["python"], "-I", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)

    assert row["state"] == "installed" and row["version"] == "2.14.0"
    assert row["python"].startswith(str(cache)) and done.stdout.startswith("1.26.4 ")
