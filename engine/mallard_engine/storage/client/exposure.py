"""Checks whether a connection to Redis over a network lacks a password or TLS."""

import ipaddress
from urllib.parse import urlsplit


def exposure(url: str) -> str | None:
    """Return what the connection to a Redis on another host lacks, or None.

    A server on this host needs neither: its socket or loopback address is not on the network.
    Raises `ValueError` if a host cannot be read.
    """
    scheme, _, rest = url.partition("://")
    if scheme == "unix":
        return None
    user, _, address = rest.rpartition("@")
    hosts = address.partition("/")[0].split(",")
    if all(_is_local(urlsplit(f"//{host}").hostname or "") for host in hosts):
        return None
    missing = []
    if not user.partition(":")[2] and "password=" not in address:
        missing.append("no password")
    if not scheme.startswith("rediss"):
        missing.append("no TLS")
    return " and ".join(missing) or None


def _is_local(host: str) -> bool:
    if host in {"", "localhost"}:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
