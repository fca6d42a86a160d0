"""Which sockets take connections, asked of the kernel in both ways."""

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from bannister.instances import listening as module
from bannister.instances.listening import by_netlink, by_proc, listening

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux says whose a socket is")

#: By address, whether who listens there takes a connection to 127.0.0.1.
ADDRESSES = {"127.0.0.1": True, "0.0.0.0": True, "::": True, "::ffff:127.0.0.1": True, "::1": False, "127.0.0.2": False}


@pytest.fixture
def sockets() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def listens_at(sockets: ExitStack, address: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    one = sockets.enter_context(socket.socket(family, socket.SOCK_STREAM))
    if family == socket.AF_INET6:
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    one.bind((address, 0))
    one.listen()
    return one


def inode(one: socket.socket) -> str:
    return str(os.fstat(one.fileno()).st_ino)


@pytest.mark.parametrize("address", ADDRESSES)
def test_who_listens_is_found_where_a_connection_would_find_it(sockets: ExitStack, address: str) -> None:
    one = listens_at(sockets, address)
    listens_at(sockets, address)
    expected = {inode(one)} if ADDRESSES[address] else set()
    port = one.getsockname()[1]
    assert by_netlink(port) == by_proc(port) == listening(port) == expected


def test_a_connection_is_nobody_who_listens(sockets: ExitStack) -> None:
    one = listens_at(sockets, "127.0.0.1")
    port = one.getsockname()[1]
    sockets.enter_context(socket.create_connection(("127.0.0.1", port)))
    sockets.enter_context(one.accept()[0])
    one.close()
    assert by_netlink(port) == by_proc(port) == set()


def test_all_that_share_a_port_are_found(sockets: ExitStack) -> None:
    found = set()
    port = 0
    for _ in range(3):
        one = sockets.enter_context(socket.socket())
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        one.bind(("127.0.0.1", port))
        one.listen()
        port = one.getsockname()[1]
        found.add(inode(one))
    assert by_netlink(port) == by_proc(port) == found


def test_more_sockets_than_one_answer_of_the_kernel_holds(sockets: ExitStack) -> None:
    many = [listens_at(sockets, "127.0.0.1") for _ in range(900)]
    assert [by_netlink(one.getsockname()[1]) for one in (many[0], many[-1])] == [{inode(many[0])}, {inode(many[-1])}]


@pytest.mark.parametrize("name", ["_NETLINK_SOCK_DIAG", "_SOCK_DIAG_BY_FAMILY"])
def test_a_kernel_that_does_not_answer_is_asked_otherwise(
    sockets: ExitStack, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(module, name, 31)
    one = listens_at(sockets, "127.0.0.1")
    port = one.getsockname()[1]
    with pytest.raises(OSError, match=r"not supported|which sockets listen"):
        by_netlink(port)
    assert listening(port) == {inode(one)}
