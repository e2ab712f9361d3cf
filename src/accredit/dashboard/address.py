"""Where the page listens, and under which names it may be asked for."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from dataclasses import dataclass

from accredit.dashboard.guard import Doors
from accredit.errors import InvalidArgument

_SHORTEST_TOKEN = 16
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_ALL_ADDRESSES = ("0.0.0.0", "::")


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where the page listens.

    Raises:
        InvalidArgument: others can reach the address and there is no token, or one that can be guessed.

    Example:
        >>> Address().is_loopback, url_of(Address(token="x" * 16), 8777)
        (True, 'http://127.0.0.1:8777/?token=xxxxxxxxxxxxxxxx')
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


def listen(address: Address) -> socket.socket:
    """Return a socket that listens.

    Raises:
        InvalidArgument: the port is taken, or the host is no address of this machine.
    """
    try:
        socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise InvalidArgument(
            f"`--host` is {address.host!r}, which is no known name ({error.strerror}), wanted an address of this "
            "machine; leave it out to take 127.0.0.1."
        ) from error
    try:
        return _server(address, address.port)
    except OSError as error:
        reason = os.strerror(error.errno or errno.EINVAL)
        free = _free_port(address)
        if free is None:
            raise InvalidArgument(
                f"`--host` is {address.host!r}, where this machine cannot listen ({reason}), wanted one of its own "
                "addresses; leave it out to take 127.0.0.1."
            ) from error
        raise InvalidArgument(
            f"`--port` is {address.port}, which cannot be had ({reason}), wanted a free one; pass --port {free}, "
            "which is free now, or --port 0 for any."
        ) from error


def doors_of(address: Address, port: int) -> Doors:
    """Return the names under which a page that listens at `address` may be asked for."""
    names = {address.host.lower(), *_LOOPBACK}
    if not address.is_loopback:
        names.update((socket.gethostname().lower(), socket.getfqdn().lower()))
    return Doors(frozenset(names), port, any_address=address.host in _ALL_ADDRESSES, token=address.token)


def url_of(address: Address, port: int) -> str:
    """Return what to open in a browser, token included."""
    host = socket.gethostname() if address.host in _ALL_ADDRESSES else address.host
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
    return f"{url}?token={address.token}" if address.token else url


def _server(address: Address, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    return socket.create_server((address.host, port), family=family, backlog=128)


def _free_port(address: Address) -> int | None:
    """Return a port near the wanted one that is free, or None where not even that can be listened on."""
    for port in [*range(address.port + 1, min(address.port + 20, 65536)), 0]:
        try:
            with _server(address, port) as tried:
                return int(tried.getsockname()[1])
        except OSError:
            continue
    return None
