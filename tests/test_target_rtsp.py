"""The daemon and an RTSP camera, both as processes of their own; the claims are in the script."""

import subprocess
import sys

import pytest

from tests.conftest import ENVIRONMENT, ROOT

SCRIPT = ROOT / "scripts" / "target" / "rtsp"


@pytest.mark.target
@pytest.mark.slow
def test_every_claim_about_an_rtsp_camera_that_fails_holds():
    done = subprocess.run(
        [SCRIPT, sys.executable], env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    if done.returncode == 77:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    rows = done.stdout.splitlines()
    assert len(rows) > 13
    assert all(row.startswith("ok: ") for row in rows)


def test_a_python_that_is_not_there_is_refused():
    done = subprocess.run([SCRIPT, "no-such"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "rtsp: no-such: is no program; name a Python that has edgetrack\n"
