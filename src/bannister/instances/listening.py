"""Which sockets take connections to a port of 127.0.0.1; Linux only.

The kernel is asked by netlink (`man 7 sock_diag`), which goes through the sockets that listen and no others. `/proc/net/tcp` goes through all connections of the machine, those that ended
within the last minute included: several milliseconds, at every ping of every instance, in which a machine of few cores answers nobody. It is read only where a kernel has no `tcp_diag`.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

#: From the kernel's headers: linux/netlink.h, linux/sock_diag.h, linux/inet_diag.h, net/tcp_states.h.
_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_NLMSG_ERROR: Final = 2
_NLMSG_DONE: Final = 3
_NLM_F_REQUEST_DUMP: Final = 0x301
_TCP_LISTEN: Final = 10
_HEADER: Final = struct.Struct("=IHHII")
#: Family, protocol, extensions, padding, states; and the identity of a socket, of which nothing is asked.
_REQUEST: Final = struct.Struct("=BBBBI48x")
#: Family, state, timer, retransmissions; then the two ports and the local address, in network order; and at the end the inode.
_PLACE: Final = struct.Struct("!B3xHH16s")
_INODE: Final = struct.Struct("=I")
_INODE_AT: Final = 68
_ANSWER_BYTES_MAX: Final = 64 * 1024
#: The kernel answers at once.
_ANSWER_SECONDS: Final = 1.0

_LISTEN: Final = f"{_TCP_LISTEN:02X}"
#: Local addresses that take a connection to 127.0.0.1, as they are sent.
_REACHED_BY_LOOPBACK: Final = frozenset(
    ipaddress.ip_address(one).packed for one in ("127.0.0.1", "0.0.0.0", "::", "::ffff:127.0.0.1", "::ffff:0.0.0.0")
)


def listening(port: int) -> set[str]:
    """The inodes of the sockets that take connections to 127.0.0.1:`port`."""
    try:
        return by_netlink(port)
    except OSError:
        return by_proc(port)


def by_netlink(port: int) -> set[str]:
    """As `listening`.

    Raises:
        OSError: The kernel does not answer that.
    """
    return {
        str(inode)
        for family in (socket.AF_INET, socket.AF_INET6)
        for at, address, inode in _dump(family)
        if at == port and address in _REACHED_BY_LOOPBACK
    }


def by_proc(port: int) -> set[str]:
    """As `listening`."""
    found = set[str]()
    for table in ("tcp", "tcp6"):
        try:
            lines = Path("/proc/net", table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split(maxsplit=10)
            address, _, at = fields[1].partition(":")
            if fields[3] == _LISTEN and at == f"{port:04X}" and _sent(address) in _REACHED_BY_LOOPBACK:
                found.add(fields[9])
    return found


def _dump(family: int) -> Iterator[tuple[int, bytes, int]]:
    """Port, local address and inode of every socket of a family that listens."""
    if sys.platform != "linux":
        raise OSError(errno.ENOTSUP, "only Linux tells which sockets listen")
    request = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, 0, 1 << _TCP_LISTEN)
    header = _HEADER.pack(_HEADER.size + len(request), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST_DUMP, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_SOCK_DIAG) as kernel:
        kernel.settimeout(_ANSWER_SECONDS)
        kernel.send(header + request)
        while True:
            answer, at = kernel.recv(_ANSWER_BYTES_MAX), 0
            while at < len(answer):
                length, kind, *_ = _HEADER.unpack_from(answer, at)
                body = answer[at + _HEADER.size : at + length]
                if kind == _NLMSG_DONE:
                    return
                if kind == _NLMSG_ERROR:
                    raise OSError(-struct.unpack_from("=i", body)[0], "the kernel does not tell which sockets listen")
                _, port, _, address = _PLACE.unpack_from(body)
                yield port, address[: 4 if family == socket.AF_INET else 16], _INODE.unpack_from(body, _INODE_AT)[0]
                at += (length + 3) & ~3


def _sent(printed: str) -> bytes:
    """An address as `/proc/net/tcp` prints it, in words of the machine's own order, as it is sent."""
    words = bytes.fromhex(printed)
    return b"".join(struct.pack("=I", *struct.unpack_from("!I", words, at)) for at in range(0, len(words), 4))
