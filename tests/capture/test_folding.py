"""Tallies of single pairs, merged by second."""

from dataclasses import replace

from bannister.capture.folding import TallyFold
from bannister.domain.capture.instructions import ComparedGroups
from bannister.domain.comparison.rules import Rules
from bannister.domain.comparison.tally import Tally


def test_pairs_that_were_compared_by_different_rules_are_never_in_one_tally() -> None:
    before = ComparedGroups("s", "p", Rules(), "e", noise=False)
    after = replace(before, rules=Rules(ignored_paths=("$.id",)))
    fold = TallyFold(10)
    for compared, agreeing in ((before, 0), (before, 0), (after, 1), (after, 1), (after, 1)):
        fold.add(compared, 7, Tally(1, agreeing))
    found = fold.take(9.0)
    assert [(one.second, one.rules, one.tally) for one in found] == [
        (7, before.rules, Tally(2, 0)),
        (7, after.rules, Tally(3, 3)),
    ]
