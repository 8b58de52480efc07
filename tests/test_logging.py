"""What is said on stderr: plain for people, with priorities where the journal reads."""

import re
import subprocess
import sys

import pytest

from tests.conftest import ENVIRONMENT

SAYS = """
import logging, sys, threading
from edge import cli
cli._begin_log(logging.DEBUG)
log = logging.getLogger("edge.test")
{}
"""


def said(tmp_path, words, *, journal=True, code=None):
    """The lines that a process leaves on a stderr that is, or is not, the journal's."""
    with (tmp_path / "stderr").open("w+") as file:
        there = (tmp_path / "stderr").stat()
        stream = f"{there.st_dev}:{there.st_ino if journal else there.st_ino + 1}"
        program = words if code is None else [sys.executable, "-c", SAYS.format(code)]
        environment = ENVIRONMENT | {"JOURNAL_STREAM": stream}
        subprocess.run(program, stderr=file, env=environment, check=False, timeout=60)
        file.seek(0)
        return file.read().splitlines()


@pytest.mark.parametrize(
    ("level", "rank"),
    [("debug", 7), ("info", 6), ("warning", 4), ("error", 3), ("critical", 2)],
)
def test_every_line_has_the_priority_of_its_level(level, rank, tmp_path):
    lines = said(tmp_path, None, code=f"log.{level}('one\\ntwo')")
    assert lines == [f"<{rank}>edge.test: one", f"<{rank}>two"]


def test_without_the_journal_a_line_names_its_level(tmp_path):
    lines = said(tmp_path, None, journal=False, code="log.warning('it is hot')")
    assert lines == ["WARNING edge.test: it is hot"]


@pytest.mark.parametrize(
    "code", ["1 / 0", "threading.Thread(target=lambda: 1 / 0).start()"], ids=["main", "thread"]
)
def test_a_fault_of_ours_is_critical_to_the_last_line_of_its_traceback(code, tmp_path):
    lines = said(tmp_path, None, code=code)
    assert lines[0] == "<2>edgetrack: a fault of edgetrack"
    assert lines[-1] == "<2>ZeroDivisionError: division by zero"
    assert all(re.match("<2>", line) for line in lines)


def test_a_refusal_is_an_error_in_the_journal(tmp_path):
    words = [sys.executable, "-m", "edge", "run", str(tmp_path / "none.toml")]
    (line,) = said(tmp_path, words)
    assert line.startswith(f"<3>edgetrack: {tmp_path}/none.toml: No such file or directory")
    (line,) = said(tmp_path, words, journal=False)
    assert line.startswith("edgetrack: ")
