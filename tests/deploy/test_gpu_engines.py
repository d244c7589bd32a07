"""CUDA and TensorRT: never a number of the CPU under their names, and why where there is none."""

from __future__ import annotations

import ctypes
import importlib
import os
import sys
from pathlib import Path

import fake_gpu
import numpy as np
import pytest
from fake_gpu import CPU, CUDA, TENSORRT, Driver, FakeRuntime

from deploy.errors import EngineError, MissingEngineError
from deploy.runner import gpu
from deploy.runner.engine import Rows
from deploy.runner.onnx_engines import CudaEngine, GpuEngine, TensorrtEngine
from deploy.runner.onnx_precisions import precisions

ENGINES = pytest.mark.parametrize("engine", [CudaEngine, TensorrtEngine])
IMAGES = np.arange(30, dtype=np.float32).reshape(10, 3)


@pytest.fixture
def driver(monkeypatch) -> Driver:
    """A driver that shows one GPU."""
    made = Driver()
    monkeypatch.setattr(ctypes, "CDLL", fake_gpu.libraries(made))
    gpu.describe_gpu.cache_clear()
    yield made
    gpu.describe_gpu.cache_clear()
    gpu._METERS.clear()


@pytest.fixture
def runtime(monkeypatch, driver) -> FakeRuntime:
    """An ONNX Runtime for GPUs."""
    made = FakeRuntime()
    monkeypatch.setitem(sys.modules, "onnxruntime", made)
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    return made


@pytest.fixture
def artefact(tmp_path) -> str:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"what the fake takes for y = 2 x")
    return str(path)


def refused(error: type[Exception], engine: type[GpuEngine], *arguments) -> str:
    with pytest.raises(error) as caught:
        engine(*arguments)
    assert type(caught.value) is error
    message = str(caught.value)
    assert "\n" not in message
    return message


@ENGINES
def test_only_the_provider_asked_for_may_compute(runtime, artefact, engine) -> None:
    loaded = engine(artefact, 2)
    (session,) = runtime.sessions

    assert session.asked == loaded.provider and session.asked != CPU
    assert session.options.entries == {"session.disable_cpu_ep_fallback": "1"}
    assert session.options.intra_op_num_threads == 2
    # ONNX Runtime would make the session again on the CPU when one, or a run of it, fails.
    assert session.fallback is False
    assert loaded.copies_apart and loaded.version == "1.31.1"
    assert runtime.preloaded == 1


def test_float32_is_not_computed_in_fewer_bits(runtime, artefact) -> None:
    CudaEngine(artefact, 1)
    TensorrtEngine(artefact, 1)
    cuda, tensorrt = (session.provider_options for session in runtime.sessions)

    assert cuda["use_tf32"] is False and os.environ["NVIDIA_TF32_OVERRIDE"] == "0"
    assert not tensorrt["trt_fp16_enable"] and not tensorrt["trt_int8_enable"]
    assert not tensorrt["trt_engine_cache_enable"] and not tensorrt["trt_timing_cache_enable"]


@ENGINES
def test_a_session_that_came_up_on_the_cpu_is_refused(runtime, artefact, engine) -> None:
    runtime.really = [CPU]

    assert CPU in refused(EngineError, engine, artefact, 1)
    with pytest.raises(MissingEngineError, match=f"{engine.provider} cannot start.*{CPU}"):
        engine.probe()
    assert "bound" not in runtime.events


@ENGINES
def test_what_falls_to_the_cpu_is_named(runtime, artefact, engine) -> None:
    runtime.refusal = (
        "[ONNXRuntimeError] : 1 : FAIL : This session contains graph nodes that are assigned to "
        "the default CPU EP, but fallback to CPU EP has been explicitly disabled by the user."
    )
    plain = refused(EngineError, engine, artefact, 1)
    assert "does not take every node" in plain and "disabled by the user" in plain
    runtime.refusal = "[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : Protobuf parsing failed."
    assert "refuses the artefact" in refused(EngineError, engine, artefact, 1)


