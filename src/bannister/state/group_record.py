"""What the supervisor has brought about for one group of instances."""

from __future__ import annotations

from dataclasses import dataclass

from bannister.domain.fleet import Group


@dataclass(frozen=True, slots=True)
class GroupRecord:
    """One group, from the moment it is wanted until its last instance is gone."""

    group: Group
    #: The unpacked artifact; None: not fetched yet, or the model has none.
    artifact_dir: str | None = None
    #: The artifact was fetched, or there is none: instances may start.
    prepared: bool = False
    #: Why it cannot run (the artifact is missing or damaged, the image is unknown); a sentence.
    failure: str | None = None
    #: Since when it is to go away: no route names it, its requests drain, its instances stop.
    retiring_since: float | None = None
    #: It gets copies, and nobody waits for its answers.
    is_shadow: bool = False
