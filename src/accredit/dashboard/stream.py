"""Telling browsers that something has changed, by server-sent events.

A message says only that there is something new, and the browser asks for what it shows. So nothing waits in a queue: a
browser that reads slowly, or no more, finds one message, however much has happened, and holds up nobody else.
"""

from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress

from starlette.types import Message, Receive, Scope, Send

_MOST_CLIENTS = 64
_ALIVE_EVERY_S = 10.0
_STALLED_AFTER_S = 10.0
_STREAM = [(b"content-type", b"text/event-stream"), (b"x-accel-buffering", b"no")]


class Announcer:
    """An ASGI application that keeps its connections open and tells each of every change.

    The ids of its messages differ from those before a restart of the page, so that a browser that comes back with an id
    (Last-Event-ID) learns whether it has missed anything.
    """

    def __init__(self) -> None:
        self._boot = secrets.token_hex(4)
        self._number = 0
        self._clients: set[asyncio.Event] = set()
        self._is_closed = False

    @property
    def clients(self) -> int:
        """Browsers that listen."""
        return len(self._clients)

    def announce(self) -> None:
        """Tell every browser that something has changed; called in the thread of the event loop."""
        self._number += 1
        for client in self._clients:
            client.set()

    def close(self) -> None:
        """End all connections."""
        self._is_closed = True
        for client in self._clients:
            client.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one browser until it leaves, stalls, or the page ends."""
        if scope["method"] == "HEAD":
            await send({"type": "http.response.start", "status": 200, "headers": _STREAM})
            await send({"type": "http.response.body", "body": b""})
            return
        if len(self._clients) >= _MOST_CLIENTS or self._is_closed:
            await send({"type": "http.response.start", "status": 503, "headers": [(b"retry-after", b"10")]})
            await send({"type": "http.response.body", "body": b""})
            return
        known = next((value for name, value in scope["headers"] if name == b"last-event-id"), b"").decode("latin-1")
        wake = asyncio.Event()
        if known != self._id():
            wake.set()
        self._clients.add(wake)
        gone = asyncio.create_task(_departure(receive, wake))
        try:
            await self._serve(send, wake, gone)
        except TimeoutError:
            pass  # the browser has stopped reading
        finally:
            self._clients.discard(wake)
            gone.cancel()
            with suppress(asyncio.CancelledError):
                await gone

    async def _serve(self, send: Send, wake: asyncio.Event, gone: asyncio.Task[None]) -> None:
        await _sent(send, {"type": "http.response.start", "status": 200, "headers": _STREAM})
        await _sent(send, _part(b"retry: 1000\n\n"))
        while not (gone.done() or self._is_closed):
            try:
                await asyncio.wait_for(wake.wait(), _ALIVE_EVERY_S)
            except TimeoutError:
                await _sent(send, _part(b": still here\n\n"))
                continue
            wake.clear()
            if not (gone.done() or self._is_closed):
                await _sent(send, _part(f"id: {self._id()}\nevent: changed\ndata: {self._number}\n\n".encode()))
        if not gone.done():
            await _sent(send, {"type": "http.response.body", "body": b"", "more_body": False})

    def _id(self) -> str:
        return f"{self._boot}-{self._number}"


async def _departure(receive: Receive, wake: asyncio.Event) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    wake.set()


async def _sent(send: Send, message: Message) -> None:
    await asyncio.wait_for(send(message), _STALLED_AFTER_S)


def _part(body: bytes) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": True}
