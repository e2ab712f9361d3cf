"""Watching runs and answering browsers until Ctrl-C."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import uvicorn

from accredit.dashboard.application import application
from accredit.dashboard.guard import Doors, Guard
from accredit.dashboard.run import WatchedRun
from accredit.dashboard.stream import Announcer
from accredit.errors import InvalidArgument

_LOOK_EVERY_S = 0.5
_SHORTEST_TOKEN = 16
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where the page listens.

    Raises:
        InvalidArgument: others can reach the address and there is no token, or one that can be guessed.
    """

    host: str = "127.0.0.1"
    """An address of this machine, or a name of it."""
    port: int = 8777
    """Number of the port; 0: any that is free."""
    token: str | None = None
    """What a browser must show; at least 16 characters of those that an address can hold."""

    def __post_init__(self) -> None:
        """Check that nobody is let in by mistake."""
        if not 0 <= self.port <= 65535:
            raise InvalidArgument(f"`--port` is {self.port}, wanted 0 to 65535; leave it out to take 8777.")
        if self.token is None:
            if not self.is_loopback:
                raise InvalidArgument(
                    f"`--host` is {self.host}, where others can reach the page, wanted a token that keeps them out; "
                    "set ACCREDIT_TOKEN to one, or leave `--host` out and forward the port by ssh -L."
                )
        elif len(self.token) < _SHORTEST_TOKEN or not _is_plain(self.token):
            raise InvalidArgument(
                f"`--token` has {len(self.token)} characters, wanted at least {_SHORTEST_TOKEN}, letters, digits, - "
                "and _ only; make one by python -c 'import secrets; print(secrets.token_urlsafe())'."
            )

    @property
    def is_loopback(self) -> bool:
        """Whether this machine alone can reach the address."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host.lower() == "localhost"


def _is_plain(token: str) -> bool:
    return token.isascii() and all(letter.isalnum() or letter in "-_" for letter in token)


def watch(
    runs: Sequence[WatchedRun],
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
    listening = _listen(address)
    announcer = Announcer()
    doors = _doors(address, listening.getsockname()[1])
    server = _Server(
        uvicorn.Config(
            Guard(application(runs, announcer), doors),
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
        ),
        announcer,
    )
    shown = address.host if address.host not in ("0.0.0.0", "::") else socket.gethostname()
    url = f"http://{f'[{shown}]' if ':' in shown else shown}:{doors.port}/"
    url += f"?token={address.token}" if address.token else ""

    async def serve() -> None:
        looking = asyncio.create_task(_look(runs, server, on_progress, should_stop or (lambda: False)))
        looking.add_done_callback(lambda _: setattr(server, "should_exit", True))  # an error there must be seen
        on_ready(url)
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
            run.index.save()


class _Server(uvicorn.Server):
    """Ends the streams first, which would otherwise stay open for ever."""

    def __init__(self, config: uvicorn.Config, announcer: Announcer) -> None:
        super().__init__(config)
        self.announcer = announcer

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.announcer.close()
        await super().shutdown(sockets)


async def _look(
    runs: Sequence[WatchedRun],
    server: _Server,
    on_progress: Callable[[str, float], None] | None,
    should_stop: Callable[[], bool],
) -> None:
    """Follow the files of all runs and tell browsers of changes."""
    known: list[tuple[int, str]] = []
    told: set[int] = set()
    while not (server.should_exit or should_stop()):
        is_behind = False
        for at, run in enumerate(runs):
            more = await asyncio.to_thread(run.index.poll)
            is_behind |= more
            if on_progress is not None and at not in told:
                on_progress(run.name, run.index.progress())
                if not more:
                    told.add(at)
                    await asyncio.to_thread(run.index.save)
        now = [(run.index.version, run.state()) for run in runs]
        if now != known:
            known = now
            server.announcer.announce()
        if not is_behind:
            await asyncio.sleep(_LOOK_EVERY_S)


def _listen(address: Address) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        return socket.create_server((address.host, address.port), family=family, backlog=128)
    except socket.gaierror as error:
        raise InvalidArgument(
            f"`--host` is {address.host!r}, which no name server knows ({error.strerror}), wanted an address of this "
            "machine; leave it out to take 127.0.0.1."
        ) from error
    except OSError as error:
        free = _free_port(address)
        if free is None:
            raise InvalidArgument(
                f"`--host` is {address.host!r}, where this machine cannot listen ({error.strerror}), wanted one of "
                "its own addresses; leave it out to take 127.0.0.1."
            ) from error
        raise InvalidArgument(
            f"`--port` is {address.port}, which cannot be had ({error.strerror}), wanted a free one; pass --port "
            f"{free}, which is free now, or --port 0 for any."
        ) from error


def _free_port(address: Address) -> int | None:
    """Return a port near the wanted one that is free, or None where not even that can be listened on."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    for port in [*range(address.port + 1, min(address.port + 20, 65536)), 0]:
        try:
            with socket.create_server((address.host, port), family=family) as tried:
                return int(tried.getsockname()[1])
        except OSError:
            continue
    return None


def _doors(address: Address, port: int) -> Doors:
    names = {address.host.lower()}
    if address.is_loopback:
        names.update(_LOOPBACK)
    else:
        names.update((*_LOOPBACK, socket.gethostname().lower(), socket.getfqdn().lower()))
    is_open = address.host in ("0.0.0.0", "::")
    return Doors(frozenset(names), port, any_address=is_open, token=address.token)
