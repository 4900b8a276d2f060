"""What the stub says of the native classes is what `help()` says."""

import ast
import inspect
from pathlib import Path

import pytest

import fastws
from fastws import _core

STUB = Path(fastws.__file__).with_name("_core.pyi")


def documented():
    for node in ast.parse(STUB.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            kind = getattr(_core, node.name, None)
            if kind is None:
                continue  # a class of the stub's own
            if text := ast.get_docstring(node):
                yield pytest.param(kind, text, id=node.name)
            for member in node.body:
                if isinstance(member, ast.FunctionDef) and (text := ast.get_docstring(member)):
                    yield pytest.param(getattr(kind, member.name), text, id=f"{node.name}.{member.name}")


@pytest.mark.parametrize(("thing", "text"), [*documented()])
def test_help_says_what_the_stub_says(thing, text):
    assert inspect.getdoc(thing) == text
