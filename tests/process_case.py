"""A live run as a process of its own, as a service manager starts it."""

import json
import signal

from tests.conftest import call, start
from tests.service_case import Manager, wait_until

ENDLESS = "synthetic:portrait?frames=0"


class Service:
    """The folders, the socket and the environment that a service manager gives."""

    def __init__(self, folder):
        self.folder, self.manager = folder, Manager(str(folder / "notify"))
        self.runtime, self.state = folder / "front", folder / "state"
        for made in (self.runtime, self.state):
            made.mkdir()
        self.out = folder / "out.jsonl"
        self.config = folder / "front.toml"
        self.configure()
        self.environment = {
            "NOTIFY_SOCKET": self.manager.address,
            "WATCHDOG_USEC": "1000000",
            "RUNTIME_DIRECTORY": str(self.runtime),
            "STATE_DIRECTORY": str(self.state),
            "EDGETRACK_MODELS": str(folder / "models"),
        }
        self.process = None

    def configure(self, more="", **keys):
        """Write its settings: keys of the first level, and more lines of TOML."""
        table = {"camera": "front", "source": ENDLESS, "models": ["face"]} | keys
        table.setdefault("sinks", [f"file:{self.out}"])
        lines = (f"{key} = {json.dumps(value)}" for key, value in table.items())
        self.config.write_text("\n".join([*lines, more]))

    def start(self, words=(), **options):
        """Start it; the words come before the command."""
        words = (*words, "run", self.config)
        self.process = start(*words, env=self.environment, start_new_session=True, **options)
        self.manager.wait_for("READY=1")

    def stop(self, number=signal.SIGTERM):
        """End the process; its exit code and what it said."""
        self.process.send_signal(number)
        _, err = self.process.communicate(timeout=60)
        return self.process.returncode, err

    def edgetrack(self, *words, run=call):
        return run(*words, self.runtime, env={"EDGETRACK_MODELS": str(self.folder / "models")})

    def status(self):
        return json.loads((self.runtime / "status.json").read_text())

    def hear(self, text):
        """Wait until it tells its manager something with that text, and return it."""
        heard = []

        def told():
            heard[:] = [message for message in self.manager.said() if text in message]
            return heard

        wait_until(told)
        return heard[-1]

    def wait_for(self, condition):
        """Wait until its status is such; what it says meanwhile is read and forgotten."""

        def met():
            self.manager.said()
            return (self.runtime / "status.json").exists() and condition(self.status())

        wait_until(met)

    def wait_for_frames(self):
        """Wait until more frames have passed than by now."""
        self.wait_for(lambda _: True)
        seen = self.status()["frames"]
        self.wait_for(lambda status: status["frames"] > seen)

    def records(self):
        return [json.loads(line) for line in self.out.read_text().splitlines()]

    def end(self):
        """End whatever is left of it."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
        self.manager.close()
