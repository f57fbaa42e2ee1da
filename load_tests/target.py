"""The address of the engine under test; only loopback unless another machine is allowed."""

import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self
from urllib.parse import SplitResult, urlsplit


class NotAllowed(Exception):
    """The engine may not be loaded from here; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Target:
    """The nodes' base URLs, without a slash at the end: ``http://127.0.0.1:8000``."""

    nodes: tuple[str, ...]

    @classmethod
    def of(cls, urls: Iterable[str], *, allow_remote: bool) -> Self:
        """Check the URLs. Raises `NotAllowed` for an invalid one, or one beyond loopback."""
        nodes = tuple(dict.fromkeys(url.rstrip("/") for url in urls))
        if not nodes:
            raise NotAllowed("no engine is named: --host http://127.0.0.1:8000")
        for node in nodes:
            parts = urlsplit(node)
            if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path:
                raise NotAllowed(f"{node!r} is no base URL such as http://127.0.0.1:8000")
            if not allow_remote and not _is_loopback(parts):
                raise NotAllowed(
                    f"{parts.hostname} is not this machine: --allow-remote says that it is meant"
                )
        return cls(nodes)

    def node(self, number: int) -> str:
        """Return the nth node's URL, in turn."""
        return self.nodes[number % len(self.nodes)]

    def socket_url(self, number: int) -> str:
        """Return the nth node's socket URL, in turn."""
        return f"{self.node(number).replace('http', 'ws', 1)}/v1/driver"


def _is_loopback(url: SplitResult) -> bool:
    """Return whether all addresses of the URL's host are loopback addresses."""
    host = url.hostname or ""
    try:
        found = socket.getaddrinfo(host, url.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise NotAllowed(f"{host}: {error.strerror or error}") from error
    return all(ipaddress.ip_address(address[0]).is_loopback for *_, address in found)
