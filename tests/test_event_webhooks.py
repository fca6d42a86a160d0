"""The list of addresses that are told of events, as users write it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bannister.errors import Invalid
from bannister.settings import EVENT_WEBHOOKS_MAX, load

A, B = "http://127.0.0.1:9000/events", "https://hooks.example.com/x?y=z"


def test_they_are_read_from_the_file_and_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(tmp_path).event_webhooks == ()
    (tmp_path / "bannister.toml").write_text(f'event_webhooks = ["{A}", "{B}", "{A}"]\n')
    assert load(tmp_path).event_webhooks == (A, B)
    monkeypatch.setenv("BANNISTER_EVENT_WEBHOOKS", f"{B}  {A}")
    assert load(tmp_path).event_webhooks == (B, A)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("7", "must be a list of addresses"),
        ("[7]", "must be a list of addresses"),
        ('["hooks.example.com"]', "is not an address that can be told"),
        (
            '["https://me:secret@hooks.example.com/"]',
            "'https://hooks.example.com/…' in event_webhooks is not an address",
        ),
        (str([f"http://h/{one}" for one in range(EVENT_WEBHOOKS_MAX + 1)]), "it may have 16"),
    ],
    ids=["number", "numbers", "no scheme", "a user", "too many"],
)
def test_what_is_no_list_of_addresses_is_refused_with_the_place(tmp_path: Path, value: str, why: str) -> None:
    (tmp_path / "bannister.toml").write_text(f"event_webhooks = {value}\n")
    with pytest.raises(Invalid, match="event_webhooks") as refused:
        load(tmp_path)
    assert why in str(refused.value)
    assert str(refused.value).startswith(f"{tmp_path}/bannister.toml")
    assert "secret" not in str(refused.value)