def test_the_operators_that_fall_to_the_cpu_are_named(runtime, artefact, monkeypatch) -> None:
    refusing = FakeRuntime.InferenceSession.__init__

    def init(self, path, options, **rest) -> None:
        refusing(self, path, options, **rest)
        if "session.disable_cpu_ep_fallback" in options.entries and isinstance(path, str):
            raise RuntimeError("graph nodes that are assigned to the default CPU EP")

    monkeypatch.setattr(FakeRuntime.InferenceSession, "__init__", init)
    assert refused(EngineError, CudaEngine, artefact, 1).endswith("the CPU would compute Shape")


@ENGINES
@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("libcublasLt.so.13", "CUDA cannot be loaded: libcublasLt.so.13: cannot open"),
        ("libcudnn.so.9", "cuDNN cannot be loaded: libcudnn.so.9: cannot open"),
    ],
)
def test_a_library_that_is_missing_is_named_before_a_session_is_made(
    runtime, driver, artefact, monkeypatch, engine, missing, said
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", fake_gpu.libraries(driver, missing))
    message = refused(MissingEngineError, engine, artefact, 1)

    assert message.startswith(said)
    assert message.endswith("pip install onnxruntime-gpu[cuda,cudnn]")
    assert not runtime.sessions
    monkeypatch.setattr(ctypes, "CDLL", fake_gpu.libraries(driver, "libcufft"))
    assert engine(artefact, 1).version  # nothing needs it


@ENGINES
def test_libraries_are_found_where_python_finds_their_packages(
    runtime, driver, artefact, monkeypatch, tmp_path, engine
) -> None:
    """onnxruntime lies in a folder of its own, NVIDIA's packages in site-packages."""
    site = tmp_path / "site-packages"
    library = site / "nvidia" / "cu13" / "lib" / "libcublasLt.so.13"
    library.parent.mkdir(parents=True)
    library.touch()
    loaded: list[str] = []

    def load(name: str, *arguments) -> object:
        if name == library.name and str(library) not in loaded:
            raise OSError(f"{name}: cannot open shared object file")
        loaded.append(name)
        return fake_gpu.libraries(driver)(name)

    monkeypatch.setattr(ctypes, "CDLL", load)
    assert library.name in refused(MissingEngineError, engine, artefact, 1)
    monkeypatch.syspath_prepend(site)
    assert engine(artefact, 1).version
    assert loaded.index(str(library)) < loaded.index(library.name)


def test_a_provider_that_cannot_start_is_not_the_artefact_s_fault(
    runtime, driver, artefact, monkeypatch, tmp_path
) -> None:
    runtime.broken = "nodes that are assigned to the default CPU EP"
    runtime.__file__ = str(tmp_path / "onnxruntime" / "__init__.py")
    library = tmp_path / "onnxruntime" / "capi" / "libonnxruntime_providers_tensorrt.so"
    library.parent.mkdir(parents=True)
    library.touch()

    def load(name: str, *arguments) -> object:
        if name == str(library):
            raise OSError("libnvinfer.so.10: cannot open shared object file")
        return fake_gpu.libraries(driver)(name)

    monkeypatch.setattr(ctypes, "CDLL", load)
    message = refused(MissingEngineError, TensorrtEngine, artefact, 1)
    assert "libnvinfer.so.10" in message and "tensorrt" in message
    assert CUDA in refused(MissingEngineError, CudaEngine, artefact, 1)


def test_without_a_driver_or_a_gpu_that_is_the_reason(
    runtime, driver, artefact, monkeypatch
) -> None:
    driver.cuda = 12040
    message = refused(MissingEngineError, CudaEngine, artefact, 1)
    assert "driver is too old: it runs CUDA 12.4, onnxruntime 1.31.1 needs 13.0" in message
    gpu.describe_gpu.cache_clear()
    driver.devices = 0
    assert "no GPU" in refused(MissingEngineError, CudaEngine, artefact, 1)
    driver.codes["cuInit"] = 100
    message = refused(MissingEngineError, TensorrtEngine, artefact, 1)
    assert message.endswith("cuInit gives 100 (CUDA_ERROR_NO_DEVICE)")
    monkeypatch.setattr(ctypes, "CDLL", fake_gpu.libraries(None))
    message = refused(MissingEngineError, CudaEngine, artefact, 1)
    assert message == "no NVIDIA driver: libcuda.so.1 cannot be loaded"
    assert not runtime.sessions


def test_the_package_for_the_cpu_is_told_from_the_one_for_gpus(runtime, artefact) -> None:
    runtime.available = ["AzureExecutionProvider", CPU]
    message = refused(MissingEngineError, CudaEngine, artefact, 1)

    assert f"this onnxruntime has no {CUDA}" in message
    assert message.endswith(
        "pip uninstall onnxruntime, then pip install onnxruntime-gpu[cuda,cudnn]"
    )


@ENGINES
def test_runs_on_the_device_are_bound_there_and_waited_for(runtime, artefact, engine) -> None:
    loaded = engine(artefact, 1)
    run = loaded._bind([IMAGES])
    bound = loaded._bindings[(IMAGES.shape,)]

    assert {value.device_name() for value in (*bound._inputs, *bound._outputs)} == {"cuda"}
    output = bound._outputs[0]
    output.array[...] = 0
    run()
    assert not runtime.busy
    np.testing.assert_array_equal(output.array, 2 * IMAGES)  # the same memory every time
    assert "run" not in runtime.events
    loaded._bind([IMAGES + 1])()
    np.testing.assert_array_equal(output.array, 2 * (IMAGES + 1))
    np.testing.assert_array_equal(loaded.predict({"x": IMAGES}, 4), 2 * IMAGES)
    assert runtime.events.count("run") == 3
    runtime.outputs_lie = "cpu"
    with pytest.raises(EngineError, match="are not in the GPU's memory"):
        loaded._bind([IMAGES[:2]])


@pytest.mark.sampled(1)
@ENGINES
def test_a_cuda_graph_is_captured_for_each_batch_size(runtime, artefact, engine) -> None:
    loaded = engine(artefact, 1, True)
    (session,) = runtime.sessions
    names = {CUDA: "enable_cuda_graph", TENSORRT: "trt_cuda_graph_enable"}

    assert session.provider_options[names[loaded.provider]] is True
    # A graph that was replayed for another size, or on other memory, would give other scores.
    for images in (IMAGES, IMAGES[::-1].copy(), IMAGES + 7):
        np.testing.assert_array_equal(loaded.predict({"x": images}, 4), 2 * images)
    assert len(session.graphs) == 2  # of 4 rows, and of the 2 that are left
    assert "run" not in runtime.events
    times = loaded.measure(Rows({"x": IMAGES}, 5, False), warmup=1, runs=3)
    assert len(times) == 3 and len(session.graphs) == 3 and not runtime.busy
    assert runtime.events[-1] == "bound 3"
    assert not engine(artefact, 1)._provider_options(artefact)[names[loaded.provider]]


def test_a_run_that_cannot_be_captured_is_said_so(runtime, artefact) -> None:
    runtime.no_capture = True
    loaded = CudaEngine(artefact, 1, True)
    with pytest.raises(EngineError, match=r"cannot be captured as a CUDA graph.*is capturing"):
        loaded.predict({"x": IMAGES}, 4)
    runtime.refusal = (
        "This session cannot use the graph capture feature as requested by the user as the model "
        "has control flow nodes"
    )
    assert "cannot be run as a CUDA graph" in refused(EngineError, CudaEngine, artefact, 1, True)


def test_tensorrt_computes_a_file_in_the_types_that_it_is_in(runtime, tmp_path) -> None:
    onnx = importlib.import_module("onnx")
    make, types = onnx.helper, onnx.TensorProto

    def options(kind: int, *nodes: tuple[str, list[str], list[str]]) -> tuple[bool, bool]:
        graph = make.make_graph(
            [make.make_node(*node) for node in nodes],
            "graph",
            [make.make_tensor_value_info("x", types.FLOAT, ["batch", 3])],
            [make.make_tensor_value_info("y", types.FLOAT, ["batch", 3])],
            [make.make_tensor("kernel", kind, [3, 3], np.eye(3).ravel().tolist())],
        )
        path = tmp_path / "any.onnx"
        onnx.save(make.make_model(graph), str(path))
        given = TensorrtEngine(str(path), 1)._provider_options(str(path))
        return given["trt_fp16_enable"], given["trt_int8_enable"]

    product = ("MatMul", ["x", "kernel"], ["y"])
    unpack = ("Cast", ["kernel"], ["wide"])
    half, whole = types.FLOAT16, types.INT8
    assert options(types.FLOAT, product) == (False, False)
    assert options(half, product) == (True, False)
    # Stored in half the bytes, computed in float32.
    assert options(half, unpack, ("MatMul", ["x", "wide"], ["y"])) == (False, False)
    dequantize = ("DequantizeLinear", ["kernel", "scale"], ["wide"])
    assert options(whole, dequantize, ("MatMul", ["x", "wide"], ["y"])) == (False, True)


def test_bytes_that_are_no_onnx_file_are_left_to_the_runtime(tmp_path) -> None:
    path = tmp_path / "bytes.onnx"
    make = importlib.import_module("onnx").helper
    node = make.make_node("QuantizeLinear", ["x", "scale"], ["y"])
    whole = make.make_model(make.make_graph([node], "graph", [], [])).SerializeToString()
    path.write_bytes(whole)
    assert precisions(str(path)) == (False, True)
    generator = np.random.default_rng(0)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert not precisions(str(path)).float16
    for _ in range(300):
        path.write_bytes(generator.bytes(int(generator.integers(0, 60))))
        precisions(str(path))
    assert precisions(str(tmp_path / "none")) == precisions(str(tmp_path)) == (False, False)


def test_the_gpu_is_described_and_its_memory_counted(runtime, driver, artefact) -> None:
    driver.processes = {7: 10}
    probed = CudaEngine.probe()
    loaded = CudaEngine(artefact, 1)

    assert probed["version"] == "1.31.1" and probed["provider"] == CUDA
    assert probed["device"] == loaded.device
    assert loaded.device == {
        "name": "NVIDIA Toy",
        "driver": "580.65.06",
        "memory_bytes": 80 * 2**30,
        "compute_capability": "9.0",
        "cuda": "13.2",
        "cudnn": "9.10.2",
    }
    assert loaded.device_memory_bytes() is None  # not listed, and no one new
    driver.processes = {
        7: 10,
        4_242_424_242: 3 * 2**20,
    }  # as in a container: by a number of the host
    assert loaded.device_memory_bytes() == 3 * 2**20
    driver.processes = {7: 10, 4_242_424_242: 3 * 2**20, 4_242_424_343: 5}
    assert loaded.device_memory_bytes() is None
    driver.processes |= {os.getpid(): 11}
    assert loaded.device_memory_bytes() == 11
    driver.codes["nvmlDeviceGetComputeRunningProcesses_v3"] = 999
    assert loaded.device_memory_bytes() is None


def test_a_gpu_is_described_without_nvml(driver, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(ctypes, "CDLL", fake_gpu.libraries(driver, "libnvidia-ml"))
    file = tmp_path / "version"
    file.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.1.2  Mon Jan 1 00:00:00\n")
    monkeypatch.setattr(gpu, "_DRIVER_FILE", file)

    assert gpu.describe_gpu()["driver"] == "570.1.2" and gpu.gpu_memory_bytes() is None
    gpu.describe_gpu.cache_clear()
    monkeypatch.setattr(gpu, "_DRIVER_FILE", Path(tmp_path, "none"))
    assert gpu.describe_gpu()["driver"] is None
