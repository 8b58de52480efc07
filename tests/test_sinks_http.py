"""The page about a live run: asked over real sockets, as monitors, browsers and strangers do."""

import json
import logging
import math
import os
import re
import socket
import threading
import tracemalloc
import urllib.error
import urllib.request

import cv2
import msgspec
import numpy as np
import pytest

from edge.errors import SinkError, UsageError
from edge.sinks import open_sink, output_path
from edge.sinks.address import page_of
from edge.sinks.http import Http
from edge.sinks.preview import Preview, due_after
from edge.sinks.server import MOST_CLIENTS, MOST_WATCHERS
from edge.types import Counts, Frame, Record, Track
from edge.vitals import CameraStatus, Heat, Pace, Status, Vitals
from tests.conftest import ROOT, refusal, start

HOME = "http://127.0.0.1:0"


def record(index=0, condition="good", tracks=()):
    return Record(
        schema=1, camera="front", run="r", frame=index, time=0.0, captured_at=index / 10,
        age_ms=20.0, size=(64, 48), dropped=0, tracks=list(tracks), events=[], condition=condition,
    )  # fmt: skip


def picture(index=0, value=100, size=(48, 64)):
    return Frame(np.full((*size, 3), value, np.uint8), index, index / 10, "driver", 0.0)


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def counts():
    return Counts()


@pytest.fixture
def vitals(counts):
    vitals = Vitals("front", "r", counts, 100.0)
    vitals.models = ("face",)
    return vitals


@pytest.fixture
def site(vitals, clock):
    site = Http(page_of(HOME), vitals, clock)
    yield site
    site.close()


def ask(site, path, method="GET", **headers):
    """Status, media type and body of an answer."""
    request = urllib.request.Request(site.url + path, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read()


def told(site, path):
    """Status and the one line of an answer."""
    status, kind, body = ask(site, path)
    assert kind == "text/plain; charset=utf-8"
    (line,) = body.decode().splitlines()
    return status, line


def raw(site, words):
    """Whatever comes back for bytes that are no request of ours."""
    with socket.create_connection(site._server.server_address[:2], 20) as connection:
        connection.sendall(words)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(4096), b""))


def decoded(jpeg):
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(jpeg, np.uint8), 1), cv2.COLOR_BGR2RGB)


def test_a_run_is_well_while_good_frames_pass_and_says_why_it_is_not(site, vitals, clock):
    assert told(site, "/healthz") == (
        503,
        "no good frame came yet in 0.0 s; the camera is starting",
    )
    vitals.passed(record(), {}, 100.0)
    vitals.source = CameraStatus(state="streaming")
    assert told(site, "/healthz") == (200, "ok")
    clock.now = 110.0
    assert told(site, "/healthz") == (200, "ok")
    clock.now = 110.2
    vitals.source = CameraStatus(state="lost", reason="no such device")
    line = "no good frame came for 10.2 s; the camera is lost (no such device)"
    assert told(site, "/healthz") == (503, line)
    vitals.passed(record(1, "frozen"), {}, 110.2)  # it moves the loop, but shows nothing
    assert told(site, "/healthz")[0] == 503
    vitals.passed(record(2), {}, 110.2)
    assert told(site, "/healthz") == (200, "ok")


def test_how_long_a_run_may_be_silent_is_said_in_the_address(vitals, clock):
    site = Http(page_of(f"{HOME}?silent_s=2.5"), vitals, clock)
    vitals.passed(record(), {}, 100.0)
    clock.now = 102.5
    assert told(site, "/healthz")[0] == 200
    clock.now = 102.6
    assert told(site, "/healthz")[0] == 503
    site.close()


def test_a_run_is_ready_once_models_are_there_and_a_frame_passed(site, vitals, clock):
    vitals.models = ()
    assert told(site, "/readyz") == (503, "no model is loaded yet")
    vitals.models = ("face",)
    assert told(site, "/readyz") == (503, "no good frame came yet; the camera is starting")
    vitals.passed(record(), {}, 100.0)
    clock.now = 500.0  # ready says that it works, well says that it works now
    assert told(site, "/readyz") == (200, "ok")


