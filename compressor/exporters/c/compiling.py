"""Compiling generated C code for this machine."""

from __future__ import annotations

from compressor.errors import MissingRuntimeError
from compressor.exporters.c.emission import Source
from compressor.foundation import temporary_folder
from compressor.runtimes import c_compiler, run_compiler

FLAGS = ("-std=c99", "-O3", "-fno-trapping-math", "-fPIC", "-shared", "-fvisibility=hidden")


def compile_library(source: Source) -> bytes:
    """A shared library of the code, by the C compiler of this machine.

    The same code and compiler give the same bytes. Raises MissingRuntimeError without a compiler,
    CheckFailedError where it refuses the code.
    """
    compiler = c_compiler()
    if compiler is None:
        raise MissingRuntimeError(
            "there is no C compiler to verify the code with",
            hint="install gcc or clang, or name one in CC",
        )
    with temporary_folder("compressor-c-") as folder:
        for name, content in source.files.items():
            (folder / name).write_text(content)
        files = [f"{source.name}.c", f"{source.name}_library.c"]
        run_compiler([compiler, *FLAGS, "-o", "library.so", *files], folder)
        return (folder / "library.so").read_bytes()
