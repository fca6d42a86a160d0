"""The versions of the model: features, offline scores, artifacts.

Each version is fitted on January and the first weeks of February and scored on the last ten days of February, as a
team would before a release; the scored model is the one that is shipped. Seeds are fixed, so every run trains the same models.
"""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bannister.demo import flights
from bannister.demo.flights import CATEGORIES, DEPARTURE, PLANE_AGE, SCHEDULE, Flights

#: The days of February from here on are held out for the offline scores.
HELD_OUT_FROM_DAY = 19

FEATURES = {
    "v1": SCHEDULE,
    "v2": (*SCHEDULE, *DEPARTURE),
    "v3": (*SCHEDULE, *DEPARTURE, PLANE_AGE),
    "v4": (*SCHEDULE, *DEPARTURE),
    "v5": (*SCHEDULE, *DEPARTURE),
}
#: v4's mistake: it was trained and scored on a table that holds the delay in seconds. Callers send minutes.
DELAY_UNITS = {"v4": 60}
#: v5 is v2, trained again with another seed.
SEEDS = {"v5": 2014}
SEED = 2013


@dataclass(frozen=True, slots=True)
class Scores:
    """How good predictions were, by the true arrivals."""

    accuracy: float
    f1: float


@dataclass(frozen=True, slots=True)
class Version:
    """A trained version, ready to be uploaded."""

    name: str
    offline: Scores
    #: A `model.tar.gz` as SageMaker wants it.
    artifact: bytes


def train(name: str, data: Flights) -> Version:
    """Fit, score, pack; well under a second."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    table = data.winter
    if PLANE_AGE in FEATURES[name]:
        table = table.dropna(subset=[PLANE_AGE])
    table = table.assign(departure_delay=table["departure_delay"] * DELAY_UNITS.get(name, 1))
    codes = {column: {value: code for code, value in enumerate(sorted(set(table[column])))} for column in CATEGORIES}
    held_out = (table["month"] == 2) & (table["day"] >= HELD_OUT_FROM_DAY)
    # Small trees, few of them: a prediction for one flight costs well under a millisecond.
    classifier = HistGradientBoostingClassifier(
        max_iter=40,
        max_leaf_nodes=15,
        learning_rate=0.15,
        max_features=0.8,  # the only thing that depends on the seed
        early_stopping=False,
        random_state=SEEDS.get(name, SEED),
    )
    classifier.fit(_matrix(table[~held_out], FEATURES[name], codes), table[~held_out]["late"])
    predicted = classifier.predict(_matrix(table[held_out], FEATURES[name], codes))
    release = {"version": name, "classifier": classifier, "features": FEATURES[name], "codes": codes}
    if PLANE_AGE in FEATURES[name]:
        release["plane_years"] = data.plane_years
    return Version(name, scores(predicted, table[held_out]["late"]), _pack(release))


def scores(predicted: Any, true: Any) -> Scores:
    """Accuracy, and F1 of "late": three flights in four are on time, so accuracy alone flatters a model that never says late."""
    from sklearn.metrics import accuracy_score, f1_score

    return Scores(float(accuracy_score(true, predicted)), float(f1_score(true, predicted, zero_division=0)))


def _matrix(table: Any, features: tuple[str, ...], codes: dict[str, dict[str, int]]) -> Any:
    columns = table[list(features)].copy()
    for name, code in codes.items():
        columns[name] = columns[name].map(code)
    return columns.to_numpy(dtype=float)


def _pack(release: dict[str, Any]) -> bytes:
    import joblib

    model = io.BytesIO()
    joblib.dump(release, model)
    code = Path(flights.__file__).with_name("inference.py").read_bytes()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as archive:
        for name, content in (("model.joblib", model.getvalue()), ("code/inference.py", code)):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()