def test_status_is_what_the_run_tells_of_itself(site, vitals, clock, counts):
    counts.seen, counts.processed, counts.dropped["newer"] = 12, 10, 2
    vitals.passed(record(), {"detect": 0.01}, 100.0)
    status, kind, body = ask(site, "/status.json")
    assert (status, kind) == (200, "application/json")
    assert msgspec.json.decode(body, type=Status) == vitals.status(clock.now)
    assert json.loads(body)["dropped"] == {"newer": 2, "pace": 0, "stopped": 0}


@pytest.fixture
def families(site, vitals, clock, counts):
    """Metrics of a run to which everything happened, read as Prometheus does."""
    parser = pytest.importorskip("prometheus_client.parser")
    counts.seen, counts.processed = 31, 28
    counts.dropped["newer"] = 3
    counts.conditions["frozen"] = 5
    counts.unwritten["file:a"] = 7
    vitals.source = CameraStatus(state="frozen", since=99.0, openings=4)
    vitals.pace = Pace(every=6, fps=12.5, reason="heat")
    vitals.heat = Heat(temperature_c=71.5, throttled=True)
    vitals.reloads, vitals.refused = 2, "camera.toml: is no TOML; correct it"
    vitals.passed(record(tracks=[a_track()]), {"detect": 0.012, "judge": 0.001}, 102.0)
    clock.now = 104.0
    status, kind, body = ask(site, "/metrics")
    assert (status, kind.partition(";")[0]) == (200, "text/plain")
    return {family.name: family for family in parser.text_string_to_metric_families(body.decode())}


def a_track(box=(10.0, 10.0, 40.0, 40.0)):
    return Track(7, "face", box, 0.9, 1.0, "confirmed", (0.0, 0.0), box)


def values(family):
    """Value by the value of the only label; a number where there is no label."""
    samples = {next(iter(s.labels.values()), None): s.value for s in family.samples}
    return samples[None] if set(samples) == {None} else samples


def test_metrics_say_what_the_status_says(families):
    seen = {name.removeprefix("edgetrack_"): values(family) for name, family in families.items()}
    assert (seen["frames"], seen["frames_seen"]) == (28, 31)
    assert seen["frames_dropped"] == {"newer": 3, "pace": 0, "stopped": 0}
    assert seen["frames_flagged"] == {"frozen": 5}
    assert seen["records_unwritten"] == {"file:a": 7}
    assert (seen["uptime_seconds"], seen["silent_seconds"], seen["tracks"]) == (4.0, 2.0, 1)
    assert (seen["frame_age_seconds"], seen["frames_per_second"]) == (0.02, 0.2)
    assert seen["stage_seconds"] == {"detect": 0.012, "judge": 0.001}
    assert (seen["camera_openings"], seen["camera_state_seconds"]) == (4, 5.0)
    assert (seen["detect_every_frames"], seen["frames_per_second_limit"]) == (6, 12.5)
    assert seen["held_back"] == {"time": 0, "heat": 1}
    assert (seen["temperature_celsius"], seen["throttled"]) == (71.5, 1)
    assert (seen["reloads"], seen["reload_refused"]) == (2, 1)


def test_the_cameras_state_is_a_set_of_which_one_holds(families):
    states = values(families["edgetrack_camera_state"])
    assert [state for state, holds in states.items() if holds] == ["frozen"]
    assert set(states) == {"starting", "streaming", "frozen", "black", "lost", "recovering"}


def test_metrics_tell_of_the_process_under_the_usual_names(families):
    assert values(families["process_resident_memory_bytes"]) > 10e6
    assert 3 < values(families["process_open_fds"]) < 1000
    about = families["edgetrack_info"].samples[0]
    assert about.labels == {"camera": "front", "run": "r", "models": "face"}


def test_every_metric_is_explained_in_the_docs(families):
    docs = (ROOT / "docs" / "observe.md").read_text()
    names = {sample.name for family in families.values() for sample in family.samples}
    ours = {name for name in names if name.startswith("edgetrack")}
    assert ours == set(re.findall(r"`(edgetrack_\w+)[`{]", docs))


def test_metrics_that_a_board_cannot_tell_are_left_out(site):
    pytest.importorskip("prometheus_client")
    body = ask(site, "/metrics")[2].decode()
    assert "edgetrack_temperature_celsius" not in body
    assert "edgetrack_throttled" not in body
    assert "edgetrack_silent_seconds 0.0" in body


