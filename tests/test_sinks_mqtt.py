"""MQTT against a real broker (mosquitto): there, away, restarted, stopped, and refusing us."""

import gc
import json
import logging
import os
import queue
import re
import shutil
import signal
import socket
import ssl
import subprocess
import threading
from contextlib import suppress

import pytest

from edge.errors import DeliveryError, SinkError, UsageError
from edge.sinks import open_sink, output_path
from edge.sinks.address import broker_of
from edge.sinks.detached import Detached
from edge.types import Counts, Record
from edge.vitals import CameraStatus, Vitals
from tests.conftest import refusal, start
from tests.service_case import wait_until

PATHS = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
MOSQUITTO = shutil.which("mosquitto", path=PATHS)
PATIENCE_S = 60


class BrokerProcess:
    """A mosquitto of our own, which keeps its port and its messages over restarts."""

    def __init__(self, folder, lines=()):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.topic = f"mqtt://127.0.0.1:{self.port}/cam/front"
        self._config = folder / "mosquitto.conf"
        lines = lines or ["allow_anonymous true"]
        places = [f"persistence_location {folder}/", "persistence true", "user root"]
        listener = [f"listener {self.port} 127.0.0.1"]
        self._config.write_text("\n".join([*places, *listener, *lines]) + "\n")
        self.process = None
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [MOSQUITTO, "-v", "-c", self._config], stderr=subprocess.PIPE, text=True
        )
        said = []
        for line in self.process.stderr:
            said.append(line)
            if "running" in line:
                break
        else:
            pytest.fail("".join(said))
        self._log = threading.Thread(target=self.process.stderr.read, daemon=True)
        self._log.start()

    def stop(self):
        self.process.send_signal(signal.SIGCONT)
        while self.process.poll() is None:
            self.process.terminate()  # one that comes while it starts is overlooked
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(1.0)
        self._log.join()
        self.process.stderr.close()


@pytest.fixture
def place(tmp_path):
    pytest.importorskip("paho.mqtt.client")
    if MOSQUITTO is None:
        pytest.skip("needs mosquitto, the broker")
    return tmp_path


@pytest.fixture
def broker(place):
    broker = BrokerProcess(place)
    yield broker
    broker.stop()


class Reader:
    """Subscribes to everything, in a session that outlives the broker; knows what came."""

    def __init__(self, port, user=None, password=None):
        from paho.mqtt import client as paho

        self.messages = queue.Queue()
        subscribed = threading.Event()
        self._client = paho.Client(
            paho.CallbackAPIVersion.VERSION2, client_id="reader", clean_session=False
        )
        self._client.username_pw_set(user, password)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda client, *_: client.subscribe("cam/#", 1)
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.on_message = lambda _client, _data, message: self.messages.put(message)
        self._client.connect_async("127.0.0.1", port)
        self._client.loop_start()
        assert subscribed.wait(PATIENCE_S)

    def next(self, topic):
        """The next message of a topic; others that came before it are dropped."""
        while True:
            message = self.messages.get(timeout=PATIENCE_S)
            if message.topic == f"cam/front/{topic}":
                return message

    def word(self, topic):
        return self.next(topic).payload.decode()

    def frames(self, count):
        """The indices of so many different records, in the order they first came."""
        seen = {}
        while len(seen) < count:
            seen[json.loads(self.next("records").payload)["frame"]] = None
        return list(seen)

    def close(self):
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def reader(broker):
    reader = Reader(broker.port)
    yield reader
    reader.close()


class Log(logging.Handler):
    """What the sink said, for who waits for it."""

    def __init__(self):
        super().__init__()
        self.lines = queue.Queue()

    def emit(self, record):
        self.lines.put(f"{record.levelname} {record.getMessage()}")

    def next(self):
        return self.lines.get(timeout=PATIENCE_S)


@pytest.fixture
def log():
    log, logger = Log(), logging.getLogger("edge.sinks.mqtt")
    logger.addHandler(log)
    logger.setLevel(logging.INFO)
    yield log
    logger.removeHandler(log)


