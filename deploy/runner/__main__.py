"""The device program: `python -I runner.pyz COMMAND`; of a bundle, `python -I NAME.bundle COMMAND`.

Only the module of the given command is imported: a device compiles each one at every start.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from deploy.errors import DeployError, EngineError, MissingEngineError
from deploy.interrupts import Terminated, unwinding
from deploy.runner.source import CONVENIENCE, BundleSource, trusted_keys
from deploy.standard_streams import open_standard_streams, settle_standard_streams
from deploy.text import clean

COMMANDS = {
    "verify": "deploy.runner.commands.verify",
    "run": "deploy.runner.commands.run",
    "bench": "deploy.runner.commands.bench",
    "serve": "deploy.runner.commands.serve",
    "store": "deploy.runner.commands.store",
    "compile": "deploy.runner.commands.compile",
    "protocol": "deploy.runner.commands.protocol",
}
"""Command -> its module: SUMMARY, add_arguments(parser), execute(arguments, source).

`add_installed_arguments(parser)` adds what a self-running bundle does not have.
"""

OF_THE_RUNNER = ("store", "compile", "protocol")
"""Commands that a self-running bundle does not have."""
TRUSTING_NONE = ("compile", "protocol")
"""Commands that open no bundle."""

_FAILED, _USAGE, _MISSING, _INTERRUPTED = 1, 2, 3, 130


def main(argv: Sequence[str] | None = None, *, bundle: Path | None = None) -> int:
    """Execute a command line, by default that of the process; `bundle` is a self-running one.

    Returns the exit code: 0 done, 1 a check failed, 2 bad input, 3 the runtime is not installed or
    of another version, 130 interrupted.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    open_standard_streams()
    try:
        with unwinding():
            code = _execute(given, bundle)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt as stopped:
        _say("error: interrupted")
        return stopped.exit_code if isinstance(stopped, Terminated) else _INTERRUPTED
    except BrokenPipeError:  # the reader of the output is gone
        return 0
    except (DeployError, ModuleNotFoundError, OSError, MemoryError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name != "numpy":
            raise
        told = DeployError.of(error)
        _say(f"error: {told}")
        if isinstance(told, MissingEngineError):
            return _MISSING
        return _FAILED if isinstance(error, (EngineError, MemoryError)) else _USAGE
    finally:
        settle_standard_streams()


def _execute(argv: list[str], bundle: Path | None) -> int:
    command = argv[0] if argv else ""
    known = [name for name in COMMANDS if bundle is None or name not in OF_THE_RUNNER]
    if command not in known:
        return _overview(argv, known, bundle)
    module = importlib.import_module(COMMANDS[command])
    arguments = _parse(command, module, argv[1:], bundle)
    if command in TRUSTING_NONE:
        return int(module.execute(arguments, BundleSource(None, ())))
    keys = trusted_keys(arguments.key) if bundle is None else None
    named = getattr(arguments, "bundle", None)
    return int(module.execute(arguments, BundleSource(bundle or named, keys)))


def _parse(
    command: str, module: ModuleType, argv: list[str], bundle: Path | None
) -> argparse.Namespace:
    parser = _Parser(
        prog=f"{_program(bundle)} {command}",
        description=getattr(module, "DESCRIPTION", _summary(module, bundle)),
        epilog=CONVENIENCE if bundle else None,
        formatter_class=argparse.RawDescriptionHelpFormatter if command == "protocol" else _Help,
        allow_abbrev=False,
    )
    if bundle is None and command not in OF_THE_RUNNER:
        # serve may take its bundle from a store.
        count = "?" if command == "serve" else None
        parser.add_argument("bundle", type=Path, metavar="BUNDLE", nargs=count, help="the bundle")
    if bundle is None and command not in TRUSTING_NONE:
        parser.add_argument(
            *("--key", "-k"),
            metavar="PUB",
            type=Path,
            action="append",
            default=[],
            help="also trust bundles signed by this public key (repeatable)",
        )
    module.add_arguments(parser)
    if bundle is None and hasattr(module, "add_installed_arguments"):
        module.add_installed_arguments(parser)
    try:
        return parser.parse_args(argv)
    except SystemExit:  # after --help
        sys.stdout.flush()
        raise


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        _say(f"error: {DeployError(message, hint=f'see {self.prog} --help')}")
        sys.exit(_USAGE)


class _Help(argparse.HelpFormatter):
    """Help of the same width on every device."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=88)


def _overview(argv: list[str], known: list[str], bundle: Path | None) -> int:
    """Print the commands, or that the given one is unknown."""
    if argv and argv[0] not in ("-h", "--help"):
        hint = f"one of {', '.join(known)}"
        _say(f"error: {DeployError('unknown command', value=argv[0], hint=hint)}")
        return _USAGE
    lines = [f"usage: {_program(bundle)} COMMAND ...", ""]
    for name in known:
        if importlib.util.find_spec(COMMANDS[name]) is not None:
            module = importlib.import_module(COMMANDS[name])
            lines.append(f"  {name:<10}{_summary(module, bundle)}")
    lines += ["", f"See {_program(bundle)} COMMAND --help."]
    if bundle is not None:
        lines += [CONVENIENCE + "."]
    print("\n".join(lines), file=sys.stdout if argv else sys.stderr)
    return 0 if argv else _USAGE


def _summary(module: ModuleType, bundle: Path | None) -> str:
    found: str = getattr(module, "OWN_SUMMARY", module.SUMMARY) if bundle else module.SUMMARY
    return found


def _program(bundle: Path | None) -> str:
    return f"python -I {clean(bundle.name)}" if bundle else "runner"


def _say(line: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # standard error may be closed
        print(line, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