def test_a_reader_of_openmetrics_gets_it(site):
    parser = pytest.importorskip("prometheus_client.openmetrics.parser")
    kind, body = ask(site, "/metrics", Accept="application/openmetrics-text; version=1.0.0")[1:]
    assert kind.startswith("application/openmetrics-text")
    families = {f.name: f.type for f in parser.text_string_to_metric_families(body.decode())}
    assert families["edgetrack_camera_state"] == "stateset"
    assert families["edgetrack_frames"] == "counter"


def test_the_preview_is_the_newest_frame_with_its_tracks(site):
    assert told(site, "/preview.jpg") == (503, "no picture came yet")
    site.write(record(0), picture(0, 30))
    site.write(record(1, tracks=[a_track()]), picture(1, 100))
    status, kind, body = ask(site, "/preview.jpg")
    image = decoded(body)
    assert (status, kind, image.shape) == (200, "image/jpeg", (48, 64, 3))
    assert np.abs(image[25, 25].astype(int) - 100).max() < 12  # inside of the box: the frame
    assert np.ptp(image[20:30, 9:12].astype(int), axis=2).max() > 80  # its left edge: a colour


def test_an_absent_camera_shows_its_last_picture(site):
    site.write(record(0), picture(0, 100))
    before = ask(site, "/preview.jpg")[2]
    site.write(record(1, "absent"), None)
    after = ask(site, "/preview.jpg")[2]
    assert after != before
    assert decoded(after).shape == (48, 64, 3)


def test_nothing_is_drawn_until_somebody_asks_and_then_once(site):
    for index in range(50):
        site.write(record(index), picture(index))
    assert site._preview._drawn.number == 0
    first = site._preview.picture()
    assert first.number == 50
    assert site._preview.picture() is first


class Watcher:
    """Reads the stream, part by part."""

    def __init__(self, site):
        self.answer = urllib.request.urlopen(site.url + "/stream", timeout=20)

    def next(self):
        """The next picture, None at the end."""
        head = []
        while (line := self.answer.readline()) not in (b"\r\n", b""):
            head.append(line.strip())
        if not line:
            return None
        assert head[:2] == [b"--picture", b"Content-Type: image/jpeg"]
        jpeg = self.answer.read(int(head[2].split()[1]))
        assert self.answer.readline() == b"\r\n"
        return decoded(jpeg)


def value_of(image):
    """The grey that a picture was made of, in steps of 20."""
    return round(float(image[5:20].mean()) / 20) * 20


def test_the_stream_shows_each_picture_to_who_keeps_up(site):
    site.write(record(0), picture(0, 40))
    watcher = Watcher(site)
    assert watcher.answer.headers["Content-Type"] == "multipart/x-mixed-replace; boundary=picture"
    seen = [value_of(watcher.next())]
    for index, value in enumerate((80, 120, 160), 1):
        site.write(record(index), picture(index, value))
        seen.append(value_of(watcher.next()))
    assert seen == [40, 80, 120, 160]


def test_the_stream_is_no_faster_than_asked():
    """Of a camera's 30 pictures a second every third is shown where 10 are asked for."""
    preview, due, shown = Preview(), -math.inf, []
    for index in range(31):
        preview.put(msgspec.structs.replace(record(), captured_at=index / 30), picture())
        if preview._is_due(index, due):
            shown.append(index)
            due = due_after(due, index / 30, 10.0)
    assert shown == [0, *range(2, 31, 3)]


def test_a_watcher_that_does_not_read_holds_nobody_up_and_misses_pictures(site):
    noise = np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)
    site.write(record(0), Frame(noise, 0, 0.0))
    watcher = Watcher(site)
    tracemalloc.start()
    for index in range(1, 300):
        site.write(record(index), Frame(noise.copy(), index, index / 10))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 10 * noise.nbytes  # of 299
    site.write(record(300), picture(300, 200))
    assert value_of(decoded(ask(site, "/preview.jpg")[2])) == 200
    seen = 0
    while watcher.next().shape != (48, 64, 3):
        seen += 1
    assert seen < 100


