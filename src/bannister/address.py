"""Addresses that are told of things by a POST: which ones can be, and what of one may be shown."""

from __future__ import annotations

from urllib.parse import urlsplit

_SCHEMES = ("http", "https")


def is_whole(url: str) -> bool:
    """Whether it is an address that can be told: http or https with a host, percent-encoded, and without a user name."""
    if any(one <= " " or one > "~" for one in url):
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme in _SCHEMES and bool(parts.hostname) and parts.port != 0 and parts.username is None
    except ValueError:  # the port is no number, or the host no address
        return False


def cut(url: str) -> str:
    """An address for logs and errors: its scheme, host and port. What follows, or stands before the host, is often a secret."""
    scheme = url.partition(":")[0].lower()
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return f"{scheme}:…"
    if not host:
        return f"{scheme}:…"
    try:
        port = f":{parts.port}" if parts.port is not None else ""
    except ValueError:  # what stands there is no number
        port = ""
    return f"{scheme}://{f'[{host}]' if ':' in host else host}{port}/…"
