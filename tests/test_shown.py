"""No password is printed, logged, published or kept, wherever an address is."""

import json
import socket

import pytest

from edge.config import load_settings
from edge.errors import ConfigError
from edge.shown import harmless, without_secrets
from tests.conftest import call

STREAM = "rtsp://me:secret@127.0.0.1:{}/live?token=secret"
BROKER = "mqtt://me:secret@127.0.0.1:1/cam"


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("mqtt://me:secret@h:1/a", "mqtt://h:1/a"),
        ("mqtt://me:sec/re@t@h/a", "mqtt://h/a"),
        ("mqtt:me:secret@h/a", "mqtt:h/a"),
        ("http://me:secret@h/?fps=1", "http://h/?fps=1"),
        ("other://me:secret@h/a", "other://h/a"),
        ("file:/home/me@here/x", "file:/home/me@here/x"),
        ("/home/me@here/a.mp4", "/home/me@here/a.mp4"),
        ("synthetic:portrait?frames=0", "synthetic:portrait?frames=0"),
        ("rtsp://cam/stream", "rtsp://cam/..."),
        ("rtsp://me:secret@10.0.0.7:8554/a", "rtsp://10.0.0.7:8554/..."),
        ("rtsp://me:sec@ret/secret@cam/a?b", "rtsp://cam/..."),
        ("rtsps://cam?password=secret", "rtsps://cam/..."),
        ("RTSP://me:secret@[::1]:554/a", "RTSP://[::1]:554/..."),
    ],
)
def test_an_address_is_shown_without_what_lets_one_in(uri, shown):
    assert without_secrets(uri) == shown


def test_plain_values_lose_the_secrets_of_every_address_in_them():
    table = {"source": "rtsp://me:secret@cam/a", "sinks": ["-", "mqtt://me:secret@h/a"], "every": 3}
    assert harmless(table) == {
        "source": "rtsp://cam/...",
        "sinks": ["-", "mqtt://h/a"],
        "every": 3,
    }


def test_a_setting_of_the_wrong_type_is_told_without_its_password(tmp_path):
    config = tmp_path / "a.toml"
    config.write_text(f'source = ["{STREAM}"]')
    with pytest.raises(ConfigError, match=r"source: is \['rtsp://127\.0\.0\.1:\{\}/\.\.\.'\]; exp"):
        load_settings(config)


def test_check_shows_neither_the_cameras_nor_the_brokers_password(tmp_path):
    config = tmp_path / "a.toml"
    config.write_text(f'source = "{STREAM.format(5554)}"\nsinks = ["{BROKER}"]\n')
    code, out, err = call("check", config)
    assert code == 0
    assert "good; source rtsp://127.0.0.1:5554/..., sinks mqtt://127.0.0.1:1/cam" in out
    assert "secret" not in out + err


@pytest.mark.parametrize("command", ["track", "doctor"])
def test_no_command_shows_the_password_of_a_stream_where_nobody_answers(command, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        uri = STREAM.format(server.getsockname()[1])
    config = tmp_path / "a.toml"
    config.write_text(f'source = "{uri}"\nsinks = ["file:{tmp_path}/a", "{BROKER}"]\n')
    code, out, err = call(command, uri if command == "track" else config)
    assert code != 0
    assert "rtsp://127.0.0.1:" in out + err
    assert "secret" not in out + err


def test_a_run_tells_nobody_the_passwords_of_its_camera_and_broker(service):
    pytest.importorskip("paho.mqtt.client")
    pytest.importorskip("prometheus_client")
    with socket.create_server(("127.0.0.1", 0)) as server:
        stream, page = STREAM.format(server.getsockname()[1]), "http://127.0.0.1:0"
    sinks = [f"file:{service.out}", BROKER, page, f"record:{service.folder}/kept"]
    service.configure(source=stream, sinks=sinks)
    service.start()
    told = service.hear("refused; check address")
    told += json.dumps(service.status())
    told += "".join(service.edgetrack("status")[1:])
    _, err = service.stop()
    files = [path for path in service.folder.rglob("*") if path.is_file()]
    kept = b"".join(path.read_bytes() for path in files if path != service.config)
    assert "127.0.0.1" in told
    assert "mqtt://127.0.0.1:1/cam" in err
    assert "secret" not in told + err
    assert b"secret" not in kept