@pytest.fixture
def vitals():
    return Vitals("front", "r", Counts(), 0.0)


@pytest.fixture
def opened(vitals):
    """Opens sinks, and closes them."""
    sinks = []

    def opened(uri):
        sinks.append(open_sink(uri, vitals=vitals))
        return sinks[-1]

    yield opened
    for sink in sinks:
        with suppress(DeliveryError):
            sink.close()


def record(index, state="streaming"):
    return Record(
        schema=1, camera="front", run="r", frame=index, time=0.0, captured_at=index / 30,
        age_ms=20.0, size=(64, 48), dropped=0, tracks=[], events=[], state=state,
    )  # fmt: skip


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_every_record_is_a_message_and_the_run_says_that_it_is_there(
    qos, broker, reader, opened, log
):
    sink = opened(f"{broker.topic}?qos={qos}")
    assert log.next() == f"INFO {sink.name}: connected"
    assert reader.word("status") == "online"
    for index in range(50):
        sink.write(record(index))
    first = reader.next("records")
    assert json.loads(first.payload) == {
        "schema": 1, "camera": "front", "run": "r", "frame": 0, "time": 0.0, "captured_at": 0.0,
        "age_ms": 20.0, "size": [64, 48], "dropped": 0, "tracks": [], "events": [],
    }  # fmt: skip
    assert (first.qos, bool(first.retain)) == (min(qos, 1), False)
    assert reader.frames(49) == list(range(1, 50))
    sink.close()
    sink.close()
    assert reader.word("status") == "offline"


def test_the_state_of_the_camera_is_told_when_it_changes(broker, reader, opened, vitals, log):
    vitals.source = CameraStatus(state="starting")
    sink = opened(broker.topic)
    log.next()
    assert reader.word("camera") == "starting"
    for index, state in enumerate(["streaming", "streaming", "frozen", "lost"]):
        sink.write(record(index, state))
    assert [reader.word("camera") for _ in range(3)] == ["streaming", "frozen", "lost"]


def test_who_comes_later_learns_how_things_are(broker, opened, log):
    sink = opened(f"{broker.topic}?retain=1")
    log.next()
    sink.write(record(0))
    sink.write(record(1))
    while not all(info.is_published() for info in sink._waiting):
        pass
    reader = Reader(broker.port)
    kept = [reader.messages.get(timeout=PATIENCE_S) for _ in range(3)]
    reader.close()
    words = {message.topic.removeprefix("cam/front/"): message.payload for message in kept}
    assert all(message.retain for message in kept)
    assert (words["status"], words["camera"]) == (b"online", b"streaming")
    assert json.loads(words["records"])["frame"] == 1


@pytest.mark.slow
def test_nothing_is_lost_while_the_broker_restarts(broker, reader, opened, log):
    sink = opened(broker.topic)
    log.next()
    for index in range(30):
        sink.write(record(index))
    broker.stop()
    assert log.next() == (
        f"WARNING {sink.name}: connection lost; check the broker (it is tried on and on)"
    )
    for index in range(30, 100):
        sink.write(record(index))
    broker.start()
    assert set(reader.frames(100)) == set(range(100))
    while (line := log.next()) != f"INFO {sink.name}: connected":
        assert "connection refused" in line


@pytest.mark.slow
def test_a_broker_that_is_not_there_is_no_error_and_gets_what_waited(place, opened, log):
    broker = BrokerProcess(place)
    broker.stop()
    sink = opened(broker.topic)
    assert log.next() == (
        f"WARNING {sink.name}: no connection: connection refused; check address and network "
        "(it is tried on and on)"
    )
    for index in range(100):
        sink.write(record(index))
    broker.start()
    reader = Reader(broker.port)
    assert set(reader.frames(100)) == set(range(100))
    assert log.next() == f"INFO {sink.name}: connected"  # and no second warning before
    reader.close()
    broker.stop()


