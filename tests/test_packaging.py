"""What is built, and that it is enough: the wheel is installed as a service's program and runs."""

import json
import os
import subprocess
import sysconfig
import tarfile
import zipfile
from email import message_from_bytes

import pytest

from tests.conftest import ROOT

INSTALL = ROOT / "scripts" / "install-service"
MODELS = {"face", "face-near", "motion", "track", "track-stateless"}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder with a wheel and a source archive of this checkout."""
    folder = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [ROOT / "scripts" / "build-wheel", folder], capture_output=True, text=True, check=False
    )
    if "No matching distribution" in done.stderr:
        pytest.skip("pip finds no package `build` here, or no setuptools")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(built):
    (path,) = built.glob("edgetrack-*-py3-none-any.whl")
    return path


def tracked(*folders):
    """What a build may take: files that git knows or does not ignore, and that are there."""
    words = ["git", "ls-files", "-co", "--exclude-standard", *folders]
    names = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return {name for name in names.splitlines() if (ROOT / name).is_file()}


def test_the_wheel_has_every_file_of_edge_and_convert_and_no_other(wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == tracked("edge", "convert")


def test_the_wheel_has_the_models_the_unit_and_the_licences(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    manifests = {name.split("/")[2] for name in names if name.endswith("/manifest.json")}
    assert manifests == MODELS
    assert {"edge/service/edgetrack@.service", "edge/service/camera.toml"} <= names
    licences = {name.split("/licenses/")[1] for name in names if "/licenses/" in name}
    assert licences == {"LICENSE", "NOTICE"}


def test_the_wheel_names_what_it_needs_and_its_commands(wheel):
    with zipfile.ZipFile(wheel) as file:
        (info,) = {name.split("/")[0] for name in file.namelist() if ".dist-info/" in name}
        metadata = message_from_bytes(file.read(f"{info}/METADATA"))
        commands = file.read(f"{info}/entry_points.txt").decode()
    assert "edgetrack = edge.cli:main" in commands
    assert "edgetrack-convert = convert.cli:main" in commands
    needed = {line for line in metadata.get_all("Requires-Dist") if "extra ==" not in line}
    assert {line.split(">")[0].split("<")[0] for line in needed} == {
        "numpy", "opencv-python-headless", "msgspec", "lap", "ai-edge-litert",
    }  # fmt: skip


def test_the_source_archive_has_the_docs_and_the_install_script_and_no_training(built):
    (path,) = built.glob("edgetrack-*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"scripts/install-service", "CHANGELOG.md", "LICENSE", "NOTICE"} <= names
    assert tracked("docs") <= names
    assert not {name for name in names if name.startswith(("train/", "tests/"))}


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A folder that the install script installed the wheel below.

    What the wheel needs is lent by this environment, so that nothing has to be fetched.
    """
    root = tmp_path_factory.mktemp("root")
    assert "+ write" in install(root, "front", "--from", wheel)
    return root


def install(root, *words):
    done = subprocess.run(
        [INSTALL, "--root", root, *words], capture_output=True, text=True, env=lent(), check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def lent():
    return os.environ | {
        "PIP_NO_DEPS": "1",
        "PIP_NO_INDEX": "1",
        "PYTHONPATH": sysconfig.get_path("purelib"),
        "OMP_NUM_THREADS": "1",
    }


def run(root, *words):
    program = root / "opt" / "edgetrack" / "bin" / "edgetrack"
    done = subprocess.run(
        [program, *words], capture_output=True, text=True, cwd=root, env=lent(), check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_installed_wheel_tracks_the_sample(installed):
    records = [json.loads(line) for line in run(
        installed, "track", "synthetic:portrait?frames=8").splitlines()]  # fmt: skip
    assert len(records) == 8
    assert [track["status"] for track in records[-1]["tracks"]] == ["confirmed", "confirmed"]


def test_the_installed_wheel_is_what_runs(installed):
    python = installed / "opt" / "edgetrack" / "bin" / "python"
    code = "import edge; print(edge.__file__)"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, cwd=installed,
                          env=lent(), check=True)  # fmt: skip
    assert done.stdout.startswith(str(installed))


def test_unit_settings_and_command_are_in_their_places(installed):
    unit = installed / "etc" / "systemd" / "system" / "edgetrack@.service"
    assert unit.read_text() == (ROOT / "edge" / "service" / unit.name).read_text()
    assert 'camera = "front"' in (installed / "etc" / "edgetrack" / "front.toml").read_text()
    command = installed / "usr" / "local" / "bin" / "edgetrack"
    assert os.readlink(command) == "/opt/edgetrack/bin/edgetrack"
    assert (installed / "var" / "lib" / "edgetrack" / "models").is_dir()


def test_a_second_call_changes_nothing_and_settings_stay(installed, wheel):
    settings = installed / "etc" / "edgetrack" / "front.toml"
    settings.write_text(settings.read_text() + "# mine\n")
    before = os.readlink(installed / "opt" / "edgetrack")
    assert "already" in install(installed, "front", "--from", wheel)
    assert os.readlink(installed / "opt" / "edgetrack") == before
    assert settings.read_text().endswith("# mine\n")


def test_removing_leaves_what_is_yours(installed):
    install(installed, "--remove")
    left = {path.relative_to(installed).as_posix() for path in installed.rglob("*")
            if path.is_file()}  # fmt: skip
    assert left == {"etc/edgetrack/front.toml"}
