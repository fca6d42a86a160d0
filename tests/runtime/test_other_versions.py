"""Models that another version of a library pickled: reported before any request, and refused where they cannot work."""

from __future__ import annotations

import bz2
import gzip
import lzma
import pickle
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import sklearn.base
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tests.runtime.loaded import ask, load

from bannister.runtime.formats import versions
from bannister.runtime.formats.loading import LoadError
from bannister.runtime.formats.versions import written_by

lightgbm = pytest.importorskip("lightgbm", reason="only installed on Linux")
xgboost = pytest.importorskip("xgboost", reason="only installed on Linux")

X = np.random.default_rng(7).uniform(0, 4, (200, 2))
Y = X[:, 0] + 2 * X[:, 1]
OTHER = "1.2.2"
HERE = sklearn.__version__
XGBOOST = xgboost.__version__


@pytest.fixture
def old_sklearn(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], Any]:
    """What a function gives while scikit-learn calls itself by another version."""

    def within(function: Callable[[], Any]) -> Any:
        with monkeypatch.context() as patched:
            patched.setattr(sklearn.base, "__version__", OTHER)
            return function()

    return within


def pipeline() -> Any:
    return make_pipeline(StandardScaler(), LinearRegression()).fit(X, Y)


def booster() -> Any:
    return xgboost.train({"nthread": 1}, xgboost.DMatrix(X, Y), num_boost_round=2)


def of_xgboost(version: tuple[int, int, int], content: bytes) -> bytes:
    """The same bytes, with another version: small numbers are a letter and a byte each."""
    beginning = b"version[#L" + (3).to_bytes(8, "big")
    ours = beginning + b"".join(b"i" + bytes([int(number)]) for number in XGBOOST.split("."))
    assert ours in content
    return content.replace(ours, beginning + b"".join(b"i" + bytes([number]) for number in version))


# --- reading the versions


