"""Nobody waits for anybody: one message at most waits for a browser, and one that does not read is let go."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from watched_runs import append, asked, served, story, update, write_run

from accredit.dashboard.stream import Announcer


class Browser:
    """The other side of a connection, as ASGI sees it."""

    def __init__(self, announcer: Announcer, *, last_id: str | None = None, reads: bool = True) -> None:
        self.heard: list[dict] = []
        self.reads = reads
        self.gone = asyncio.Event()
        headers = [] if last_id is None else [(b"last-event-id", last_id.encode())]
        scope = {"type": "http", "method": "GET", "headers": headers}
        self.task = asyncio.create_task(announcer(scope, self.receive, self.send))

    async def receive(self) -> dict:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict) -> None:
        if not self.reads and self.heard:
            await asyncio.Event().wait()
        self.heard.append(message)

    @property
    def changes(self) -> list[str]:
        bodies = [message.get("body", b"").decode() for message in self.heard]
        return [
            line[4:] for body in bodies if "event: changed" in body for line in body.split("\n") if line[:4] == "id: "
        ]


def run(test: Callable[[Announcer], Awaitable[None]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(test(Announcer()), 10)

    asyncio.run(bounded())


async def soon() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def test_a_new_browser_is_told_at_once_and_then_of_every_change():
    async def test(announcer: Announcer) -> None:
        browser = Browser(announcer)
        await soon()
        assert browser.heard[0]["headers"][0] == (b"content-type", b"text/event-stream")
        assert len(browser.changes) == 1
        announcer.announce()
        await soon()
        assert len(set(browser.changes)) == 2
        browser.gone.set()
        await browser.task
        assert announcer.clients == 0

    run(test)


def test_a_browser_that_comes_back_is_told_only_if_it_missed_something():
    async def test(announcer: Announcer) -> None:
        first = Browser(announcer)
        await soon()
        last_id = first.changes[-1]
        again = Browser(announcer, last_id=last_id)
        await soon()
        assert again.changes == []
        announcer.announce()
        late = Browser(announcer, last_id=last_id)
        await soon()
        assert len(late.changes) == len(again.changes) == 1
        after_restart = Browser(Announcer(), last_id=late.changes[-1])
        await soon()
        assert len(after_restart.changes) == 1
        for browser in (first, again, late, after_restart):
            browser.gone.set()
            await browser.task

    run(test)


def test_a_thousand_changes_are_one_message_to_a_browser_that_is_busy():
    async def test(announcer: Announcer) -> None:
        browser = Browser(announcer)
        await soon()
        for _ in range(1000):
            announcer.announce()
        await soon()
        assert len(browser.changes) == 2
        assert browser.changes[-1].endswith("-1000")
        browser.gone.set()
        await browser.task

    run(test)


def test_a_browser_that_does_not_read_is_let_go_and_holds_up_nobody(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("accredit.dashboard.stream._STALLED_AFTER_S", 0.2)

    async def test(announcer: Announcer) -> None:
        stalled, other = Browser(announcer, reads=False), Browser(announcer)
        await soon()
        announcer.announce()
        await soon()
        assert len(other.changes) == 2
        await asyncio.wait_for(stalled.task, 2)
        assert announcer.clients == 1
        other.gone.set()
        await other.task

    run(test)


def test_an_idle_connection_is_kept_alive(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("accredit.dashboard.stream._ALIVE_EVERY_S", 0.01)

    async def test(announcer: Announcer) -> None:
        browser = Browser(announcer)
        await asyncio.sleep(0.1)
        assert {"type": "http.response.body", "body": b": still here\n\n", "more_body": True} in browser.heard
        browser.gone.set()
        await browser.task

    run(test)


def test_too_many_browsers_are_asked_to_come_later(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("accredit.dashboard.stream._MOST_CLIENTS", 2)

    async def test(announcer: Announcer) -> None:
        browsers = [Browser(announcer) for _ in range(3)]
        await soon()
        assert [browser.heard[0]["status"] for browser in browsers] == [200, 200, 503]
        for browser in browsers:
            browser.gone.set()
            await browser.task

    run(test)


def test_the_end_of_the_page_ends_all_connections():
    async def test(announcer: Announcer) -> None:
        browser = Browser(announcer)
        await soon()
        announcer.close()
        await asyncio.wait_for(browser.task, 1)
        assert browser.heard[-1] == {"type": "http.response.body", "body": b"", "more_body": False}

    run(test)


def test_browsers_that_stall_or_vanish_hold_up_neither_others_nor_the_end(tmp_path: Path):
    run_folder = write_run(tmp_path / "run", story(("train-0",), 1))
    with served(run_folder) as url:
        host, port = url.split("/")[2].split(":")
        stalled = [socket.create_connection((host, int(port))) for _ in range(8)]
        for connection in stalled:
            connection.sendall(f"GET /stream HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        for connection in stalled[:4]:
            connection.close()
        append(run_folder, iter([update(2)]))
        begin = time.monotonic()
        while b'"x": [1.0, 2.0]' not in asked(url, "/data")[2]:
            assert time.monotonic() - begin < 5
        assert asked(url, "/stream", method="HEAD")[0] == 200
        begin = time.monotonic()
    assert time.monotonic() - begin < 8
    for connection in stalled[4:]:
        connection.close()
