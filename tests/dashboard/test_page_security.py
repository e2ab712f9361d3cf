"""Who gets in, and what nobody gets: paths, names, origins, bodies, tokens."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from watched_runs import asked, served, story, write_run

from accredit.dashboard import Address
from accredit.dashboard.guard import Doors
from accredit.errors import InvalidArgument

TOKEN = "correct-horse-battery-staple"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("guarded")
    (base / "secret.txt").write_text("secret words")
    run = write_run(base / "run", story(("train-0", "train-1"), 2))
    (run / "private.txt").write_text("secret words")
    return run


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with served(folder) as address:
        yield address


@pytest.fixture(scope="module")
def guarded(folder: Path) -> Iterator[str]:
    with served(folder, token=TOKEN) as address:
        yield address


def raw(url: str, request: bytes) -> bytes:
    """Send bytes as they are, `PLACE` standing for the name of the page, and read the head of the answer."""
    host, port = url.split("/")[2].split(":")
    request = request.replace(b"PLACE", f"{host}:{port}".encode())
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(request)
        answer = b""
        try:
            while b"\r\n\r\n" not in answer and (part := connection.recv(65536)):
                answer += part
        except ConnectionResetError:
            pass  # it has said what it had to say
        return answer


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/..%2f..%2fsecret.txt",
        "/%2e%2e/secret.txt",
        "/page.css/../../secret.txt",
        "/page.js%00.txt",
        "/private.txt",
        "/run/private.txt",
        "/events.jsonl",
        "/config.json",
        "/./",
        "//",
        "/etc/passwd",
        "/data/../../secret.txt",
        "/data?place=../../secret.txt&file=private.txt",
        "/data?window=../../secret.txt",
        "/data?place=a&place=b",
        "/page.js?file=/etc/passwd",
        "/data?place=" + "x" * 1300,
        "/events?run=1",
        "/events?run=-1",
        "/events?run=%d9%a1",
        "/events?run=../../secret.txt",
        "/events?before=1e3",
        "/events?before=" + "9" * 40,
        "/events?file=private.txt",
    ],
)
def test_no_path_leads_to_a_file(url: str, path: str):
    status, _, body = asked(url, path)
    assert 400 <= status < 500
    assert b"secret" not in body


def test_an_unknown_place_shows_the_first_one_and_no_file(url: str):
    status, _, body = asked(url, "/data?place=..%2f..%2fsecret.txt")
    assert status == 200
    assert json.loads(body)["runs"][0]["place"] == "train-#"


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1.evil.example:{port}", "127.0.0.1:1", ""]
)
def test_a_foreign_name_is_refused(url: str, host: str):
    """DNS rebinding: a page elsewhere makes the browser ask under a name of its own."""
    port = url.split(":")[2].rstrip("/")
    status, headers, _ = asked(url, "/data", Host=host.format(port=port))
    assert status == 421
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "LOCALHOST"])
def test_the_names_of_this_machine_are_known(url: str, name: str):
    port = url.split(":")[2].rstrip("/")
    assert asked(url, "/data", Host=f"{name}:{port}")[0] == 200


@pytest.mark.parametrize(
    "host", ["localhost", "user@localhost:8000", "localhost:8000/x", "[::1", "localhost:x", "[::1]:8000@evil:8000"]
)
def test_names_are_taken_by_the_letter(host: str):
    assert not Doors(frozenset({"localhost", "::1"}), 8000).knows(host)


def test_a_page_on_all_addresses_knows_every_literal_address_and_no_other_name():
    doors = Doors(frozenset({"here"}), 8000, any_address=True)
    assert [
        doors.knows(host) for host in ("10.0.0.7:8000", "[fe80::1]:8000", "here:8000", "10.0.0.7.evil.example:8000")
    ] == [
        True,
        True,
        True,
        False,
    ]


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1:{port}", "http://127.0.0.1:1"])
def test_a_foreign_origin_is_refused(url: str, origin: str):
    port = url.split(":")[2].rstrip("/")
    assert asked(url, "/data", Origin=origin.format(port=port))[0] == 403
    assert asked(url, "/data", Origin=f"http://127.0.0.1:{port}")[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
@pytest.mark.parametrize("path", ["/", "/data", "/stream"])
def test_nothing_can_be_written(url: str, method: str, path: str):
    status, headers, _ = asked(url, path, method=method)
    assert status == 405
    assert headers["allow"] == "GET, HEAD"


def test_a_body_is_refused(url: str):
    assert asked(url, "/data", Content_Length="1000000000000")[0] == 413
    assert asked(url, "/data", Transfer_Encoding="chunked")[0] == 413


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x00\x01\x02\xff\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: PLACE\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: PLACE\r\nHost: PLACE\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost PLACE\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: PLACE\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: PLACE\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: PLACE\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: PLACE\r\nX: " + b"a" * 1_000_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: PLACE\r\n" + b"X: y\r\n" * 100_000,
    ],
)
def test_malformed_and_oversized_requests_get_4xx(url: str, request_bytes: bytes):
    answer = raw(url, request_bytes)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    assert asked(url, "/data")[0] == 200, "others are still served"


def test_a_long_address_is_refused(url: str):
    assert asked(url, "/" + "a" * 300)[0] == 414
    assert asked(url, "/?" + "a" * 5000)[0] == 414


def test_every_answer_says_what_a_browser_may_do(url: str):
    for path in ("/", "/data", "/page.js", "/nowhere", "/favicon.ico"):
        _, headers, _ = asked(url, path)
        assert headers["content-security-policy"].startswith("default-src 'self';")
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == "no-store"
        assert "server" not in headers


def test_the_page_has_no_inline_script_or_style(url: str):
    _, _, body = asked(url)
    assert body.count(b"<script") == body.count(b"<script src=") == 2
    assert b"<style" not in body
    assert b" style=" not in body


@pytest.mark.parametrize("path", ["/", "/data", "/stream", "/page.js", "/favicon.ico", "/nowhere"])
def test_no_token_no_entry(guarded: str, path: str):
    status, headers, body = asked(guarded, path)
    assert status == 401
    assert headers["www-authenticate"] == "Bearer"
    assert b"?token=" in body
    assert TOKEN.encode() not in body


@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "\xe9"])
def test_a_wrong_token_is_refused(guarded: str, token: str):
    port = guarded.split(":")[2].split("/")[0]
    assert asked(guarded, "/data", Authorization=f"Bearer {token}")[0] == 401
    assert asked(guarded, "/data", Cookie=f"accredit-{port}={token}")[0] == 401
    assert asked(guarded, "/data", Cookie="=;;" + token)[0] == 401


def test_a_wrong_token_in_the_address_is_refused(guarded: str):
    assert asked(guarded, "/?token=wrong")[0] == 401
    assert asked(guarded, f"/?token=wrong&token={TOKEN}")[0] == 401
    assert asked(guarded, f"/data?token={TOKEN}")[0] == 401, "only the page itself takes it from the address"


def test_a_token_is_shown_once_and_then_leaves_the_address(guarded: str):
    status, headers, _ = asked(guarded, f"/?token={TOKEN}")
    assert (status, headers["location"]) == (303, "/")
    cookie = headers["set-cookie"]
    assert cookie.endswith("; Path=/; HttpOnly; SameSite=Strict")
    assert asked(guarded, "/data", Cookie=cookie.split(";")[0])[0] == 200
    assert asked(guarded, "/data", Authorization=f"Bearer {TOKEN}")[0] == 200


def test_a_token_does_not_open_the_page_to_foreign_names(guarded: str):
    assert asked(guarded, "/data", Host="evil.example", Authorization=f"Bearer {TOKEN}")[0] == 421


def test_an_address_for_others_needs_a_token():
    with pytest.raises(InvalidArgument) as caught:
        Address(host="0.0.0.0")
    assert str(caught.value) == (
        "`--host` is 0.0.0.0, where others can reach the page, wanted a token that keeps them out; set ACCREDIT_TOKEN "
        "to one, or leave `--host` out and forward the port by ssh -L."
    )
    for loopback in ("127.0.0.1", "localhost", "::1", "127.8.8.8"):
        assert Address(host=loopback).is_loopback
    assert not Address(host="0.0.0.0", token=TOKEN).is_loopback


@pytest.mark.parametrize(
    "token", ["short", "", "with a blank and more", "semi;colon;semi;colon", "ünicode-ünicode-ünicode"]
)
def test_a_token_that_can_be_guessed_or_not_be_sent_is_refused(token: str):
    with pytest.raises(InvalidArgument) as caught:
        Address(token=token)
    assert str(caught.value) == (
        f"`--token` has {len(token)} characters, wanted at least 16, letters, digits, - and _ only; make one by "
        "python -c 'import secrets; print(secrets.token_urlsafe())'."
    )


def test_a_port_out_of_range_is_refused():
    with pytest.raises(InvalidArgument) as caught:
        Address(port=70000)
    assert str(caught.value) == "`--port` is 70000, wanted 0 to 65535; leave it out to take 8777."


def test_asking_leaves_the_folder_as_it_was(tmp_path: Path):
    """All that appears is the index."""
    run = write_run(tmp_path / "run", story(("train-0",), 1))
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    with served(run) as url:
        asked(url, "/data")
        asked(url, "/events?run=0&before=7&place=train-0")
        asked(url, "/data?place=train-0&window=recent&output=live%2Flog_loss")
    after = {path.name: path.read_bytes() for path in run.iterdir()}
    assert after.keys() - before.keys() == {"events.index"}
    assert {name: after[name] for name in before} == before
