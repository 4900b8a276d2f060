"""``python -m fastws.compat``: a program on fastws, without a change to it."""

from __future__ import annotations

import argparse
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from . import _hook

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a program under the hook, or tells what the hook would do; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command == "run":
        _run(options.only, options.module, options.program)
    else:
        _status()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fastws.compat",
        description="Runs programs that were written for other WebSocket libraries on fastws.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="run | status")
    run = commands.add_parser(
        "run",
        usage="python -m fastws.compat run [--only NAMES] (script.py | -m module) [argument ...]",
        help="run a script or a module on fastws",
        description="Runs a script or a module as python itself does, with fastws in the place of other libraries.",
    )
    run.add_argument(
        "--only",
        type=_names,
        metavar="NAMES",
        default=(),
        help=f"replace these, by comma, instead of all that are installed of {', '.join(_hook.NAMES)}; one that is not "
        "installed is fastws as a whole",
    )
    run.add_argument("-m", dest="module", action="store_true", help="the program is a module, such as pytest")
    run.add_argument("program", nargs=argparse.REMAINDER, metavar="program", help="the program and its arguments")
    commands.add_parser("status", help="what is installed here, and what run would replace")
    return parser


def _names(text: str) -> tuple[str, ...]:
    names = tuple(filter(None, text.split(",")))
    for name in names:
        if name not in _hook.NAMES:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(_hook.NAMES)}")
    return names


def _run(names: tuple[str, ...], is_module: bool, program: list[str]) -> None:
    if not program:
        _parser().error("run what? A script, or -m and a module")
    _hook.install(*names)
    sys.argv[:] = program
    try:
        if is_module:
            runpy.run_module(program[0], run_name="__main__", alter_sys=True)
        else:
            if not sys.flags.safe_path:
                sys.path[0] = str(Path(program[0]).resolve().parent)
            runpy.run_path(program[0], run_name="__main__")
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in _hook.NAMES and missing not in _hook.installed():
            error.add_note(f"{missing} is not installed; `run --only {missing} …` lets fastws stand for all of it")
        raise


def _status() -> None:
    for name in _hook.NAMES:
        print(f"{name:12} {'installed' if _hook.is_present(name) else '-':10} {_hook.described(name)}")


if __name__ == "__main__":
    sys.exit(main())
