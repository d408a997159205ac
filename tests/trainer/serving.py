"""The real service on a port of its own, in this process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from rbr_service.app import create_app
from rbr_service.state import State
from tests.e2e.processes import until


@contextmanager
def served(app: Any) -> Iterator[str]:
    """host:port of an app on a free port."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started or not thread.is_alive())
        host, port = server.servers[0].sockets[0].getsockname()
        yield f"{host}:{port}"
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def service(state: State) -> Iterator[str]:
    """host:port of the real service, ready."""
    with served(create_app(state)) as netloc:
        until(lambda: state.ready)
        yield netloc
