"""``python -m fastws.compat``: a program on fastws, without a change to it."""

from __future__ import annotations

import argparse
import errno
import functools
import importlib.util
import os
import runpy
import stat
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

import fastws

from . import _hook

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a program under the hook, or tells what the hook would do; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command == "run":
        return _run(options.only, options.module, options.program)
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
        if _hook.import_name(name) not in _hook.NAMES:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(_hook.NAMES)}")
    return names


def _run(names: tuple[str, ...], is_module: bool, program: list[str]) -> int:
    if program[:1] == ["--"]:
        program = program[1:]  # what is behind it is the program, as python has it
    if not program:
        _parser().error("run what? A script, or -m and a module")
    _hook.install(*names)
    sys.argv[:] = program
    sys.excepthook = functools.partial(_excepthook, sys.excepthook)
    fault = _no_module(program[0]) if is_module else _no_script(program[0])
    if fault is not None:
        status, why = fault
        print(f"{sys.executable}: {why}", file=sys.stderr)
        return status
    if Path(program[0]).name in ("pytest", "py.test"):
        # It warns of packages with plugins that were imported before it, but for those whose docstring says this.
        fastws.__doc__ = f"{fastws.__doc__}\nPYTEST_DONT_REWRITE\n"
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
    return 0


def _no_script(path: str) -> tuple[int, str] | None:
    """Why a script cannot be run, and the exit status for that, as python has them."""
    try:
        if not stat.S_ISDIR(Path(path).stat().st_mode):
            if not os.access(path, os.R_OK):  # it is not opened: it may be a pipe, which is read once
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        elif not (Path(path) / "__main__.py").exists():
            return 1, f"can't find '__main__' module in {str(Path.cwd() / path)!r}"
    except OSError as error:
        return 2, f"can't open file {str(Path.cwd() / path)!r}: [Errno {error.errno}] {error.strerror}"
    return None


def _no_module(name: str) -> tuple[int, str] | None:
    """Why a module cannot be run, and the exit status for that, as python has them."""
    try:
        return (1, f"No module named {name}") if importlib.util.find_spec(name) is None else None
    except ModuleNotFoundError as error:
        if error.name is None or not name.startswith(f"{error.name}."):
            raise
        return 1, f"Error while finding module specification for {name!r} (ModuleNotFoundError: {error})"


def _excepthook(
    usual: Callable[..., object], kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    """Tracebacks begin with the program, and not with who runs it."""
    while traceback is not None and traceback.tb_frame.f_code.co_filename in _RUNNERS:
        traceback = traceback.tb_next
    usual(kind, error.with_traceback(traceback), traceback)


def _status() -> None:
    for name in _hook.NAMES:
        print(f"{name:12} {'installed' if _hook.is_present(name) else '-':10} {_hook.described(name)}")


_RUNNERS = (
    __file__,
    runpy.run_path.__code__.co_filename,
    "<frozen importlib._bootstrap>",
    "<frozen importlib._bootstrap_external>",
)

if __name__ == "__main__":
    sys.exit(main())
