"""Tries `edgetrack run` against an RTSP server that comes, goes, stalls and changes; prints rows.

Run by scripts/target/rtsp with the Python whose edgetrack is tried: rtsp.py SERVER-PYTHON
[--own-network], where nothing else uses the loopback interface, which is then switched off too.
"""

import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import cv2
from daemon import Daemon, Said
from rows import expect, try_all, until

from edge.sources.synthetic import SyntheticPortrait

HERE = Path(__file__).resolve().parent
SIOCSIFFLAGS = 0x8914
SIZE, SMALLER = "640x480", "480x360"
DEADLINE_S = 5.0  # the default of capture.deadline_s
AT_ONCE_S = 1.9  # sooner than the time-out of reads
BACK_S = 10.0  # what is told, not what is promised: a slow machine must not fail
END_S = 5.0  # a lost track has ended: coast_s and max_lost_s, and some


class Server:
    """The camera on the network; its port stays, and so does its stream."""

    def __init__(self, python: str, pictures: Path) -> None:
        """Take a free port; nobody listens there yet."""
        self._python, self._pictures = python, pictures
        self._process: subprocess.Popen[str] | None = None
        self.connections: list[float] = []
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.uri = f"rtsp://me:secret@127.0.0.1:{self.port}/test"

    def start(self, size: str = SIZE) -> float:
        """Serve; return the moment from which it does."""
        words = [self._python, HERE / "rtsp_server.py", str(self.port), size, self._pictures]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        self._process = process
        said = process.stdout
        expect(bool(said and said.readline().strip()), "the server does not start")
        threading.Thread(target=self._count, args=(process,), daemon=True).start()
        return time.monotonic()

    def send(self, number: signal.Signals) -> float:
        """Stop, continue or kill it; return the moment."""
        if self._process is not None:
            self._process.send_signal(number)
            if number == signal.SIGKILL:
                self._process.wait()
        return time.monotonic()

    def _count(self, process: subprocess.Popen[str]) -> None:
        for _ in process.stdout or ():
            self.connections.append(time.monotonic())


