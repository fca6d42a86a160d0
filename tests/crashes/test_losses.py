"""What the crash tests say of losses, tried on answers that are made up: a bound that allows everything would go unnoticed in a run in which nothing is lost."""

from __future__ import annotations

import pytest
from tests.crashes.harm import only_lost_then, serving_again
from tests.scenarios.world import Answer

HARM_AT, ALLOWED_SECONDS = 100.0, 0.5


def answered(began: float) -> Answer:
    return Answer(0, began, began + 0.01, 200, "v1", None)


def lost_at(began: float, ended: float | None = None) -> Answer:
    return Answer(0, began, began + 0.01 if ended is None else ended, None, None, "Connection refused")


SERVED = [answered(99.0), answered(100.45), answered(102.0)]


@pytest.mark.parametrize(
    "losses",
    [[], [lost_at(99.9, 100.1)], [lost_at(100.1)], [lost_at(100.1), lost_at(100.4)]],
    ids=["nothing", "in flight", "just after it", "until it served again"],
)
def test_what_is_lost_by_the_harm_is_allowed(losses: list[Answer]) -> None:
    only_lost_then([*SERVED, *losses], (HARM_AT, ALLOWED_SECONDS))


@pytest.mark.parametrize("loss", [lost_at(100.6), lost_at(101.5)], ids=["a little late", "when it had long served"])
def test_a_loss_after_the_time_that_is_allowed_is_none_of_the_harm(loss: Answer) -> None:
    with pytest.raises(AssertionError, match="Connection refused"):
        only_lost_then([*SERVED, loss], (HARM_AT, ALLOWED_SECONDS))


def test_a_loss_before_the_harm_is_none_of_it() -> None:
    with pytest.raises(AssertionError, match="Connection refused"):
        only_lost_then([*SERVED, lost_at(99.5)], (HARM_AT, ALLOWED_SECONDS))


def test_it_serves_again_after_the_last_loss() -> None:
    assert serving_again([*SERVED, lost_at(100.2)], HARM_AT) == pytest.approx(0.46)
    assert serving_again([*SERVED, lost_at(101.5)], HARM_AT) == pytest.approx(1.5)
    with pytest.raises(AssertionError, match="never again"):
        serving_again([answered(99.0), lost_at(100.1)], HARM_AT)
