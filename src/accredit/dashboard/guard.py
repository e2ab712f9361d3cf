"""Who may ask, and what: every request passes here before anything looks at it."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LONGEST_PATH = 256
_LONGEST_QUERY = 4096
_POLICY = (
    "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'"
)
_HEADERS = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)


@dataclass(frozen=True)
class Doors:
    """Under which names the page is reached, and the word that opens it."""

    names: frozenset[str]
    """Host names and addresses, in lower case, addresses of IPv6 without brackets."""
    port: int
    any_address: bool = False
    """Whether every literal IP address is a name of the page, because it listens on all of them."""
    token: str | None = None

    @property
    def cookie(self) -> str:
        """Name of the cookie; browsers share cookies between the ports of a host."""
        return f"accredit-{self.port}"

    def knows(self, host: str) -> bool:
        """Return whether a Host header, or what follows `http://` in an Origin, means this page.

        A page elsewhere can make a browser ask here under a name of its own (DNS rebinding), and would then be allowed
        to read the answer; a literal address cannot be rebound.

        Example:
            >>> doors = Doors(frozenset({"localhost", "127.0.0.1"}), 8000)
            >>> doors.knows("localhost:8000"), doors.knows("localhost"), doors.knows("evil.example:8000")
            (True, False, False)
        """
        try:
            split = urlsplit(f"http://{host}")
            name, port = split.hostname, split.port or 80
        except ValueError:
            return False
        if name is None or split.netloc != host or split.username is not None or port != self.port:
            return False
        return name in self.names or (self.any_address and _is_address(name))

    def admits(self, token: str) -> bool:
        """Compare a token in a time that does not depend on how much of it is right."""
        wanted = hashlib.sha256((self.token or "").encode()).digest()
        return hmac.compare_digest(wanted, hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest())


class Guard:
    """Refuse what the page is not for, and put the same headers on every answer.

    Args:
        page: the application behind it.
        doors: names and token.
    """

    def __init__(self, page: ASGIApp, doors: Doors) -> None:
        self.page, self.doors = page, doors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with a refusal, or let the page answer."""
        if scope["type"] == "lifespan":
            await self.page(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *_HEADERS]}
            await send(message)

        if scope["type"] != "http":
            return
        refusal = self._refusal(scope)
        if refusal is None and self.doors.token is not None:
            refusal = self._token_refusal(scope, self.doors.token)
        if refusal is None:
            await self.page(scope, receive, with_headers)
            return
        status, text, more = refusal
        body = f"{text}\n".encode() if text else b""
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body)), *more]
        await with_headers({"type": "http.response.start", "status": status, "headers": headers})
        await with_headers({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    def _refusal(self, scope: Scope) -> _Refusal | None:
        if scope["http_version"] not in ("1.0", "1.1"):
            return 400, "This page speaks HTTP/1.1.", ()
        headers = scope["headers"]
        hosts = _values(headers, b"host")
        if len(hosts) != 1 or not self.doors.knows(hosts[0].lower()):
            return 421, "This page is not known under that name: open the address that `accredit watch` printed.", ()
        origins = _values(headers, b"origin")
        if any(not (each.startswith("http://") and self.doors.knows(each[7:].lower())) for each in origins):
            return 403, "Pages of another origin may not ask here.", ()
        if scope["method"] not in ("GET", "HEAD"):
            return 405, "This page is read-only: GET and HEAD only.", ((b"allow", b"GET, HEAD"),)
        if _values(headers, b"transfer-encoding") or any(each != "0" for each in _values(headers, b"content-length")):
            return 413, "A request here has no body.", ((b"connection", b"close"),)
        if len(scope["raw_path"]) > _LONGEST_PATH or len(scope["query_string"]) > _LONGEST_QUERY:
            return 414, "This address is longer than any of this page.", ()
        return None

    def _token_refusal(self, scope: Scope, token: str) -> _Refusal | None:
        """Return None for who has shown the token before; take it from the address once and put it into a cookie."""
        del token
        doors, headers = self.doors, scope["headers"]
        shown = [each[7:] for each in _values(headers, b"authorization") if each[:7].lower() == "bearer "]
        shown += _cookies(_values(headers, b"cookie"), doors.cookie)
        if any(doors.admits(each) for each in shown):
            return None
        asked = parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
        if scope["path"] == "/" and len(asked) == 1 and doors.admits(asked[0]):
            cookie = f"{doors.cookie}={doors.token}; Path=/; HttpOnly; SameSite=Strict"
            # without the token the address may be shown, stored and passed on
            return 303, "", ((b"location", b"/"), (b"set-cookie", cookie.encode()))
        text = "A token is needed: open the address that `accredit watch` printed, with ?token= and the token."
        return 401, text, ((b"www-authenticate", b"Bearer"),)


_Refusal = tuple[int, str, tuple[tuple[bytes, bytes], ...]]


def _values(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in headers if key == name]


def _cookies(values: list[str], name: str) -> list[str]:
    found = []
    for value in values:
        try:
            cookie = SimpleCookie(value)
        except CookieError:
            continue
        if name in cookie:
            found.append(cookie[name].value)
    return found


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
