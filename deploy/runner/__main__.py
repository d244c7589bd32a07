"""The device program: `python -I runner.pyz COMMAND`; of a bundle, `python -I NAME.bundle COMMAND`.

Only the module of the command that was asked for is imported: on a device each one is compiled at
every start.
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
from deploy.runner.source import CONVENIENCE, BundleSource, trusted_keys
from deploy.standard_streams import open_standard_streams, settle_standard_streams

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

`add_installed_arguments(parser)` adds those that a bundle that runs itself does not have.
"""

OF_THE_RUNNER = ("store", "compile", "protocol")
"""Commands that are about no bundle, and that a bundle does not have."""
TRUSTING_NONE = ("compile", "protocol")
"""Those that open no bundle."""

_FAILED, _USAGE, _MISSING, _INTERRUPTED = 1, 2, 3, 130


def main(argv: Sequence[str] | None = None, *, bundle: Path | None = None) -> int:
    """Execute a command line, by default that of the process; `bundle` is the one that runs itself.

    Returns the exit code: 0 done, 1 a check failed, 2 bad input, 3 the runtime is not there or is
    another, 130 interrupted.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    open_standard_streams()
    try:
        code = _execute(given, bundle)
        sys.stdout.flush()
        return code
    except DeployError as error:
        _say(f"error: {error}")
        return _exit_code(error)
    except ModuleNotFoundError as error:
        if error.name != "numpy":
            raise
        _say("error: numpy is not there; pip install numpy")
        return _MISSING
    except KeyboardInterrupt:
        _say("error: interrupted")
        return _INTERRUPTED
    except BrokenPipeError:  # whoever read the output is gone
        return 0
    except OSError as error:
        _say(f"error: {DeployError('the system refuses', value=error)}")
        return _USAGE
    except MemoryError:
        _say("error: memory has run out")
        return _FAILED
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
        # A server may have its bundle from a store.
        count = "?" if command == "serve" else None
        parser.add_argument("bundle", type=Path, metavar="BUNDLE", nargs=count, help="the bundle")
    if bundle is None and command not in TRUSTING_NONE:
        parser.add_argument(
            *("--key", "-k"),
            metavar="PUB",
            type=Path,
            action="append",
            default=[],
            help="trust bundles signed by this public key, too (repeatable)",
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
    """A parser whose refusals are one line."""

    def error(self, message: str) -> NoReturn:
        """End with the line, and exit code 2."""
        _say(f"error: {DeployError(message, hint=f'see {self.prog} --help')}")
        sys.exit(_USAGE)


class _Help(argparse.HelpFormatter):
    """Help whose lines are of one width on every device."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=88)


def _overview(argv: list[str], known: list[str], bundle: Path | None) -> int:
    """Without a command: what there is, or that it is none of them."""
    if argv and argv[0] not in ("-h", "--help"):
        hint = f"one of {', '.join(known)}"
        _say(f"error: {DeployError('no command of this program', value=argv[0], hint=hint)}")
        return _USAGE
    lines = [f"usage: {_program(bundle)} COMMAND ...", ""]
    for name in known:
        if importlib.util.find_spec(COMMANDS[name]) is not None:
            module = importlib.import_module(COMMANDS[name])
            lines.append(f"  {name:<10}{_summary(module, bundle)}")
    lines += ["", f"{_program(bundle)} COMMAND --help says more."]
    if bundle is not None:
        lines += [CONVENIENCE + "."]
    print("\n".join(lines), file=sys.stdout if argv else sys.stderr)
    return 0 if argv else _USAGE


def _summary(module: ModuleType, bundle: Path | None) -> str:
    """What a command does; of a bundle that runs itself, which has no key to trust."""
    found: str = getattr(module, "OWN_SUMMARY", module.SUMMARY) if bundle else module.SUMMARY
    return found


def _program(bundle: Path | None) -> str:
    return f"python -I {bundle.name}" if bundle else "runner"


def _exit_code(error: DeployError) -> int:
    if isinstance(error, MissingEngineError):
        return _MISSING
    return _FAILED if isinstance(error, EngineError) else _USAGE


def _say(line: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # nobody may read it
        print(line, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
