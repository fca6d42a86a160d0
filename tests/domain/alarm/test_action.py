"""Addresses among an alarm's actions: which can be told, and what of them logs and errors may show."""

from __future__ import annotations

import pytest

from bannister.address import cut
from bannister.domain.alarm.action import check_action
from bannister.errors import Invalid


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://hooks.example.com/services/T0KEN", "https://hooks.example.com/…"),
        ("HTTP://me:T0KEN@Example.com:81?T0KEN#T0KEN", "http://example.com:81/…"),
        ("http://[::1]:x/T0KEN", "http://[::1]/…"),
        ("http://[T0KEN", "http:…"),
        ("http:T0KEN", "http:…"),
    ],
)
def test_logs_and_errors_show_scheme_host_and_port(url: str, shown: str) -> None:
    assert cut(url) == shown


@pytest.mark.parametrize("url", ["http:T0KEN", "https://me:T0KEN@host/", "https://host:x/T0KEN", "http://host/T0KEN ü"])
def test_the_refusal_of_an_address_does_not_repeat_it(url: str) -> None:
    with pytest.raises(Invalid, match="is not an address that can be told") as raised:
        check_action(url)
    assert "T0KEN" not in str(raised.value)
