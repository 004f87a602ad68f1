"""Which addresses a webhook may have, so that nobody reaches into the network behind the platform."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.conf import settings

from retrieval.errors import AddressRefused

MAX_URL = 500


@dataclass(frozen=True)
class Address:
    """Where a webhook's message goes.

    Attributes:
        target: path and query.
        authority: host and port as in the header Host.
    """

    scheme: str
    host: str
    port: int
    target: str
    authority: str


def parse_address(url: str) -> Address:
    """The parts of a webhook's URL.

    Raises:
        AddressRefused: not http(s), with a name or password in it, or without a host.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
        host = (parts.hostname or "").encode("idna").decode()
    except (ValueError, UnicodeError) as error:
        raise AddressRefused("This is no address.", field="url") from error
    plain = url.isascii() and url.isprintable() and " " not in url and "\\" not in url
    if not plain or len(url) > MAX_URL or parts.scheme not in ("http", "https") or not host:
        raise AddressRefused("A webhook's address begins with http:// or https://.", field="url")
    if parts.username is not None or parts.password is not None:
        raise AddressRefused("A webhook's address has no name or password in it.", field="url")
    port = port or (443 if parts.scheme == "https" else 80)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    authority = parts.netloc.rpartition("@")[2]
    address = Address(parts.scheme, host, port, target, authority)
    _refuse_literal(address)
    return address


def _refuse_literal(address: Address) -> None:
    """Refuse what can be seen without asking a name server, so that its maker hears at once."""
    try:
        number = ipaddress.ip_address(address.host)
    except ValueError:
        if address.host == "localhost" or address.host.endswith((".localhost", ".local")):
            _require_public(None)
    else:
        _require_public(number)


def _require_public(number: ipaddress.IPv4Address | ipaddress.IPv6Address | None) -> None:
    if settings.WEBHOOK_PRIVATE:
        return
    inner = getattr(number, "ipv4_mapped", None) or getattr(number, "sixtofour", None) or number
    if inner is None or not inner.is_global or inner.is_multicast:
        raise AddressRefused(
            "A webhook's address must be in the public internet; "
            "PAYSAGE_WEBHOOK_PRIVATE=1 allows others.",
            field="url",
        )


def resolve(address: Address) -> str:
    """The number to connect to. It is checked and then used, so no second answer can replace it.

    Raises:
        AddressRefused: any of the host's numbers is not in the public internet.
        OSError: the host is unknown.
    """
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    numbers = [str(entry[4][0]).partition("%")[0] for entry in found]
    for number in numbers:
        _require_public(ipaddress.ip_address(number))
    return numbers[0]
