"""Text that goes to people: names of files are hostile."""

from __future__ import annotations

import logging
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.text import (
    field_text,
    keep_logs_printable,
    markdown_cell,
    markdown_text,
    name_key,
    normal,
    printable,
    printable_lines,
    shares_of,
)


@given(st.text(max_size=60), st.text(max_size=60))
def test_escaped_text_is_one_field_of_one_line(text, other):
    """And two texts never become the same."""
    line = field_text(text)
    assert line.isprintable()
    assert "|" not in line
    assert (line == field_text(other)) == (text == other)


@given(st.text(max_size=60))
def test_every_form_is_one_line_without_commands(text):
    """For terminals, logs and pages alike; and what is printable stays readable in a terminal."""
    for form in (printable, field_text, markdown_text, markdown_cell):
        assert form(text).isprintable()
    if text.isprintable():
        assert printable(text) == text


@given(st.text(alphabet="[]()<>`*_&@~|ab./:", max_size=40))
def test_a_cell_holds_no_markup(text):
    """Neither links nor tags nor code."""
    assert not set(markdown_cell(text)) & set("[]<>`*&@~|")


@given(st.text(max_size=40))
def test_names_of_one_key_differ_in_case_and_form_alone(text):
    """And the key of a key is itself."""
    assert name_key(name_key(text)) == name_key(text)
    assert name_key(normal(text)) == name_key(text)


@given(st.text(max_size=60))
def test_lines_keep_their_number_and_hold_no_commands(text):
    """A traceback stays a traceback."""
    shown = printable_lines(text)
    assert shown.count("\n") == text.count("\n")
    assert shown.replace("\n", "").replace("\t", "").isprintable()


@given(st.text(max_size=60), st.sampled_from(["tasks.video", "flows", "prefect.flow_runs", "root"]))
def test_no_line_of_a_log_holds_what_a_terminal_obeys(name, logger):
    """Whatever handler shows it: in the message, as a part of it, and in the words of an error that comes with it."""
    before = logging.getLogRecordFactory()
    keep_logs_printable()
    try:
        try:
            raise ValueError(name)
        except ValueError:
            error = sys.exc_info()
        made = logging.getLogger(logger).makeRecord(logger, logging.ERROR, "", 0, "%s is bad", (name,), error)
        shown = logging.Formatter("%(message)s").format(made)
        bare = logging.getLogger(logger).makeRecord(logger, logging.ERROR, "", 0, name.replace("%", ""), (), None)
    finally:
        logging.setLogRecordFactory(before)
    for text in (shown, bare.getMessage()):
        assert text.replace("\n", "").replace("\t", "").isprintable()
    if logger != "root" and not logger.startswith("prefect"):
        # A line of ours is one line: a name cannot forge the next one.
        assert "\n" not in made.getMessage()


@pytest.mark.parametrize("text", ["", "70", "0/100", "a/b", "70/15/10/5", "-70/30", "70.5/29.5"])
def test_other_shares_are_refused(text):
    """With an example of each form."""
    with pytest.raises(ValueError, match="70/15/15"):
        shares_of(text)
