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
    """An address for logs and errors: its scheme and host. What follows, or stands before the host, is often a secret."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        host = None
    scheme = url.partition(":")[0].lower()
    return f"{scheme}://{host}/…" if host else f"{scheme}:…"
