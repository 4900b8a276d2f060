"""The table of the model's faults still fits: `make faults` can put each of them into a copy of the sources."""

import ast

import pytest

from model_faults import FAULTS, SOURCES, numbered_tests


def test_every_fault_is_there_and_has_tests():
    assert [fault.number for fault in FAULTS] == sorted(numbered_tests()) == list(range(1, 26))
    assert all(fault.edits and fault.tests for fault in FAULTS)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: str(fault.number))
def test_every_edit_changes_what_stands_once_in_its_file(fault):
    texts = {edit.path: (SOURCES / edit.path).read_text("utf-8") for edit in fault.edits}
    for edit in fault.edits:
        assert edit.new != edit.old
        assert texts[edit.path].count(edit.old) == 1, f"{edit.path}: {edit.old}"
        texts[edit.path] = edit.applied(texts[edit.path])
    for path, text in texts.items():
        ast.parse(text, path)


def test_an_edit_that_does_not_fit_is_refused():
    edit = FAULTS[0].edits[0]
    for times in (0, 2):
        with pytest.raises(ValueError, match=f"has this {times} times"):
            edit.applied(edit.old * times)
