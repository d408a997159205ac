"""A client that leaves: its work is ended after a while, unless the same is asked again meanwhile."""

import socket

from .commands import PATIENCE
from .load import judge, request
from .processes import SLOW_SERVICE, Service, service, until


def ask(running: Service) -> socket.socket:
    """A connection that has asked; always for the same."""
    connection = socket.create_connection(("127.0.0.1", running.port), timeout=PATIENCE)
    connection.sendall(request(1))
    return connection


def wait_for(running: Service, **wanted: int) -> None:
    """Wait until calls, cancelled and waiting are as wanted."""
    until(lambda: running.get("/test/grader") == wanted)


def test_work_that_all_have_left_is_ended() -> None:
    with service(SLOW_SERVICE, "--held", "--linger", "0.2") as running:
        with ask(running):
            wait_for(running, calls=1, cancelled=0, waiting=1)
        wait_for(running, calls=1, cancelled=1, waiting=0)


def test_work_asked_for_again_goes_on() -> None:
    with service(SLOW_SERVICE, "--held", "--linger", "600") as running:
        with ask(running):
            wait_for(running, calls=1, cancelled=0, waiting=1)
        until(lambda: 'status="499"' in running.text("/metrics"))
        with ask(running) as again:
            wait_for(running, calls=1, cancelled=0, waiting=1)
            running.text("/test/release")
            assert judge(b"".join(iter(lambda: again.recv(65536), b""))) == "answered"
        wait_for(running, calls=1, cancelled=0, waiting=0)


def test_one_of_two_who_ask_the_same_may_leave() -> None:
    with service(SLOW_SERVICE, "--held", "--linger", "0") as running, ask(running) as stays:
        with ask(running):
            wait_for(running, calls=1, cancelled=0, waiting=2)
        wait_for(running, calls=1, cancelled=0, waiting=1)
        running.text("/test/release")
        assert judge(b"".join(iter(lambda: stays.recv(65536), b""))) == "answered"
