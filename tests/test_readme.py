"""What the README shows must work as it stands there."""

import re

import pytest

from edge.cli import main
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("code", SNIPPETS)
def test_every_python_example_runs(code, capsys):
    exec(compile(code, "README.md", "exec"), {})  # the point is to run what people copy
    assert "Error" not in capsys.readouterr().out


def test_there_are_examples():
    assert len(SNIPPETS) == 3


@pytest.mark.parametrize("command", sorted(set(re.findall(r"edgetrack ([a-z]+)", README))))
def test_every_command_that_is_named_exists(command, capsys):
    if command in ("is", "and"):
        pytest.skip("a sentence")
    assert main([command, "--help"]) == 0
    assert "usage:" in capsys.readouterr().out


def test_every_page_and_script_that_is_named_exists():
    for name in re.findall(r"\((docs/[\w.-]+)\)", README) + re.findall(r"scripts/[\w-]+", README):
        assert (ROOT / name).exists(), name
