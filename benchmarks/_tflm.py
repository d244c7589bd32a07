"""A .tflite file in TensorFlow Lite for Microcontrollers on the emulated board of our own code.

TFLM has no release that links with a firmware. In a checkout of it,

    make -f tensorflow/lite/micro/tools/make/Makefile TARGET=cortex_m_generic \\
        TARGET_ARCH=cortex-m4 OPTIMIZED_KERNEL_DIR=cmsis_nn BUILD_TYPE=release microlite

builds the library with Arm's kernels, and gcc-arm-none-eabi builds our application with it; that
takes the C++ headers of Debian's libstdc++-arm-none-eabi-newlib, too.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from benchmarks import _cortex_m
from compressor.bundling.code import boards
from compressor.exporters.c import reference
from compressor.exporters.c.emission import emit
from compressor.exporters.c.reading import read_network
from compressor.exporters.tflite import graph as graphs
from deploy import CheckVectors
from deploy.artifact import VECTORS_SUFFIX
from deploy.compiled import levels

TARGET = "cortex-m4"
_CODE = Path(__file__).with_name("tflm.cc")
_VECTORS = 8
_ARENA = 2**20
"""bytes; what of it is used is printed"""
_BOARD = boards.EMULATED[TARGET]
_FLAGS = (
    *("-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics", "-w", "-Wl,--wrap=main"),
    *("--specs=nosys.specs", "-Wl,--defsym=end=bss_end", "-DTF_LITE_STATIC_MEMORY"),
    "-DTF_LITE_STRIP_ERROR_STRINGS",
)
_DOWNLOADS = Path("tensorflow/lite/micro/tools/make/downloads")
_HEADERS = (Path(), _DOWNLOADS / "flatbuffers/include", _DOWNLOADS / "gemmlowp")


def with_integer_ports(content: bytes) -> bytes:
    """The file without the operators that make integers of its input, and numbers of its output."""
    graph = graphs.read_graph(content)
    main = graphs.main(graph)
    kept = []
    for operator in main.operators:
        name = graphs.operator_name(graph, operator)
        given, made = graphs.indices(operator.inputs), graphs.indices(operator.outputs)
        if name == "QUANTIZE" and given == graphs.indices(main.inputs):
            main.inputs = made
        elif name == "DEQUANTIZE" and made == graphs.indices(main.outputs):
            main.outputs = given
        else:
            kept.append(operator)
    main.operators = kept
    return bytes(graphs.write_graph(graph))


def count(file: Path, library: Path, work: Path) -> _cortex_m.Counted:
    """What an application of an exported int8 .tflite file takes, with a self-test of its own.

    That holds the integers against those of the reference of our C code, for the file's check
    vectors. `library` lies in the checkout that built it, `work` is a folder for what is built.
    Raises CheckFailedError where it does not build, and FileNotFoundError where it is no checkout.
    """
    root, name = _root(library), "model"
    content = with_integer_ports(file.read_bytes())
    (work / "model.inc").write_text(",".join(map(str, content)))
    for path, text in selftest(content, file, name).items():
        (work / path).write_text(text)
    options = [
        *_cortex_m.selftest_options(work, name),
        *(f"-I{root / folder}" for folder in _HEADERS),
        *(*_FLAGS, '-DMODEL="model.inc"', f"-DARENA={_ARENA}", *_kinds(content)),
        *("-Wl,--whole-archive", str(library), "-Wl,--no-whole-archive", "-lm"),
    ]
    program = work / "tflm.elf"
    boards.build(program, [boards.PIECES / "main.c", _CODE], TARGET, _BOARD.memory, options)
    sizes = section_sizes(program)
    found = _cortex_m.run_selftest(program, [_CODE], TARGET, _BOARD, [*options, "-DSAY_ARENA"])
    beside = sizes[".data"] + sizes[".bss"] - _ARENA
    ports = found["result"] + found["inputs"] // found["vectors"]
    return _cortex_m.Counted(
        flash=sum(sizes.get(one, 0) for one in (".text", ".ARM.exidx", ".data")),
        # The application's workspace, of our code, is not used.
        workspace=beside - ports - found["memory"] + found["arena"],
        stack=found["stack"],
        ports=ports,
        instructions=_cortex_m.instructions(found),
        vectors=found["vectors"],
        wrong=found["wrong"],
    )


def selftest(content: bytes, file: Path, name: str) -> dict[str, str]:
    """The header and the self-test of C code of the file `content`, by file name, with inputs of
    the check vectors of `file`."""
    network = read_network(content)
    (given,) = CheckVectors.read(file.with_name(file.name + VECTORS_SUFFIX)).inputs.values()
    port = network.tensors[network.input]
    inputs = levels(given[:_VECTORS], port.scale, port.zero).reshape(-1, *port.shape)
    source = emit(network, name, TARGET, "latency", (inputs, reference.run(network, inputs)))
    return {path: source.files[path] for path in (f"{name}.h", f"{name}_selftest.c")}


def section_sizes(program: Path) -> dict[str, int]:
    """Bytes of each section of an ELF file."""
    command = ["arm-none-eabi-size", "-A", str(program)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {name: int(size) for name, size in re.findall(r"^(\.\S+)\s+(\d+)", printed, re.M)}


def _kinds(content: bytes) -> Sequence[str]:
    """Macros that add the operators of a file to TFLM's resolver: CONV_2D is AddConv2D."""
    graph = graphs.read_graph(content)
    names = dict.fromkeys(
        graphs.operator_name(graph, operator) for operator in graphs.main(graph).operators
    )
    calls = ";".join(f"resolver->Add{_title(name)}()" for name in names)
    return [f"-DKINDS={len(names)}", f"-DADD_KINDS={calls}"]


def _title(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_")).replace("2d", "2D")


def _root(library: Path) -> Path:
    """The checkout that a library was built in."""
    for folder in library.resolve().parents:
        if (folder / _DOWNLOADS).is_dir():
            return folder
    raise FileNotFoundError(f"{library} does not lie in a checkout of tflite-micro")
