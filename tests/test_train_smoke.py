"""The whole way, shortened: free stills -> scenes -> a fitted net -> a bundle -> real sequences."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT

pytest.importorskip("torch", reason="needs edgetrack[train]")
pytest.importorskip("litert_torch", reason="needs edgetrack[convert-torch]")


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("CI"), reason="takes five minutes and the network: CI alone")
@pytest.mark.skipif(not shutil.which("apt-get"), reason="needs apt-get")
def test_three_hundred_steps_beat_a_box_that_stays(shared, tmp_path):
    environment = {**os.environ, "PYTHON": sys.executable, "STEPS": "300", "OMP_NUM_THREADS": "1"}
    words = [ROOT / "scripts" / "train-tracker", "--smoke", tmp_path, shared / "sot"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines() if " mean of " in line]
    overlap = {row[0].rpartition("/")[2]: float(row[row.index("r10") + 1]) for row in rows}
    assert overlap["track-stateless"] > overlap["stays"] + 0.05