def test_no_more_records_wait_than_may_and_the_rest_is_counted(place, opened, log, caplog):
    broker = BrokerProcess(place)
    broker.stop()
    sink = opened(f"{broker.topic}?queue=25")
    log.next()
    output = Detached(sink, depth=100)
    for index in range(100):
        output.write(record(index))
    wait_until(lambda: output.dropped == 75)
    output.close()
    assert (output.written, output.dropped) == (0, 100)
    assert "25 records wait for the broker, no more may; check the broker" in caplog.text
    assert f"{sink.name}: 25 records were not delivered" in caplog.text
    assert caplog.text.count("records are dropped until it works again") == 1


def test_without_a_connection_qos_0_has_no_second_attempt(place, opened, log):
    broker = BrokerProcess(place)
    broker.stop()
    sink = opened(f"{broker.topic}?qos=0")
    log.next()
    with pytest.raises(SinkError, match="no connection to the broker; check it and the network"):
        sink.write(record(0))


@pytest.mark.slow
@pytest.mark.parametrize("qos", [0, 1])
def test_a_broker_that_stands_still_costs_records_and_nothing_else(
    qos, broker, reader, opened, log
):
    sink = opened(f"{broker.topic}?qos={qos}&queue=200")
    log.next()
    broker.process.send_signal(signal.SIGSTOP)
    large = record(0, "streaming")
    large.values["text"] = "x" * 100_000  # what the kernel keeps is full after a few dozen
    written = []
    with pytest.raises(SinkError, match="200 records wait for the broker, no more may"):
        written.extend(sink.write(large) for _ in range(1000))
    assert 200 <= len(written) < 1000
    assert len(sink._waiting) == 200
    broker.process.send_signal(signal.SIGCONT)
    for _ in written:
        assert json.loads(reader.next("records").payload)["frame"] == 0
    sink.write(record(7))
    assert json.loads(reader.next("records").payload)["frame"] == 7


@pytest.mark.slow
def test_a_run_that_dies_is_said_to_be_offline_by_the_broker(broker, reader, tmp_path):
    words = ("run", "--source", "synthetic:portrait?frames=0", "--sink", broker.topic)
    process = start(*words, "--sink", f"file:{tmp_path}/all.jsonl", stdout=subprocess.DEVNULL)
    assert reader.word("status") == "online"
    assert len(reader.frames(3)) == 3
    process.kill()
    process.communicate(timeout=PATIENCE_S)
    assert reader.word("status") == "offline"


@pytest.mark.slow
def test_a_live_run_goes_on_without_its_broker_and_is_heard_again(broker, reader, tmp_path):
    out = tmp_path / "all.jsonl"
    words = ("run", "--source", "synthetic:portrait?frames=0", "--sink", broker.topic)
    process = start(*words, "--sink", f"file:{out}", stdout=subprocess.DEVNULL)
    try:
        heard = reader.frames(3)
        broker.process.kill()
        broker.stop()
        size = out.stat().st_size
        while out.stat().st_size < size + 20_000:  # it goes on
            assert process.poll() is None
        broker.start()
        while reader.frames(1)[0] <= heard[-1]:
            pass
    finally:
        process.terminate()
        _, err = process.communicate(timeout=PATIENCE_S)
    frames = [json.loads(line)["frame"] for line in out.read_text().splitlines()]
    assert process.returncode == 0
    assert frames == sorted(frames)
    assert err.count("connection lost") == 1
    assert "Traceback" not in err


@pytest.mark.slow
def test_what_still_waits_when_a_run_ends_is_counted_as_unwritten(broker, reader, service):
    service.configure(sinks=[broker.topic, f"file:{service.out}"])
    service.start()
    reader.frames(1)
    broker.process.send_signal(signal.SIGSTOP)
    seen = len(service.records())
    wait_until(lambda: len(service.records()) > seen + 5)
    code, err = service.stop()
    left = re.search(r"(\d+) records were not delivered", err)
    counts = json.loads((service.state / "state.json").read_text())["counts"]["unwritten"]
    broker.process.send_signal(signal.SIGCONT)
    assert code == 0
    assert int(left[1]) >= 5
    assert counts == {broker.topic: int(left[1]), f"file:{service.out}": 0}
    assert f"{broker.topic}: {left[1]} records not written" in err