class Trial:
    """The claims, in order: each finds the daemon running and the stream up, and leaves them so."""

    def __init__(self, server: Server, folder: Path) -> None:
        """Try a server; the daemon is started by the first claim."""
        self._server, self._folder = server, folder
        self.daemon: Daemon | None = None
        self._pid = self._logged = 0

    def absent_at_the_start(self) -> str:
        """Started before its camera: it waits and tries again, and is there once that is."""
        daemon = self.daemon = Daemon(self._server.uri, self._folder)
        self._pid = daemon.pid
        daemon.logged("connection refused", 0.0, 20)
        time.sleep(2)  # long enough for a process that gives up
        expect(daemon.status()["source"]["openings"] == 0, "it has opened something")
        expect(not daemon.said, "there are records though nothing came")
        return self._back(self._server.start())

    def streams(self) -> str:
        """Streams: pictures of the size that the camera sends, good, and tracked."""
        began = time.monotonic()
        time.sleep(3)
        said = [said for said in self._daemon.said[:] if said.at >= began]
        expect({s.record.get("condition", "good") for s in said} == {"good"}, "some are not good")
        expect({tuple(s.record["size"]) for s in said} == {(640, 480)}, "the size is another")
        tracked = sum(bool(s.confirmed) for s in said) / len(said)
        expect(tracked > 0, "there are no tracks")
        what = str(self._daemon.status()["source"]["description"])
        expect(what.endswith("h264 640x480 at 15 fps"), what)
        return f"tracks in {tracked:.0%} of {len(said)} records"

    def short_stall(self) -> str:
        """Stalls for a second: it is waited for, and nothing is opened anew."""
        openings = self._openings()
        self._server.send(signal.SIGSTOP)
        time.sleep(1)
        began = self._server.send(signal.SIGCONT)
        self._daemon.first(began + 0.5, "a track", BACK_S, picture=True, tracks=True)
        time.sleep(1.5)  # the status is renewed once a second
        expect(self._openings() == openings, "it was opened anew")
        return ""

    def silent_cut(self) -> str:
        """Goes silent: noticed within the deadline, told as lost, and its tracks end."""
        before = self._last().confirmed
        began = self._server.send(signal.SIGSTOP)
        seconds = self._lost(began, DEADLINE_S + 1) - began
        until(lambda: not self._last().record["tracks"], END_S, "the tracks end")
        ended = {
            event["id"]
            for said in self._daemon.said[:]
            for event in said.record["events"]
            if event["type"] == "end" and said.at > began
        }
        expect(before <= ended, f"of the tracks {before} only {ended} were told to have ended")
        return f"lost after {seconds:.1f} s"

    def silent_cut_mended(self) -> str:
        """Speaks again after a silence: the same process is back, and no id is given out twice."""
        before = max(id for s in self._daemon.said[:] for id in s.confirmed)
        time.sleep(3)
        figure = self._back(self._server.send(signal.SIGCONT))
        ids = self._last().confirmed
        expect(min(ids) > before, f"ids are {ids}, up to {before} were used")
        return figure

    def no_network(self) -> str:
        """Cut off, no packet passes: noticed within the deadline; then the same process is back."""
        began = _switch_network(on=False)
        try:
            seconds = self._lost(began, DEADLINE_S + 1) - began
            self._daemon.logged("no answer within", began, DEADLINE_S + 5)
        finally:
            mended = _switch_network(on=True)
        return f"lost after {seconds:.1f} s; " + self._back(mended)

    def killed(self) -> str:
        """Resets the connection: noticed at once."""
        began = self._server.send(signal.SIGKILL)
        seconds = self._daemon.logged("camera lost", began, AT_ONCE_S)
        in_records_s = self._lost(began, AT_ONCE_S + 1) - began  # a word a second
        return f"log after {seconds:.2f} s, records after {in_records_s:.2f} s"

    def not_hammered(self) -> str:
        """Stays away: it is tried again without haste, whoever answers in its place."""
        with socket.create_server(("127.0.0.1", self._server.port)) as listener:
            moments = _accepted(listener, 5)
        expect(2 <= len(moments) <= 15, f"{len(moments)} connections in 5 s")
        return f"{len(moments)} connections in 5 s, longest_retry_s is 0.5"

    def killed_mended(self) -> str:
        """Started anew after a kill: the same process is back."""
        return self._back(self._server.start())

    def another_size(self) -> str:
        """Started anew with pictures of another size: the same process is back, and tracks them."""
        began = self._server.send(signal.SIGKILL)
        self._lost(began, AT_ONCE_S + 1)
        figure = self._back(self._server.start(SMALLER))
        size = tuple(self._last().record["size"])
        expect(size == (480, 360), f"the size is {size}")
        return figure

    def lost_again_and_again(self) -> str:
        """Killed and started three times: it is back, and no descriptor or thread is left over."""
        before = self._weight()
        for _ in range(3):
            self._lost(self._server.send(signal.SIGKILL), AT_ONCE_S + 1)
            self._back(self._server.start(SMALLER))
        after = self._weight()
        # A connection or a thread may be on its way out.
        expect(all(b <= a + 2 for a, b in zip(before, after, strict=True)), f"{before}, {after}")
        return f"descriptors {before[0]} and {after[0]}, threads {before[1]} and {after[1]}"

    def one_run(self) -> str:
        """All this was one process and one run; index and clock of its frames never fell back."""
        said, status = self._daemon.said[:], self._daemon.status()
        expect(status["pid"] == self._pid == self._daemon.pid, f"the process is {status['pid']}")
        expect({s.record["run"] for s in said} == {status["run"]}, "there are several runs")
        for key in ("frame", "captured_at"):
            values = [s.record[key] for s in said]
            falls = [(a, b) for a, b in pairwise(values) if b < a]
            expect(not falls, f"{key} fell back: {falls[:3]}")
        ahead = max(s.record["captured_at"] - s.at for s in said)
        expect(ahead <= 0, f"a record is {ahead:.3f} s ahead of its time")
        return f"{len(said)} records, {status['source']['openings']} openings"

    def says_no_password(self) -> str:
        """The password in its address stands in no record, no log and no status."""
        daemon = self._daemon
        words = [str(s.record) for s in daemon.said] + [line for _, line in daemon.log]
        words.append(str(daemon.status()))
        expect(not any("secret" in text for text in words), "it does")
        expect(not any("Traceback" in text for text in words), "there is a traceback")
        return f"{len(daemon.log)} lines of log"

    def stopped_while_silent(self) -> str:
        """Asked to stop while the camera is silent: it ends within 8 s, exit code 0."""
        self._server.send(signal.SIGSTOP)
        time.sleep(0.5)
        seconds = self._daemon.stop()
        expect(seconds < 8, f"it took {seconds:.1f} s")
        return f"{seconds:.1f} s"

    def log(self) -> str:
        """Return what is new in the daemon's log."""
        lines = self.daemon.log[self._logged :] if self.daemon else []
        self._logged += len(lines)
        return "\n".join(f"{at:.2f} {line}" for at, line in lines)

    @property
    def _daemon(self) -> Daemon:
        expect(self.daemon is not None, "the daemon was not started")
        assert self.daemon is not None  # noqa: S101  for the types
        return self.daemon

    def _last(self) -> Said:
        return self._daemon.said[-1]

    def _openings(self) -> int:
        return int(self._daemon.status()["source"]["openings"])

    def _weight(self) -> tuple[int, int]:
        """Return how many descriptors and threads the process has."""
        folder = Path(f"/proc/{self._daemon.pid}")
        return len(os.listdir(folder / "fd")), len(os.listdir(folder / "task"))

    def _lost(self, began: float, limit_s: float) -> float:
        """Wait until a record says that the camera is lost; return the moment."""
        what = "a record says that it is lost"
        return self._daemon.first(began, what, limit_s, state="lost", condition="absent").at

    def _back(self, began: float) -> str:
        """Wait for pictures and tracks; return after how long they came."""
        daemon = self._daemon
        picture = daemon.first(began, "a picture", BACK_S, picture=True)
        track = daemon.first(picture.at, "a track", BACK_S, picture=True, tracks=True)
        expect(daemon.pid == self._pid, "the process is another")
        return f"first picture after {picture.at - began:.1f} s, track {track.at - began:.1f} s"

    def claims(self, *, own_network: bool) -> list[Callable[[], str]]:
        """Return all, in order."""
        return [
            self.absent_at_the_start,
            self.streams,
            self.short_stall,
            self.silent_cut,
            self.silent_cut_mended,
            *([self.no_network] if own_network else []),
            self.killed,
            self.not_hammered,
            self.killed_mended,
            self.another_size,
            self.lost_again_and_again,
            self.one_run,
            self.says_no_password,
            self.stopped_while_silent,
        ]


