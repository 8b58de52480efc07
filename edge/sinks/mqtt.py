"""MQTT: a message a record, and whether the run is there, for who subscribes.

| topic | payload | kept for who comes later |
|---|---|---|
| TOPIC/records | the record as JSON | with `?retain=1` |
| TOPIC/status | `online`, or `offline`, which the broker itself says of a run that died | yes |
| TOPIC/camera | the camera's state | yes |
"""

import logging
import sys
from collections import deque
from contextlib import suppress
from types import ModuleType
from typing import Any

from edge.errors import DeliveryError, SinkError
from edge.sinks.address import Broker
from edge.sinks.jsonl import encoder
from edge.types import CameraState, Frame, Record
from edge.vitals import Vitals

_log = logging.getLogger(__name__)

KEEPALIVE_S = 10
"""A broker that says nothing for about twice as long is lost."""
RETRY_S = (1, 30)
"""The first and the longest pause between two attempts to connect."""

_CONNECT_S = 2.0  # for a host that does not answer at all
_DRAIN_S = 1.0  # for what waits, at the end
_SPARE = 50  # messages about the run, which wait beside the records


class Mqtt:
    """Hands records to a client with a thread of its own; `write` never waits for the broker.

    No more records wait than the address says; newer ones are refused then. With QoS 1 or 2 those
    that wait are delivered when the broker is back; with QoS 0 there is no second attempt.
    """

    wants_frame = False

    def __init__(self, broker: Broker, vitals: Vitals) -> None:
        """Begin to connect; a broker that is not there is tried again and again.

        Args:
            broker: Where, and as whom.
            vitals: Of the run.

        Raises:
            SinkError: paho-mqtt is not installed, or the certificates cannot be read.
        """
        self.name = broker.shown
        self._broker, self._vitals = broker, vitals
        self._encoder = encoder()
        self._waiting: deque[Any] = deque()  # of paho: what becomes of each record
        self._connected = self._closed = False
        self._state: CameraState | None = None  # as the broker knows it
        self._trouble = ""  # as it was told
        self._paho = _paho(broker.shown)
        self._client = self._made()
        self._client.connect_async(broker.host, broker.port, KEEPALIVE_S)
        self._client.loop_start()

    def write(self, record: Record, frame: Frame | None = None) -> None:  # noqa: ARG002
        """Hand over one record.

        Raises:
            SinkError: As many wait as may, or with QoS 0 there is no connection.
        """
        if self._connected and record.state != self._state:
            self._tell_camera(record.state)
        while self._waiting and _is_settled(self._waiting[0]):
            self._waiting.popleft()
        if len(self._waiting) >= self._broker.queue:
            raise SinkError(
                f"{self.name}: {len(self._waiting)} records wait for the broker, no more may; "
                "check the broker and the network"
            )
        self._waiting.append(self._handed_over(self._encoder.encode(record)))

    def close(self) -> None:
        """Say that the run ends, after what waits if the broker takes it; may be called twice.

        Raises:
            DeliveryError: Of what waited, the broker has not confirmed so many.
        """
        if self._closed:
            return
        self._closed = True
        if self._connected:
            last = self._tell("status", "offline")
            with suppress(ValueError, RuntimeError):  # no room for it, or lost just now
                last.wait_for_publish(_DRAIN_S)
        left = sum(not _is_settled(info) for info in self._waiting)
        # Its thread ends by itself, and with the process where the broker hangs: no waiting for it.
        self._client.disconnect()
        if left:
            raise DeliveryError(f"{self.name}: {left} records were not delivered", left)

    def _handed_over(self, payload: bytes) -> Any:
        """Hand a payload to the client, and return what becomes of it."""
        broker, rc = self._broker, self._paho.MQTTErrorCode
        topic = f"{broker.topic}/records"
        info = self._client.publish(topic, payload, broker.qos, retain=broker.retain)
        if info.rc == rc.MQTT_ERR_NO_CONN and broker.qos:
            info.rc = rc.MQTT_ERR_SUCCESS  # it is kept; paho would call it failed for ever
        if info.rc:
            raise SinkError(f"{self.name}: no connection to the broker; check it and the network")
        return info

    def _tell(self, what: str, word: str) -> Any:
        """Leave a word about the run with the broker."""
        return self._client.publish(f"{self._broker.topic}/{what}", word, 1, retain=True)

    def _tell_camera(self, state: CameraState) -> None:
        self._tell("camera", state)
        self._state = state

    def _made(self) -> Any:
        """Return a client that is not connected."""
        broker, paho = self._broker, self._paho
        client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        client.connect_timeout = _CONNECT_S
        client.reconnect_delay_set(*RETRY_S)
        client.max_queued_messages_set(broker.queue + _SPARE)
        client.will_set(f"{broker.topic}/status", "offline", 1, retain=True)
        client.username_pw_set(broker.user, broker.password)
        if broker.tls:
            try:
                client.tls_set(None if broker.ca is None else str(broker.ca))
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
                raise SinkError(
                    f"{self.name}: {broker.ca}: {reason}; name a file of certificates (PEM)"
                ) from error
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        return client

    # What follows is called by the client, in its thread.

    def _on_connect(self, client: Any, _data: Any, _flags: Any, reason: Any, _more: Any) -> None:
        if reason.is_failure:
            self._warn(f"the broker refuses: {str(reason).lower()}", "user and password")
        elif self._closed:  # while it connected
            client.disconnect()
        else:
            self._tell("status", "online")
            self._tell_camera(self._vitals.source.state)
            self._connected, self._trouble = True, ""
            _log.info("%s: connected", self.name)

    def _on_connect_fail(self, _client: Any, _data: Any) -> None:
        error = sys.exception()
        reason = getattr(error, "strerror", None) or str(error)
        self._warn(f"no connection: {reason.lower()}", "address and network")

    def _on_disconnect(
        self, _client: Any, _data: Any, _flags: Any, reason: Any, _more: Any
    ) -> None:
        if self._connected and not self._closed:
            silent = str(reason) == "Keep alive timeout"
            self._warn("the broker says nothing" if silent else "connection lost", "the broker")
        self._connected = False

    def _warn(self, trouble: str, what: str) -> None:
        """Tell of a trouble, once while it lasts."""
        if trouble != self._trouble:
            self._trouble = trouble
            _log.warning("%s: %s; check %s (it is tried on and on)", self.name, trouble, what)


def _is_settled(info: Any) -> bool:
    """Say whether a record is delivered, or lost for good as with QoS 0."""
    try:
        return bool(info.is_published())
    except (ValueError, RuntimeError):
        return True


def _paho(shown: str) -> ModuleType:
    try:
        from paho.mqtt import client
    except ImportError as error:
        raise SinkError(
            f"{shown}: paho-mqtt is not installed; pip install 'edgetrack[mqtt]'"
        ) from error
    return client