@pytest.fixture
def guarded(place):
    """A broker that only lets `me` in, whose password is `se/cr@t`."""
    passwords = place / "passwords"
    subprocess.run(
        [shutil.which("mosquitto_passwd", path=PATHS), "-c", "-b", passwords, "me", "se/cr@t"],
        check=True,
    )
    broker = BrokerProcess(place, ["allow_anonymous false", f"password_file {passwords}"])
    yield broker
    broker.stop()


def test_user_and_password_are_given_and_never_shown(guarded, opened, log):
    sink = opened(guarded.topic.replace("//", "//me:se%2Fcr%40t@"))
    assert sink.name == guarded.topic
    assert log.next() == f"INFO {guarded.topic}: connected"
    reader = Reader(guarded.port, "me", "se/cr@t")
    sink.write(record(5))
    assert reader.frames(1) == [5]
    reader.close()


@pytest.mark.parametrize("who", ["", "me:wr%40ng@", "nobody@"])
def test_a_broker_that_refuses_us_is_told_of_once_and_without_the_password(
    who, guarded, opened, log
):
    sink = opened(guarded.topic.replace("//", f"//{who}"))
    assert log.next() == (
        f"WARNING {guarded.topic}: the broker refuses: not authorized; check user and password "
        "(it is tried on and on)"
    )
    sink.write(record(0))
    with pytest.raises(DeliveryError, match=": 1 records were not delivered"):
        sink.close()
    assert log.lines.empty()