def _switch_network(*, on: bool) -> float:
    """Switch the loopback interface on or off; see netdevice(7). Return the moment."""
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", on))
    return time.monotonic()


def _accepted(listener: socket.socket, for_s: float) -> list[float]:
    """Accept and close connections for a while; return when they came."""
    moments: list[float] = []
    end = time.monotonic() + for_s
    while (left := end - time.monotonic()) > 0:
        listener.settimeout(left)
        try:
            listener.accept()[0].close()
        except TimeoutError:
            break
        moments.append(time.monotonic())
    return moments


def _paint(folder: Path) -> None:
    """Write ten seconds of the made portrait, which then begins anew, as pictures at 15 fps."""
    portrait = SyntheticPortrait()
    for number in range(150):
        path = folder / f"{number:04d}.jpg"
        cv2.imwrite(str(path), cv2.cvtColor(portrait.image(2 * number), cv2.COLOR_RGB2BGR))


def main(server_python: str, own_network: str = "") -> int:
    """Try every claim."""
    if own_network:
        _switch_network(on=True)
    with tempfile.TemporaryDirectory() as place:
        pictures, runtime = Path(place, "pictures"), Path(place, "runtime")
        pictures.mkdir()
        runtime.mkdir()
        _paint(pictures)
        server = Server(server_python, pictures)
        trial = Trial(server, runtime)
        try:
            return try_all(trial.claims(own_network=bool(own_network)), trial.log)
        finally:
            server.send(signal.SIGKILL)
            if trial.daemon is not None:
                trial.daemon.kill()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