def test_a_fifth_watcher_is_refused_and_the_place_of_one_that_left_is_free_again(site):
    site.write(record(), picture())
    watchers = [Watcher(site) for _ in range(MOST_WATCHERS)]
    assert told(site, "/stream") == (503, "4 watch already; close one of them")
    watchers[0].answer.close()
    index = 0
    while site._server.watchers._value == 0:  # what it is sent tells that it left
        index += 1
        site.write(record(index), picture(index))
        watchers[1].next()
    assert Watcher(site).next().shape == (48, 64, 3)


def test_a_stream_ends_with_the_run(site):
    site.write(record(), picture())
    watcher = Watcher(site)
    watcher.next()
    site.close()
    assert watcher.next() is None


def test_a_stream_without_a_picture_is_refused(site):
    assert told(site, "/stream") == (503, "no picture came yet")


def test_the_page_shows_preview_and_status(site):
    status, kind, body = ask(site, "/")
    assert (status, kind) == (200, "text/html; charset=utf-8")
    for part in (b'src="stream"', b'fetch("status.json")', b'fetch("healthz")'):
        assert part in body


def test_other_questions_get_one_line(site):
    assert told(site, "/secret")[0] == 404
    assert "there are /, /healthz, /readyz, /metrics" in told(site, "/secret")[1]
    assert ask(site, "/", method="POST")[::2] == (501, b"Unsupported method ('POST')\n")
    assert ask(site, "/healthz", method="HEAD")[::2] == (503, b"")


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"400"),  # TLS
        (b"GET / HTTP/9.9\r\n\r\n", b"505"),
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", b"414"),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nHost: [\r\n\r\n", b"421"),
    ],
)
def test_a_bad_request_is_refused_in_one_line_and_logged_as_no_fault(site, words, status, caplog):
    head, _, body = raw(site, words).partition(b"\r\n\r\n")
    assert head.split()[1] == status
    assert body.count(b"\n") == 1
    assert b"<" not in body.replace(b"<=", b"")
    assert not caplog.records
    assert told(site, "/healthz")[0] == 503


def test_a_foreign_page_cannot_lead_a_browser_here_by_a_name_of_its_own(site):
    status, _, body = ask(site, "/preview.jpg", Host="evil.example")
    assert (status, body) == (421, b"this is no name of this machine; ask for localhost\n")
    for host in ("localhost:8080", "127.0.0.1", "[::1]:80"):
        assert ask(site, "/readyz", Host=host)[0] == 503


def test_who_asks_and_leaves_is_no_fault(site, caplog):
    for _ in range(20):
        with socket.create_connection(site._server.server_address[:2]) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert told(site, "/healthz")[0] == 503
    assert not caplog.records


def test_a_fault_of_ours_is_logged_and_the_next_answer_comes(site, caplog, monkeypatch):
    monkeypatch.setattr(site._vitals, "status", lambda _now: 1 / 0)
    assert raw(site, b"GET /readyz HTTP/1.0\r\n\r\n") == b""
    monkeypatch.undo()
    assert told(site, "/readyz")[0] == 503
    assert "ZeroDivisionError" in caplog.text


def test_too_many_connections_are_closed_and_the_others_served(site):
    idle = [socket.create_connection(site._server.server_address[:2]) for _ in range(MOST_CLIENTS)]
    with socket.create_connection(site._server.server_address[:2], 20) as one_more:
        assert one_more.recv(1) == b""
    idle[0].sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
    assert idle[0].recv(12) == b"HTTP/1.0 503"
    for connection in idle:
        connection.close()


def test_threads_and_descriptors_do_not_grow_with_the_questions(site):
    site.write(record(), picture())

    def held():
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    def settle():
        while threading.active_count() > calm[1]:
            threading.enumerate()[-1].join(10)

    ask(site, "/preview.jpg")
    calm = held()
    for path in ("/", "/healthz", "/status.json", "/preview.jpg", "/nothing") * 30:
        ask(site, path)
    settle()
    assert held() <= calm


def test_closing_frees_the_port(vitals, clock):
    site = Http(page_of(HOME), vitals, clock)
    site.close()
    site.close()
    port = site._server.server_address[1]
    again = Http(page_of(f"http://127.0.0.1:{port}"), vitals, clock)
    assert told(again, "/readyz")[0] == 503
    again.close()