@pytest.fixture
def certificates(place):
    """A certificate of 127.0.0.1 that vouches for itself, and one of someone else."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1", "-addext"]
    for name in ("ours", "other"):
        files = ["-keyout", place / f"{name}.key", "-out", place / f"{name}.pem"]
        subprocess.run(
            ["openssl", *words, "subjectAltName=IP:127.0.0.1", *files],
            check=True,
            capture_output=True,
        )
    return place


@pytest.fixture
def encrypted(certificates):
    """A broker with a certificate; its address lacks the name of the file."""
    lines = ["allow_anonymous true", f"certfile {certificates}/ours.pem"]
    broker = BrokerProcess(certificates, [*lines, f"keyfile {certificates}/ours.key"])
    yield broker.topic.replace("mqtt:", "mqtts:") + f"?ca={certificates}/"
    broker.stop()


def test_tls_is_spoken_with_who_has_the_right_certificate(encrypted, opened, log):
    sink = opened(f"{encrypted}ours.pem")
    assert log.next() == f"INFO {sink.name}: connected"
    sink.write(record(0))
    sink._waiting[0].wait_for_publish(PATIENCE_S)
    assert sink._waiting[0].is_published()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")
def test_a_broker_that_vouches_for_itself_is_not_believed(encrypted, opened, log):
    sink = opened(f"{encrypted}other.pem")
    assert "certificate verify failed" in log.next()
    thread = sink._client._thread
    sink.close()
    thread.join(PATIENCE_S)
    before, refused = len(os.listdir("/proc/self/fd")), 0
    for _ in range(20):
        try:
            sink._client.reconnect()
        except ssl.SSLCertVerificationError:
            refused += 1
    gc.collect()  # paho does not close the socket of a failed handshake, Python does
    assert refused == 20
    assert len(os.listdir("/proc/self/fd")) <= before


@pytest.mark.parametrize(
    ("name", "what"), [("none.pem", "no such file or directory"), ("ours.key", "x509")]
)
def test_certificates_that_cannot_be_read_are_refused(name, what, encrypted, opened):
    with pytest.raises(SinkError, match=f"{what}.*; name a file of certificates"):
        opened(f"{encrypted}{name}")


def test_a_failed_connection_leaves_no_descriptor_behind(place, opened, log):
    broker = BrokerProcess(place)
    broker.stop()
    sink = opened(broker.topic)
    log.next()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        with pytest.raises(ConnectionRefusedError):
            sink._client.reconnect()
    assert len(os.listdir("/proc/self/fd")) <= before


def test_a_closed_sink_leaves_no_thread_behind(broker, opened, log):
    for _ in range(3):
        sink = opened(broker.topic)
        log.next()
        thread = sink._client._thread
        sink.close()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def test_a_sink_that_was_closed_while_it_connected_stays_away(broker, reader, opened, log):
    sink = opened(broker.topic)
    assert log.next()
    assert reader.word("status") == "online"
    sink.close()
    assert reader.word("status") == "offline"
    while sink._client._thread is not None:
        pass
    sink._client.reconnect()  # as a connection that was on its way
    sink._client.loop_forever()  # until it has disconnected
    assert log.lines.empty()
    assert [m.payload for m in reader.messages.queue] == []


@pytest.mark.parametrize(
    ("uri", "what"),
    [
        ("mqtt://broker", "names no topic; write mqtt://HOST/TOPIC, without"),
        ("mqtt://broker/a/%23", "names no topic"),
        ("mqtt://broker/a+b", "names no topic"),
        ("mqtt://broker:0/a", "there is no port 0; name the broker's, or none for 1883"),
        ("mqtt://broker/a?qos=3", "qos is '3'; give a number from 0 to 2"),
        ("mqtt://broker/a?qos=0.5", "qos is 0.5; give a whole number"),
        ("mqtt://broker/a?queue=0", "queue is '0'; give a number from 1 to 60000"),
        ("mqtt://broker/a?ca=x", "ca is no option here; use qos, retain, queue"),
        ("mqtt://me:secret", "^mqtt://...: is no address; write SCHEME://HOST:PORT"),
        ("mqtt://me:sec/secret@broker/a", "^mqtt://...: is no address"),
        ("mqtt://me:1/secret@broker/a", "^mqtt://...: is no address"),
        ("mqtt://me:secret#x@broker/a", "^mqtt://...: is no address"),
        ("mqtt://me:secret?x@broker/a", "^mqtt://...: is no address"),
        ("mqtt://me:secret@broker/", "^mqtt://broker/: names no topic"),
        ("mqqt://me:secret@broker/a", "^sink 'mqqt://broker/a': no such kind of output"),
    ],
)
def test_a_bad_address_is_refused_without_its_password(uri, what, vitals):
    with pytest.raises(UsageError, match=what) as raised:
        open_sink(uri, vitals=vitals)
    assert "secret" not in str(raised.value)
    with pytest.raises(UsageError, match=what):
        output_path(uri)


def test_an_address_says_where_as_whom_and_how():
    broker = broker_of("mqtts://me:p%40ss@[::1]/a/b?qos=2&retain=1&queue=7&ca=/x.pem")
    assert (broker.host, broker.port, broker.topic) == ("::1", 8883, "a/b")
    assert (broker.user, broker.password, broker.tls) == ("me", "p@ss", True)
    assert (broker.qos, broker.retain, broker.queue, str(broker.ca)) == (2, True, 7, "/x.pem")
    assert "p@ss" not in repr(broker)
    assert broker_of("mqtt://broker/a").port == 1883


def test_one_topic_cannot_be_two_outputs(tmp_path):
    config = tmp_path / "camera.toml"
    config.write_text('sinks = ["mqtt://me:secret@b/cam", "-", "mqtt://me:secret@b/cam"]\n')
    code, _, line = refusal("check", config)
    assert code == 2
    assert "mqtt://b/cam: mqtt://b/cam goes to the same place; name another" in line
    assert "secret" not in line


def test_without_the_package_the_extra_is_named():
    words = ("run", "--source", "synthetic:portrait?frames=3", "--sink", "mqtt://me:secret@h/cam")
    code, out, line = refusal(*words, without=("paho",))
    assert (code, out) == (73, "")
    assert line == (
        "edgetrack: mqtt://h/cam: paho-mqtt is not installed; pip install 'edgetrack[mqtt]'"
    )
