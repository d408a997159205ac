"""uvicorn, shut down so that no connection the kernel has accepted is lost."""

import asyncio
import logging
import resource
import socket

import uvicorn
from fastapi import FastAPI

from rbr_service.settings import Settings
from rbr_service.state import State

BACKLOG = 2048
DRAIN = 0.25  # seconds in which already opened connections may still be accepted and speak


class Server(uvicorn.Server):
    """Drains before it closes.

    uvicorn closes the listening socket at once, which resets the connections that wait in its
    backlog, and closes connections that have not spoken yet. A trainer that opens one connection
    per sample has some of both at any moment, so: first no new connections, then DRAIN seconds to
    take in those that are there, then uvicorn's own shutdown.
    """

    def __init__(self, config: uvicorn.Config, state: State) -> None:
        """`state` is told that shutdown began, for /readyz."""
        super().__init__(config)
        self._state = state

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say where, once connections are taken: uvicorn does not for sockets given to it."""
        await super().startup(sockets)
        for sock in sockets or [] if self.started else []:
            host, port = sock.getsockname()[:2]
            address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            logging.getLogger("uvicorn.error").info("Listening on http://%s", address)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, then finish what is in flight. Called by uvicorn on SIGTERM and SIGINT."""
        self._state.ready = False
        for sock in sockets or []:
            sock.listen(0)  # the kernel stops completing handshakes; what it holds stays
        await asyncio.sleep(DRAIN)
        await super().shutdown(sockets)


def serve(app: FastAPI, settings: Settings, state: State) -> bool:
    """Run until told to stop; False when start-up failed. Raises OSError when the port is taken."""
    _raise_file_limit()
    config = uvicorn.Config(
        app, host=settings.host, port=settings.port, access_log=False, backlog=BACKLOG,
        timeout_graceful_shutdown=round(settings.shutdown_grace), log_level="info",
    )  # fmt: skip
    server = Server(config, state)
    server.run(sockets=[_listen(settings.host, settings.port)])
    return server.started


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host, port))
    return sock


def _raise_file_limit() -> None:
    """Every sample in flight is a connection, and the usual soft limit of 1,024 drops most of them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if hard != resource.RLIM_INFINITY else 65536
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