@pytest.mark.parametrize("protocol", range(2, 6))
def test_the_version_that_pickled_an_estimator(protocol: int, old_sklearn: Any, tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(old_sklearn(lambda: pickle.dumps(pipeline(), protocol)))
    assert written_by(tmp_path / "model.pkl") == {"sklearn": OTHER}


@pytest.mark.parametrize("compress", [0, 3, ("gzip", 3), ("bz2", 3), ("xz", 3), ("lzma", 3)], ids=str)
def test_the_version_in_a_joblib_file(compress: Any, old_sklearn: Any, tmp_path: Path) -> None:
    forest = RandomForestRegressor(n_estimators=20, random_state=7).fit(X, Y)
    old_sklearn(lambda: joblib.dump(forest, tmp_path / "model.joblib", compress=compress))
    assert written_by(tmp_path / "model.joblib") == {"sklearn": OTHER}


@pytest.mark.parametrize("kind", ["ubj", "json"])
def test_the_version_in_a_boosters_own_file(kind: str, tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(booster().save_raw(kind))
    assert written_by(tmp_path / "model") == {"xgboost": XGBOOST}


@pytest.mark.parametrize("protocol", range(3, 6))
def test_the_version_that_pickled_a_booster(protocol: int, tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(pickle.dumps(booster(), protocol))
    assert written_by(tmp_path / "model") == {"xgboost": XGBOOST}


@pytest.mark.parametrize("place", [(1 << 20) - 10, (1 << 20) - 30, 1 << 20])
def test_a_version_where_two_pieces_meet(place: int, old_sklearn: Any, tmp_path: Path) -> None:
    pickled = old_sklearn(lambda: pickle.dumps(LinearRegression().fit(X, Y)))
    (tmp_path / "model").write_bytes(b"." * (place - pickled.index(b"_sklearn_version")) + pickled)
    assert written_by(tmp_path / "model") == {"sklearn": OTHER}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nothing",
        b"_sklearn_version",
        b"_sklearn_version\x94h\x05",
        b"_sklearn_version\x94\x8c\xff",
        b"version[#L" + (3).to_bytes(8, "big") + b"x",
        zlib.compress(b"_sklearn_version")[:-3],
        gzip.compress(b"x" * 100, mtime=0)[:40] + b"damaged",
        bz2.compress(b"x" * 100)[:-9] + b"damaged!!",
        lzma.compress(b"x" * 100)[:-9],
    ],
)
def test_a_file_without_a_version_tells_nothing(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(content)
    assert written_by(tmp_path / "model") == {}
    assert written_by(tmp_path / "gone") == {}


MEBIBYTE = 1 << 20
COMPRESSORS = {
    "zlib": zlib.compress,
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE),
}


@pytest.mark.parametrize("kind", COMPRESSORS)
def test_a_file_that_swells_is_looked_through_in_pieces_and_up_to_a_bound(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = tmp_path / "model"
    bomb.write_bytes(COMPRESSORS[kind](b"." * (24 * MEBIBYTE) + b"_sklearn_version" + pickle.dumps("1.2")[2:]))
    assert bomb.stat().st_size < MEBIBYTE // 4
    sizes = [len(window) for window in versions._windows(bomb)]
    assert max(sizes) <= MEBIBYTE + 256
    assert sum(sizes) >= 24 * MEBIBYTE
    monkeypatch.setattr(versions, "SCAN_BYTES_MAX", 4 * MEBIBYTE)
    looked_through = sum(len(window) - 256 for window in versions._windows(bomb))
    assert looked_through <= 5 * MEBIBYTE
    assert written_by(bomb) == {}


def test_a_file_that_asks_for_too_much_memory_tells_nothing(tmp_path: Path) -> None:
    """Its header claims a dictionary of 1.5 GiB, which its decompressor would have to have."""
    content = bytearray(lzma.compress(b"_sklearn_version\x94\x8c\x03" + b"1.2\x94" * 9, lzma.FORMAT_ALONE, preset=0))
    content[1:5] = (1536 * MEBIBYTE).to_bytes(4, "little")
    (tmp_path / "model").write_bytes(content)
    assert written_by(tmp_path / "model") == {}
    content[1:5] = (4 * MEBIBYTE).to_bytes(4, "little")
    (tmp_path / "model").write_bytes(content)
    assert written_by(tmp_path / "model") == {"sklearn": "1.2"}


# --- what becomes of them


def test_another_version_that_loads_is_a_warning_with_both(old_sklearn: Any, tmp_path: Path) -> None:
    old_sklearn(lambda: joblib.dump(pipeline(), tmp_path / "model.joblib"))
    with pytest.warns(match="InconsistentVersionWarning|Trying to unpickle"):
        loaded = load(tmp_path)
    assert loaded.warnings == (
        f"model.joblib was pickled by scikit-learn {OTHER} and is loaded by {HERE}: predictions may fail or be wrong. "
        f"Pin scikit-learn=={OTHER} in code/requirements.txt, or save the model again.",
    )
    assert ask(loaded, b"1,2")[0] == 200


def test_the_same_version_is_no_warning(tmp_path: Path) -> None:
    joblib.dump(pipeline(), tmp_path / "model.joblib")
    assert load(tmp_path).warnings == ()


@pytest.mark.parametrize(
    ("now", "then"),
    [
        (b"LinearRegression", b"LinearRegressioM"),  # a class that there is no more
        (b"sklearn.linear_model._base", b"sklearn.linear_model._bas0"),  # a module that there is no more
    ],
)
def test_what_cannot_be_loaded_ends_the_start_with_both_versions(
    now: bytes, then: bytes, old_sklearn: Any, tmp_path: Path
) -> None:
    pickled = old_sklearn(lambda: pickle.dumps(LinearRegression().fit(X, Y)))
    (tmp_path / "model.pkl").write_bytes(pickled.replace(now, then))
    with pytest.raises(LoadError) as refused:
        load(tmp_path)
    assert f"model.pkl was pickled by scikit-learn {OTHER}, and cannot be loaded by {HERE} (" in str(refused.value)
    assert f"pin scikit-learn=={OTHER} in code/requirements.txt" in str(refused.value)


@pytest.mark.filterwarnings("ignore:Trying to unpickle")
def test_a_model_that_loads_and_lacks_something_of_its_own_ends_the_start(old_sklearn: Any, tmp_path: Path) -> None:
    model = LinearRegression().fit(X, Y)
    del model.coef_
    old_sklearn(lambda: joblib.dump(model, tmp_path / "model.joblib"))
    with pytest.raises(LoadError) as refused:
        load(tmp_path)
    assert f"was pickled by scikit-learn {OTHER}, and cannot predict with {HERE} (AttributeError" in str(refused.value)


class Particular(LinearRegression):
    """Takes no row of zeros, and fails with what could be taken for another version's fault."""

    error: Exception = ValueError("no zeros")

    def predict(self, rows: Any) -> Any:
        if not np.any(rows):
            raise self.error
        return super().predict(rows)


@pytest.mark.filterwarnings("ignore:Trying to unpickle")
@pytest.mark.parametrize("error", [ValueError("no zeros"), AttributeError("'float' object has no attribute 'lower'")])
def test_zeros_that_a_model_does_not_take_prove_nothing(error: Exception, old_sklearn: Any, tmp_path: Path) -> None:
    model = Particular().fit(X, Y)
    model.error = error
    old_sklearn(
        lambda: joblib.dump(make_pipeline(StandardScaler(with_mean=False), model).fit(X, Y), tmp_path / "model.joblib")
    )
    assert ask(load(tmp_path), b"1,2")[0] == 200


def test_a_booster_that_another_version_pickled_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "xgboost-model").write_bytes(of_xgboost((3, 0, 5), pickle.dumps(booster())))
    with pytest.warns(UserWarning, match="generated by an older version of XGBoost"):
        loaded = load(tmp_path)
    assert [sentence.partition(":")[0] for sentence in loaded.warnings] == [
        f"xgboost-model was pickled by xgboost 3.0.5 and is loaded by {XGBOOST}"
    ]


@pytest.mark.parametrize(("version", "warned"), [((2, 1, 0), False), ((3, 0, 0), False), ((99, 0, 0), True)])
def test_a_boosters_own_file_is_made_for_later_versions(
    version: tuple[int, int, int], warned: bool, tmp_path: Path
) -> None:
    (tmp_path / "model.ubj").write_bytes(of_xgboost(version, bytes(booster().save_raw("ubj"))))
    assert bool(load(tmp_path).warnings) is warned


def test_a_lightgbm_pickle_tells_no_version_and_is_tried(tmp_path: Path) -> None:
    model = lightgbm.LGBMRegressor(n_estimators=2, verbose=-1).fit(X, Y)
    del model._Booster
    joblib.dump(model, tmp_path / "model.joblib")
    with pytest.raises(LoadError, match=f"pickled by another lightgbm, and cannot predict with {lightgbm.__version__}"):
        load(tmp_path)


def test_a_class_of_a_notebook_is_explained(tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(b"\x80\x04c__main__\nScaler\n.")
    with pytest.raises(LoadError, match="Its classes must be importable: put them into a module in code/"):
        load(tmp_path)


@pytest.mark.parametrize("file", ["model.ubj", "model.json", "xgboost-model", "model.pkl"])
def test_a_booster_whose_base_score_an_earlier_xgboost_does_not_read_ends_the_start(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would load, and each prediction would be off by the difference."""
    if file.startswith("model.p") or file == "xgboost-model":
        (tmp_path / file).write_bytes(pickle.dumps(booster()))
    else:
        booster().save_model(tmp_path / file)
    monkeypatch.setattr(xgboost, "__version__", "3.0.5")
    with pytest.raises(
        LoadError, match=f"{file} was saved by xgboost {XGBOOST}, and 3.0.5 does not read its base score"
    ):
        load(tmp_path)
