"""RTSP: who refuses, stalls, lies or drops is found quickly, and no password is ever shown."""

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from edge.config import SourceSettings
from edge.errors import SourceError, UsageError
from edge.sources import FrameSource, open_source
from tests.conftest import ROOT

SETTINGS = SourceSettings()
SERVER = ROOT / "scripts" / "target" / "outside" / "rtsp_server.py"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def address(server: socket.socket) -> str:
    return f"rtsp://me:secret@127.0.0.1:{server.getsockname()[1]}/test"


def test_a_closed_port_is_refused_at_once(listener: socket.socket) -> None:
    uri = address(listener)
    listener.close()
    with pytest.raises(SourceError, match="connection refused; check address and port") as raised:
        open_source(uri, SETTINGS)
    assert "secret" not in str(raised.value)


@pytest.mark.slow
def test_a_server_that_never_answers_is_given_up(listener: socket.socket) -> None:
    with pytest.raises(SourceError, match="no answer within 2 s") as raised:
        open_source(address(listener), SETTINGS)
    assert "secret" not in str(raised.value)


def answer_each(server: socket.socket, reply: bytes) -> None:
    """Answer whatever comes with the same words, until the listener is closed."""

    def serve() -> None:
        try:
            while True:
                connection, _ = server.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(reply)
        except OSError:
            return

    threading.Thread(target=serve, daemon=True).start()


def test_another_server_at_the_port_is_told_apart(listener: socket.socket) -> None:
    answer_each(listener, b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with pytest.raises(SourceError, match="no RTSP server answers there; check the port"):
        open_source(address(listener), SETTINGS)


def test_a_server_without_that_stream_says_what_to_check(listener: socket.socket) -> None:
    answer_each(listener, b"RTSP/1.0 404 Not Found\r\nCSeq: 1\r\n\r\n")
    with pytest.raises(SourceError, match="check path, user name and password") as raised:
        open_source(address(listener), SETTINGS)
    assert "secret" not in str(raised.value)


def test_an_address_without_host_or_with_a_bad_port_is_refused() -> None:
    for uri in ("rtsp:///stream", "rtsp://me:secret@cam:99999/stream"):
        with pytest.raises(UsageError, match=r"write rtsp://HOST\[:PORT\]/PATH") as raised:
            open_source(uri, SETTINGS)
        assert "secret" not in str(raised.value)


@pytest.fixture
def server() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start GStreamer's RTSP server, by whichever Python has its bindings."""
    for python in (sys.executable, "/usr/bin/python3"):
        process = subprocess.Popen(
            [python, SERVER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert process.stdout is not None
        if port := process.stdout.readline().strip():
            break
        process.wait()
        process.stdout.close()
    else:
        pytest.skip("needs python3-gi, gir1.2-gst-rtsp-server-1.0 and gstreamer's x264enc")
    yield process, f"rtsp://me:secret@127.0.0.1:{port}/test"
    process.kill()
    process.wait()
    process.stdout.close()


def read_all(source: FrameSource) -> None:
    while source.read():
        pass


@pytest.mark.slow
def test_a_stream_delivers_frames_and_a_dead_server_ends_it(
    server: tuple[subprocess.Popen[str], str],
) -> None:
    process, uri = server
    source = open_source(uri, SETTINGS)
    frames = [frame for _ in range(8) if (frame := source.read())]
    times = [frame.captured_at for frame in frames]
    assert source.live
    assert source.description.endswith("/...: h264 160x120 at 15 fps")
    assert times == sorted(times)
    assert {(frame.clock, frame.image.shape) for frame in frames} == {("arrival", (120, 160, 3))}
    process.kill()
    with pytest.raises(SourceError, match="no more pictures arrive") as raised:
        read_all(source)
    source.close()
    assert "secret" not in f"{source.description} {raised.value}"


@pytest.mark.slow
def test_a_stalled_stream_is_given_up(server: tuple[subprocess.Popen[str], str]) -> None:
    process, uri = server
    source = open_source(uri, SETTINGS)
    assert source.read() is not None
    process.send_signal(signal.SIGSTOP)
    with pytest.raises(SourceError, match="no more pictures arrive"):
        read_all(source)
    source.close()