def test_a_taken_port_is_refused_in_one_line(site):
    uri = f"http://127.0.0.1:{site._server.server_address[1]}"
    code, out, line = refusal("run", "--source", "synthetic:portrait?frames=3", "--sink", uri)
    assert (code, out) == (73, "")
    assert line == (
        f"edgetrack: {uri}: address already in use; another program listens there; "
        "choose another port"
    )


def test_an_address_of_another_machine_is_refused(vitals):
    with pytest.raises(SinkError, match="it is no address of this machine; choose one that is"):
        open_sink("http://192.0.2.1:0", vitals=vitals)
    with pytest.raises(SinkError, match=r"http://no\.such\.host\.invalid:0: .*; check the address"):
        open_sink("http://no.such.host.invalid:0", vitals=vitals)


def test_what_everyone_can_reach_is_warned_of(vitals, caplog):
    site = open_sink("http://0.0.0.0:0", vitals=vitals)
    port = site._server.server_address[1]
    assert "whoever reaches this machine can watch the camera" in caplog.text
    request = urllib.request.Request(f"http://127.0.0.1:{port}/readyz", headers={"Host": "pi.lan"})
    with pytest.raises(urllib.error.HTTPError, match="503"):
        urllib.request.urlopen(request, timeout=20)
    site.close()


@pytest.mark.skipif(not os.path.exists("/proc/net/if_inet6"), reason="needs IPv6")
def test_it_listens_on_ipv6_too(vitals, clock):
    site = Http(page_of("http://[::1]:0"), vitals, clock)
    assert site.url.startswith("http://[::1]:")
    assert told(site, "/readyz")[0] == 503
    site.close()


@pytest.mark.parametrize(
    ("uri", "what"),
    [
        ("http://127.0.0.1", "is no place for a page; write http://HOST:PORT and no more"),
        ("http://127.0.0.1:80/page", "is no place for a page"),
        ("http://me:secret@127.0.0.1:80", "^http://127.0.0.1:80: is no place for a page"),
        ("http://127.0.0.1:x", "is no address; write SCHEME://HOST:PORT/..."),
        ("http://127.0.0.1:99999", "is no address"),
        ("http://:80", "is no address"),
        ("http://127.0.0.1:80?fast=1", "fast is no option here; use silent_s, fps"),
        ("http://127.0.0.1:80?silent_s=nan", "silent_s is 'nan'; give a number from 0.1 to 86400"),
        ("http://127.0.0.1:80?fps=0", "fps is '0'; give a number from 1 to 1000"),
        ("https://127.0.0.1:80", "no such kind of output"),
    ],
)
def test_a_bad_address_is_refused_before_anything_is_opened(uri, what, vitals):
    with pytest.raises(UsageError, match=what) as raised:
        open_sink(uri, vitals=vitals)
    assert "secret" not in str(raised.value)
    with pytest.raises(UsageError, match=what):
        output_path(uri)


def test_a_page_needs_a_live_run():
    with pytest.raises(UsageError, match="is for live runs; use it with edgetrack run"):
        open_sink(HOME)


@pytest.mark.slow
def test_a_live_run_serves_without_the_metrics_package():
    words = ("run", "--source", "synthetic:portrait?frames=0", "--sink", HOME)
    process = start(*words, without=("prometheus_client",), stdout=None)
    try:
        line = next(line for line in process.stderr if "preview, health" in line)
        site = type("Site", (), {"url": re.search(r"http://[\d.:]+\d", line)[0]})
        while told(site, "/readyz")[0] != 200:
            pass
        assert told(site, "/healthz") == (200, "ok")
        assert decoded(ask(site, "/preview.jpg")[2]).shape == (480, 640, 3)
        assert told(site, "/metrics") == (
            501,
            "metrics: prometheus-client is not installed; pip install 'edgetrack[metrics]'",
        )
    finally:
        process.terminate()
        process.communicate(timeout=20)
    assert process.returncode == 0


def test_the_log_says_where_a_free_port_was_found(vitals, caplog):
    caplog.set_level(logging.INFO)
    site = open_sink(HOME, vitals=vitals)
    assert f"{site.url}: preview, health and metrics of this run" in caplog.text
    assert not site.url.endswith(":0")
    site.close()
