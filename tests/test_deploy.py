"""A deployment over a real ssh, to a server of our own on this machine."""

import json
import os
import pwd
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import MODELS, ROOT

NAME = "lstm-step"
DEPLOY = ROOT / "scripts" / "deploy"
SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
MISSING = [p for p in ("ssh", "ssh-keygen", "rsync") if not shutil.which(p)] + ["sshd"] * (not SSHD)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}"),
]


SYSTEMCTL = """#!/bin/sh
echo "systemctl $*" >>"$TMPDIR/../reloads"
! grep -q "version.: .$(cat "$TMPDIR/../refused" 2>/dev/null || echo none)" \
    "$TMPDIR"/../*/lstm-step/current/manifest.json && exit
echo "Job for $2 failed." >&2
exit 1
"""
SUDO = '#!/bin/sh\n[ "$1" = -n ] && shift\nexec "$@"\n'


def place_programs(folder):
    """Stand-ins: this systemctl refuses the version that the file `refused` names."""
    folder.mkdir()
    for name, text in {"systemctl": SYSTEMCTL, "sudo": SUDO}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)


@pytest.fixture(scope="module")
def ssh(tmp_path_factory):
    """Options that lead ssh to a server that runs as this user.

    The key `bare` gets a bare PATH, the key `service` a systemctl and a sudo of our own.
    """
    folder = tmp_path_factory.mktemp("ssh")
    for key in ("host", "user", "bare", "service"):
        subprocess.run(["ssh-keygen", "-qt", "ed25519", "-N", "", "-f", folder / key], check=True)
    (folder / "bin").mkdir()
    (folder / "bin" / "sh").symlink_to("/bin/sh")
    place_programs(folder / "service-bin")
    paths = {"bare": f"{folder}/bin", "service": f"{folder}/service-bin:$PATH"}
    lines = [(folder / "user.pub").read_text()]
    for key, path in paths.items():
        command = f'command="PATH={path}; eval \\"$SSH_ORIGINAL_COMMAND\\"" '
        lines.append(command + (folder / f"{key}.pub").read_text())
    (folder / "authorized").write_text("".join(lines))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "known").write_text(f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}")
    (folder / "config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {folder}/host\nPidFile none\nUsePAM no\n"
        f"AuthorizedKeysFile {folder}/authorized\nStrictModes no\nPasswordAuthentication no\n"
        "PermitRootLogin prohibit-password\nAcceptEnv TMPDIR\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # root's sshd wants it
    words = [SSHD, "-D", "-e", "-f", folder / "config"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as server:
        said = []
        while not said or "Server listening" not in said[-1]:
            said.append(server.stderr.readline())
            assert said[-1], said
        options = ("IdentitiesOnly=yes", f"UserKnownHostsFile={folder}/known")
        yield shlex.join(["-F", "none", "-p", str(port), "-i", f"{folder}/user"]
                         + [f"-o{option}" for option in options])  # fmt: skip
        server.terminate()


class Target:
    """What is at the other end: a model folder, and a service that counts its reloads."""

    def __init__(self, folder, ssh):
        self.place, self.log = folder / "the models", folder / "reloads"
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        environment = (f"PYTHONPATH={ROOT}", f"EDGETRACK_MODELS={self.place}", "OMP_NUM_THREADS=1")
        self.edgetrack = shlex.join(["env", *environment, sys.executable, "-m", "edge"])
        self.manifest = f"{shlex.quote(str(self.place))}/*/current/manifest.json"
        self.reload = f"cat {self.manifest} >>{self.log}"
        self.ssh = f"{ssh} '-oSetEnv=TMPDIR={self.temporary}'"

    def words(self, bundle, *options, host="127.0.0.1"):
        host = f"{pwd.getpwuid(os.geteuid()).pw_name}@{host}"
        ours = ("--edgetrack", self.edgetrack, "--ssh", self.ssh)
        return [sys.executable, str(DEPLOY), host, str(bundle), *ours, *options]

    def deploy(self, bundle, *options, env=None, **others):
        """Deploy; return the exit code, what was printed, and the refusal."""
        words = self.words(bundle, *options, **others)
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, env=env)
        assert not list(self.temporary.glob("edgetrack*"))
        assert done.stderr.count("\n") == (done.returncode != 0)
        assert done.stderr.startswith("deploy: ") or not done.stderr
        return done.returncode, done.stdout, done.stderr

    def current(self):
        return os.readlink(self.place / NAME / "current")[0]

    def reloads(self):
        """The version that each reload found."""
        text = self.log.read_text() if self.log.exists() else ""
        return [line.split('"')[3] for line in text.splitlines() if '"version"' in line]


@pytest.fixture
def device(tmp_path, ssh):
    return Target(tmp_path, ssh)


@pytest.fixture
def made(tmp_path):
    """Makes a bundle, changed as told, in a folder that takes quoting."""

    def make(version, **changes):
        folder = shutil.copytree(MODELS / NAME, tmp_path / f"it's v{version}")
        path = folder / "manifest.json"
        manifest = json.loads(path.read_text()) | {"version": version} | changes
        path.write_text(json.dumps(manifest, indent=2))
        return folder

    return make


@pytest.fixture
def running(device, made):
    """A device that runs version 1."""
    assert device.deploy(made("1"), "--reload", device.reload)[0] == 0
    return device


def test_a_second_version_is_proven_there_switched_to_and_reloaded(running, made):
    health = f"test $(grep -c version {running.log}) = 2"
    code, out, _ = running.deploy(made("2"), "--reload", running.reload, "--health", health)
    assert code == 0
    assert "differs from the recording by" in out
    assert ": installed, current\n" in out
    assert out.endswith(f"127.0.0.1: reloaded with `{running.reload}`\n")
    assert running.current() == "2"
    assert running.reloads() == ["1", "2"]


@pytest.fixture
def served(device, made):
    """A device whose service runs version 1."""
    device.ssh = device.ssh.replace("/user ", "/service ")
    device.service = ("--service", "edgetrack@front", "--place", device.place)
    assert device.deploy(made("1"), *device.service)[0] == 0
    return device


def test_a_service_is_reloaded_or_started_where_it_does_not_run(served, made):
    code, out, _ = served.deploy(made("2"), *served.service)
    assert code == 0
    assert out.endswith("127.0.0.1: reloaded with `systemctl reload-or-restart edgetrack@front`\n")
    assert served.current() == "2"
    assert served.log.read_text() == "systemctl reload-or-restart edgetrack@front\n" * 2


def test_a_service_that_refuses_its_reload_gets_the_old_model_back(served, made):
    (served.log.parent / "refused").write_text("2")
    code, _, line = served.deploy(made("2"), *served.service)
    assert code == 69
    refused = "the reload command refused the new model: Job for edgetrack@front failed."
    assert line.endswith(f"{refused}; the old model runs again\n")
    assert served.current() == "1"
    assert served.log.read_text().count("reload-or-restart") == 3


def test_models_of_a_service_go_where_services_look(served, made):
    code, out, _ = served.deploy(made("2"), *served.service[:2], "--edgetrack", "echo")
    assert code == 0
    assert "models install --place /var/lib/edgetrack/models /" in out


def test_without_a_service_nothing_is_reloaded_and_that_is_said(device, made):
    code, out, _ = device.deploy(made("1"))
    assert code == 0
    assert "nothing was reloaded, no --service or --reload was given" in out
    assert device.current() == "1"


def test_another_place_with_a_space_in_its_name_is_used(device, made, tmp_path):
    place = tmp_path / "another place; here"
    assert device.deploy(made("1"), "--place", place)[0] == 0
    assert device.deploy(made("2"), "--place", place)[0] == 0
    code, _, line = device.deploy(made("3"), "--place", place, "--reload", "false")
    assert code == 69
    assert "reload refuses that one too: exit code 1" in line
    assert os.readlink(place / NAME / "current")[0] == "2"
    assert not device.place.exists()


def test_a_damaged_bundle_is_refused_there_and_the_old_one_runs_on(running, made):
    damaged = made("2")
    (damaged / "lstm-step.tflite").write_bytes(b"rot")
    code, out, line = running.deploy(damaged, "--reload", running.reload)
    assert (code, out) == (65, "")
    assert "the bundle is refused there and nothing was changed: " in line
    assert "lstm-step.tflite: its sha256 is" in line
    assert (running.current(), running.reloads()) == ("1", ["1"])


def test_a_golden_recording_that_the_device_does_not_repeat_is_refused(running, made):
    state = json.loads((MODELS / NAME / "manifest.json").read_text())["state"]
    state["tensors"][0]["initial"] = 0.5
    code, _, line = running.deploy(made("2", state=state), "--reload", running.reload)
    assert code == 65
    assert "nothing was changed: " in line
    assert "differs from the recording by" in line
    assert (running.current(), running.reloads()) == ("1", ["1"])


def test_a_reload_that_refuses_brings_the_old_model_back(running, made):
    refuses = f"! grep '.version.: .2.' {running.manifest} || {{ echo no >&2; exit 4; }}"
    code, _, line = running.deploy(made("2"), "--reload", f"{running.reload}; {refuses}")
    assert code == 69
    assert line.endswith("the reload command refused the new model: no; the old model runs again\n")
    assert running.current() == "1"
    assert running.reloads() == ["1", "2", "1"]


def test_a_service_that_is_not_well_afterwards_gets_the_old_model_back(running, made):
    code, _, line = running.deploy(made("2"), "--reload", running.reload, "--health", "exit 3")
    assert code == 69
    assert "the health command refused the new model: exit code 3; the old model runs" in line
    assert running.current() == "1"
    assert running.reloads() == ["1", "2", "1"]


def test_a_refusal_of_the_model_that_ran_before_rolls_nothing_back(running, made):
    second = made("2")
    assert running.deploy(second, "--reload", running.reload)[0] == 0
    code, _, line = running.deploy(second, "--reload", "false")
    assert code == 69
    assert "it was current before, so nothing was changed" in line
    assert running.current() == "2"


def test_the_first_model_of_all_that_is_refused_has_nothing_to_go_back_to(device, made):
    code, _, line = device.deploy(made("1"), "--reload", "false")
    assert code == 69
    assert "the reload command refused the new model: exit code 1; going back failed too" in line
    assert "has no previous version, only 1-" in line


def test_a_connection_that_dies_leaves_the_device_to_go_back_by_itself(running, made, tmp_path):
    here, answer = tmp_path / "here", tmp_path / "answer"
    os.mkfifo(here)
    os.mkfifo(answer)
    reload = f'echo reload >{here}; read code <{answer}; exit "$code"'
    words = running.words(made("2"), "--reload", reload)
    with subprocess.Popen(words, start_new_session=True, stderr=subprocess.DEVNULL) as deploying:
        here.read_text()
        assert running.current() == "2"
        os.killpg(deploying.pid, signal.SIGKILL)
    answer.write_text("1\n")
    here.read_text()  # the reload after going back
    assert running.current() == "1"
    answer.write_text("0\n")


def test_a_host_that_cannot_be_reached_is_one_line(device, made):
    code, out, line = device.deploy(made("1"), host="host.invalid")
    assert (code, out) == (69, "")
    assert "host.invalid: cannot be reached, ssh says " in line
    assert "; try: ssh " in line


def test_a_device_without_edgetrack_is_told_how_to_name_it(device, made):
    code, _, line = device.deploy(made("1"), "--edgetrack", "/opt/no/edgetrack")
    assert code == 69
    assert "edgetrack not found, '/opt/no/edgetrack' does not run; install it there" in line


def test_a_device_without_rsync_is_told_what_to_install(device, made):
    device.ssh = device.ssh.replace("/user ", "/bare ")
    code, _, line = device.deploy(made("1"))
    assert code == 69
    assert "there is no rsync; apt install rsync there" in line


def test_a_copy_that_fails_is_one_line_and_leaves_nothing_there(running, made):
    bundle = made("2")
    (bundle / "notes").symlink_to("nowhere")
    code, _, line = running.deploy(bundle)
    assert code == 69
    assert "127.0.0.1: rsync failed, " in line
    assert line.endswith("; nothing was changed\n")
    assert running.current() == "1"


def test_a_workstation_without_rsync_is_told_so(device, made, tmp_path):
    (tmp_path / "ssh").symlink_to(shutil.which("ssh"))
    code, _, line = device.deploy(made("1"), env={"PATH": str(tmp_path)})
    assert (code, line) == (69, "deploy: rsync: is not installed here; install it\n")


@pytest.mark.parametrize(
    ("text", "message"), [(None, "cannot be read, No such file"), ("[]", "names no model")]
)
def test_a_folder_that_is_no_bundle_is_refused_here(device, tmp_path, text, message):
    if text:
        (tmp_path / "manifest.json").write_text(text)
    code, _, line = device.deploy(tmp_path)
    assert code == 65
    assert f"manifest.json: {message}" in line
