"""One pair: production's answer and the shadow's to the same request. Pure, bounded, and never an exception for what a model answers.

Answers whose bytes are equal agree at once; they are read all the same, because the share of unchanged labels, of invalid outputs and of
differences that are zero is as telling as the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

from bannister.domain.capture.exchange import Exchange, Message
from bannister.domain.comparison.reading import READ_BYTES_MAX, Unreadable, media_type, read
from bannister.domain.comparison.rules import Rules
from bannister.domain.comparison.walk import Walk, shown


@dataclass(frozen=True, slots=True)
class Label:
    """One label-like value (a string, a whole number, a truth value) in both answers, and how often."""

    #: Where: `$.late`, `$.predictions[*]`.
    path: str
    old: str
    new: str
    count: int = 1

    @property
    def changed(self) -> bool:
        return self.old != self.new


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two answers to the same request have in common."""

    agrees: bool
    #: They cannot be compared value by value, and why: another shape, another type, only one is an answer. None: they can.
    structural: str | None = None
    #: The shadow's answer holds NaN, infinity, or a number outside the rules' bounds.
    invalid: bool = False
    #: The first place where they differ, and what is there.
    path: str | None = None
    production: str | None = None
    shadow: str | None = None
    #: The largest absolute difference of two numbers; None: no numbers were compared.
    numeric_difference: float | None = None
    #: The mean of the shadow's numbers minus production's; None: as above.
    mean_difference: float | None = None
    #: Label-like values in both answers, the unchanged ones too; bounded.
    labels: tuple[Label, ...] = ()
    #: The answers are so large or so deep that they were compared up to a bound only, and beyond it they are not the same.
    partial: bool = False


def compare(production: Exchange, shadow: Exchange, rules: Rules) -> Comparison:
    """Compare the answers of two exchanges of the same request.

    An answer is what has a 2xx status. Two refusals with the same status agree, whatever their texts. Bodies are taken for whole: exchanges whose
    body is not complete make no pair.
    """
    old, new = _answer(production), _answer(shadow)
    if old is None or new is None:
        outcomes = _outcome(production), _outcome(shadow)
        if outcomes[0] == outcomes[1] and old is new:
            return Comparison(agrees=True)
        return _structural(f"production {outcomes[0]}, and the shadow {outcomes[1]}", *outcomes)
    media = media_type(old.content_type), media_type(new.content_type)
    if media[0] != media[1] and None not in media:
        was, became = shown(media[0] or ""), shown(media[1] or "")
        return _structural(f"content type {was} became {became}", was, became)
    return _bodies(old.body, new.body, media[0] or media[1], rules)


def _bodies(old: bytes, new: bytes, media: str | None, rules: Rules) -> Comparison:
    same = old == new
    try:
        read_old = read(old, media)
    except Unreadable as error:
        return _unread(same, f"production's answer {error}", old, new)
    try:
        read_new = read_old if same else read(new, media)
    except Unreadable as error:
        return _unread(same, f"the shadow's answer {error}", old, new)
    if isinstance(read_old, bytes) or isinstance(read_new, bytes):
        long = max(len(old), len(new)) > READ_BYTES_MAX
        return (
            Comparison(same)
            if same
            else Comparison(agrees=False, path="$", production=_bytes(old, long=long), shadow=_bytes(new, long=long))
        )
    walk = Walk(rules)
    walk.values((), read_old, read_new)
    path, was, became = walk.first or (None, None, None)
    return Comparison(
        agrees=same or not walk.differs,
        structural=None if same else walk.structural,
        invalid=walk.invalid,
        path=None if same else path,
        production=None if same else was,
        shadow=None if same else became,
        numeric_difference=walk.largest,
        mean_difference=walk.mean,
        labels=tuple(Label(*one) for one in walk.labels),
        partial=not same and walk.partial,
    )


def _answer(exchange: Exchange) -> Message | None:
    answered = exchange.status is not None and 200 <= exchange.status < 300
    return exchange.response if answered else None


def _outcome(exchange: Exchange) -> str:
    if exchange.status is None:
        return "did not answer"
    if _answer(exchange) is None and 200 <= exchange.status < 300:
        return "did not finish its answer"
    return f"answered {exchange.status}"


def _structural(why: str, old: str, new: str) -> Comparison:
    return Comparison(agrees=False, structural=why, path="$", production=old, shadow=new)


def _unread(same: bool, why: str, old: bytes, new: bytes) -> Comparison:
    return Comparison(agrees=True) if same else _structural(why, shown(old), shown(new))


def _bytes(body: bytes, *, long: bool) -> str:
    return f"{len(body)} bytes" if long else shown(body)
