"""Watching runs and answering browsers until Ctrl-C."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence

import uvicorn
from starlette.types import ASGIApp

from accredit.dashboard.address import Address, doors_of, listen, url_of
from accredit.dashboard.application import application
from accredit.dashboard.guard import Guard
from accredit.dashboard.stream import Announcer
from accredit.dashboard.watched import Watched

_LOOK_EVERY_S = 0.3


def watch(
    runs: Sequence[Watched],
    address: Address,
    *,
    on_ready: Callable[[str], None],
    on_progress: Callable[[str, float], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> None:
    """Serve the page until Ctrl-C or SIGTERM, or until it is told to stop.

    Args:
        runs: what is shown.
        address: where.
        on_ready: called with the address of the page, token included, once it answers.
        on_progress: called with the name of a run and the share of its events that were read, while they are read for
            the first time.
        should_stop: asked at least once a second; in a thread other than the main one, where no signal arrives, it is
            the only way to end the page.

    Raises:
        InvalidArgument: the port is taken, or the host is no address of this machine.
    """
    listening = listen(address)
    port = listening.getsockname()[1]
    announcer = Announcer()
    server = _Server(
        _settings(application(runs, announcer), address, port), announcer, lambda: on_ready(url_of(address, port))
    )

    async def serve() -> None:
        looking = asyncio.create_task(_look(runs, server, on_progress, should_stop or (lambda: False)))
        looking.add_done_callback(lambda _: setattr(server, "should_exit", True))  # an error there must be seen
        try:
            await server.serve(sockets=[listening])
        finally:
            server.should_exit = True
            await looking

    try:
        asyncio.run(serve())
    except KeyboardInterrupt:
        pass  # the server has ended in order and passes the signal on
    finally:
        listening.close()
        for run in runs:
            run.save()


def _settings(page: ASGIApp, address: Address, port: int) -> uvicorn.Config:
    return uvicorn.Config(
        Guard(page, doors_of(address, port)),
        http="h11",
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        access_log=False,  # it would write the token down
        proxy_headers=False,
        server_header=False,
        h11_max_incomplete_event_size=16384,
        timeout_graceful_shutdown=2,
    )


class _Server(uvicorn.Server):
    """Says when it answers; at the end it ends the streams first, which would otherwise stay open for ever."""

    def __init__(self, config: uvicorn.Config, announcer: Announcer, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self.announcer, self.on_ready = announcer, on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer, and say so."""
        await super().startup(sockets)
        self.on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, then everything else."""
        self.announcer.close()
        await super().shutdown(sockets)


async def _look(
    runs: Sequence[Watched],
    server: _Server,
    on_progress: Callable[[str, float], None] | None,
    should_stop: Callable[[], bool],
) -> None:
    """Follow the files of all runs and tell browsers of changes; one that takes long to read holds up no other."""

    def is_over() -> bool:
        return server.should_exit or should_stop()

    await asyncio.gather(*(_follow(run, server.announcer, on_progress, is_over) for run in runs))


async def _follow(
    run: Watched,
    announcer: Announcer,
    on_progress: Callable[[str, float], None] | None,
    is_over: Callable[[], bool],
) -> None:
    known: tuple[int, str] | None = None
    is_told = False
    while not is_over():
        more = await asyncio.to_thread(run.poll)
        if on_progress is not None and not is_told:
            on_progress(run.name, run.progress())
            if not more:
                is_told = True
                await asyncio.to_thread(run.save)
        now = (run.version, run.state())
        if now != known:
            known = now
            announcer.announce()
        if not more:
            await asyncio.sleep(_LOOK_EVERY_S)
