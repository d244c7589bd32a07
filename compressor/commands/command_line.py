"""The `compressor` command: its commands, in sections, and how each of them ends."""

from __future__ import annotations

import atexit
import codecs
import contextlib
import gc
import os
import sys
import traceback
from typing import NoReturn

import click

import compressor
from compressor.commands.benching import bench
from compressor.commands.deploying import deploy, runner
from compressor.commands.devices import devices
from compressor.commands.exporting import export, runtimes
from compressor.commands.importing import import_command
from compressor.commands.inspecting import inspect
from compressor.commands.output import say
from compressor.commands.packaging import keygen, package, verify
from compressor.commands.parameters import SETTINGS
from compressor.commands.pruning import prune, sensitivity, shrink
from compressor.commands.reporting import report
from compressor.commands.searching import apply, search
from compressor.commands.sections import SectionedGroup
from compressor.commands.training import evaluate, sparsify, sweep, train
from compressor.errors import CompressorError
from compressor.foundation import NativeOutput
from deploy.interrupts import Terminated, unwinding
from deploy.standard_streams import open_standard_streams, settle_standard_streams

INTERRUPTED = 130
_SIGNALS = 128
"""Larger exit codes are those of signals."""


@click.group(
    cls=SectionedGroup,
    context_settings=SETTINGS,
    epilog="`compressor COMMAND --help` shows options and examples. For tab completion in bash: "
    'eval "$(_COMPRESSOR_COMPLETE=bash_source compressor)" (also zsh_source and fish_source).',
)
@click.version_option(compressor.__version__, "-V", "--version", message="%(prog)s %(version)s")
def cli() -> None:
    """Make trained Keras models small and fast, without losing accuracy.

    Most of the weights are removed, the model is exported to TFLite or ONNX, and the exported file
    is verified and measured in the runtime that will execute it. Three commands take a model of
    your own all the way:

    \b
      # Remove 90 % of the weights, and retrain the rest.
      compressor prune model.keras --data data.npz -o pruned
      # Write a small file, verified in its runtime.
      compressor export pruned --data data.npz -o small.tflite
      # Measure its size, accuracy and latency.
      compressor bench small.tflite --data data.npz
    """


cli.add_section("Make small", search, import_command, prune, sensitivity, shrink, export, apply)
cli.add_section("Prove and measure", bench, inspect, report, runtimes)
cli.add_section("Ship", devices, package, verify, keygen, runner, deploy)
cli.add_section("Reproduce the paper", sweep, train, sparsify, evaluate)


def main() -> NoReturn:
    """Run the command line: bad input ends in one line and exit code 2, Ctrl-C in code 130."""
    open_standard_streams()
    _read_names_as_utf8()
    # Else all that TensorFlow imported would be gone through once more when the process ends.
    atexit.register(gc.freeze)
    native = NativeOutput()
    try:
        with unwinding():
            code = cli.main(prog_name="compressor", standalone_mode=False, obj=native)
    except (KeyboardInterrupt, click.exceptions.Abort) as stopped:
        # Click wraps what it caught in an Abort of its own.
        cause = stopped.__cause__ or stopped
        kept = str(cause) or "finished work is kept; run the same command to resume"
        code = cause.exit_code if isinstance(cause, Terminated) else INTERRUPTED
        _fail(f"interrupted; {kept}", code)
    except CompressorError as error:
        _fail(str(error), error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        place = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else ""
        hint = f" (see {place} --help)" if place else ""
        _fail(" ".join(error.format_message().split()) + hint, error.exit_code)
    except BrokenPipeError:
        settle_standard_streams()
        sys.exit(1)
    except OSError as error:
        reason, place = error.strerror or str(error), error.filename or "standard output"
        _fail(str(CompressorError(reason, value=place)), 2)
    except MemoryError:
        _fail("out of memory; use smaller batches or a smaller model", 2)
    except Exception:
        for line in f"{traceback.format_exc()}{native.tail()}".splitlines():
            say(line, err=True)
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)


def _read_names_as_utf8() -> None:
    """Start anew where names of files are taken for ASCII: LC_ALL=C with PYTHONUTF8=0."""
    if codecs.lookup(sys.getfilesystemencoding()).name == "ascii":
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def _fail(message: str, code: int) -> NoReturn:
    with contextlib.suppress(OSError):  # nobody may be reading
        say(message if code > _SIGNALS else f"error: {message}", err=True)
    settle_standard_streams()
    sys.exit(code)
