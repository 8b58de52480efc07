import logging
import os

import pytest

from edge.notify import Notifier
from tests.service_case import Manager


@pytest.fixture
def manager(tmp_path):
    manager = Manager(str(tmp_path / "notify"))
    yield manager
    manager.close()


def test_every_message_is_one_datagram_as_the_protocol_has_it(manager):
    notifier = Notifier(manager.address)
    notifier.ready()
    notifier.alive()
    notifier.status("front: streaming")
    notifier.reloading(12.5)
    notifier.stopping()
    assert manager.said() == [
        "READY=1",
        "WATCHDOG=1",
        "STATUS=front: streaming",
        "RELOADING=1\nMONOTONIC_USEC=12500000",
        "STOPPING=1",
    ]


def test_a_status_of_several_lines_cannot_become_another_message(manager):
    Notifier(manager.address).status("lost\nREADY=1")
    assert manager.said() == ["STATUS=lost READY=1"]


def test_an_abstract_socket_is_reached():
    manager = Manager(f"\0edgetrack-test-{os.getpid()}")
    assert manager.address.startswith("@")
    Notifier(manager.address).ready()
    assert manager.said() == ["READY=1"]
    manager.close()


def test_without_a_manager_nothing_is_sent_and_nothing_is_said(caplog):
    notifier = Notifier.from_environment({})
    notifier.ready()
    assert (notifier.managed, notifier.watchdog_s, caplog.records) == (False, None, [])


def test_a_manager_that_is_gone_is_one_warning_and_no_end(manager, caplog):
    notifier = Notifier(manager.address)
    manager.close()
    for _ in range(3):
        notifier.alive()
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "cannot be told 'WATCHDOG=1'" in caplog.text


def test_a_manager_that_does_not_read_holds_nobody_up(manager, caplog):
    notifier = Notifier(manager.address)
    for _ in range(2000):  # more than any queue holds
        notifier.alive()
        if caplog.records:
            break
    assert "temporarily unavailable" in caplog.text
    assert set(manager.said()) == {"WATCHDOG=1"}
    notifier.ready()
    assert manager.said() == ["READY=1"]


def test_what_the_manager_gave_is_taken_out_of_the_environment():
    pid = str(os.getpid())
    environ = {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "4000000", "WATCHDOG_PID": pid, "HOME": "/"}
    notifier = Notifier.from_environment(environ)
    assert (notifier.managed, notifier.watchdog_s) == (True, 4.0)
    assert environ == {"HOME": "/"}


@pytest.mark.parametrize(
    "environ",
    [
        {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "4000000", "WATCHDOG_PID": "1"},
        {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "soon"},
        {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "4000000"},
    ],
)
def test_a_watchdog_that_is_of_another_process_or_none_is_not_fed(environ):
    assert Notifier.from_environment(environ).watchdog_s is None


def test_an_address_of_another_kind_is_a_warning(caplog):
    notifier = Notifier("vsock:2:1234")
    notifier.ready()
    assert not notifier.managed
    assert "neither a path nor abstract" in caplog.text
