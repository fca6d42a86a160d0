"""Model files of every kind, served by themselves: what the library predicts is what is answered."""

from __future__ import annotations

import io
import json
import pickle
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression
from tests.runtime import onnx_file
from tests.runtime.loaded import ask, load

from bannister.runtime.formats import finding
from bannister.runtime.formats.loading import LoadError
from bannister.runtime.formats.xgboost import decode_libsvm

lightgbm = pytest.importorskip("lightgbm", reason="only installed on Linux")
xgboost = pytest.importorskip("xgboost", reason="only installed on Linux")

#: A line of a FailureReason is cut behind this many characters, and Python puts the exception's name before the sentence.
SENTENCE_CHARACTERS_MAX = 300 - len("bannister.runtime.formats.loading.LoadError: ")

RNG = np.random.default_rng(7)
X = RNG.uniform(0, 4, (200, 2))
Y = X[:, 0] + 2 * X[:, 1]
ROWS = np.array([[1.0, 2.0], [3.0, 0.5]])
CSV_BODY = b"1,2\n3,0.5\n"


def trees(objective: str = "reg:squarederror", **more: Any) -> Any:
    parameters = {"objective": objective, "max_depth": 3, "nthread": 1, **more}
    label = Y if objective.startswith("reg") else (Y > 6).astype(int)
    return xgboost.train(parameters, xgboost.DMatrix(X, label), num_boost_round=8)


def leaves(objective: str = "regression") -> lightgbm.Booster:
    parameters = {"objective": objective, "num_threads": 1, "verbose": -1, "min_data_in_leaf": 5}
    return lightgbm.train(parameters, lightgbm.Dataset(X, Y), num_boost_round=8)


# --- files that are served by themselves


@dataclass
class Case:
    file: str
    write: Callable[[Path], Any]
    #: For `ROWS`, by the library itself.
    expected: Callable[[], Any]

    def __str__(self) -> str:
        return self.file


def _xgboost_predicts() -> Any:
    return trees().predict(xgboost.DMatrix(ROWS))


def _write_json_like_ubj(file: Path) -> None:
    file.write_bytes(trees().save_raw("ubj"))


def _pickle(make: Callable[[], Any]) -> Callable[[Path], Any]:
    return lambda file: file.write_bytes(pickle.dumps(make()))


CASES = [
    Case("model.joblib", lambda file: joblib.dump(LinearRegression().fit(X, Y), file), lambda: ROWS @ [1, 2]),
    Case("xgboost-model", _pickle(trees), _xgboost_predicts),
    Case("xgboost-model", _write_json_like_ubj, _xgboost_predicts),
    Case("model.json", lambda file: trees().save_model(file), _xgboost_predicts),
    Case("any.ubj", lambda file: trees().save_model(file), _xgboost_predicts),
    Case("model.bst", _write_json_like_ubj, _xgboost_predicts),
    Case("model.xgb", lambda file: file.write_bytes(trees().save_raw("json")), _xgboost_predicts),
    Case("model.pkl", _pickle(trees), _xgboost_predicts),
    Case(
        "classifier.pkl",
        _pickle(lambda: xgboost.XGBRegressor(n_estimators=4).fit(X, Y)),
        lambda: xgboost.XGBRegressor(n_estimators=4).fit(X, Y).predict(ROWS),
    ),
    Case("model.txt", lambda file: leaves().save_model(file), lambda: leaves().predict(ROWS)),
    Case("lightgbm-model", lambda file: leaves().save_model(file), lambda: leaves().predict(ROWS)),
    Case("model.pkl", _pickle(leaves), lambda: leaves().predict(ROWS)),
    Case(
        "regressor.joblib",
        lambda file: joblib.dump(lightgbm.LGBMRegressor(n_estimators=4, verbose=-1).fit(X, Y), file, compress=3),
        lambda: lightgbm.LGBMRegressor(n_estimators=4, verbose=-1).fit(X, Y).predict(ROWS),
    ),
    Case("model.onnx", lambda file: file.write_bytes(onnx_file.weighted_sum()), lambda: (ROWS @ [1, 2]).reshape(-1, 1)),
]


def _npy(array: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


@pytest.mark.parametrize("case", CASES, ids=[f"{number}-{case}" for number, case in enumerate(CASES)])
def test_a_file_is_served_by_itself(case: Case, tmp_path: Path) -> None:
    case.write(tmp_path / case.file)
    loaded = load(tmp_path)
    for body, content_type in (
        (CSV_BODY, "text/csv"),
        (json.dumps(ROWS.tolist()).encode(), "application/json"),
        (json.dumps({"instances": ROWS.tolist()}).encode(), "application/json"),
        (b"[1, 2]\n[3, 0.5]\n", "application/jsonlines"),
        (_npy(ROWS), "application/x-npy"),
    ):
        status, answered, content = ask(loaded, body, content_type, accept="application/json")
        assert (status, answered) == (200, "application/json"), content
        assert np.array(json.loads(content)) == pytest.approx(np.array(case.expected()), rel=1e-6)
    assert loaded.warnings == ()


@pytest.mark.parametrize("case", CASES, ids=[f"{number}-{case}" for number, case in enumerate(CASES)])
def test_rows_of_another_length_are_the_clients_mistake(case: Case, tmp_path: Path) -> None:
    case.write(tmp_path / case.file)
    loaded = load(tmp_path)
    status, _, content = ask(loaded, b"1,2,3\n", "text/csv")
    assert (status, "expects 2 features a row, and the rows have 3" in content) == (400, True)
    status, _, content = ask(loaded, b"[1, 2]", "application/json", accept="application/json")
    assert (status, len(json.loads(content))) == (200, 1)


@pytest.mark.parametrize("body", [b'["a", "b"]', b'{"x": 1}', b"[[[1, 2]]]", b'"text"', b'[{"a": 1}]'])
@pytest.mark.parametrize("file", ["model.json", "model.txt"])
def test_what_is_no_table_is_the_clients_mistake(file: str, body: bytes, tmp_path: Path) -> None:
    next(case for case in CASES if case.file == file).write(tmp_path / file)
    assert ask(load(tmp_path), body, "application/json")[0] == 400


# --- XGBoost, as SageMaker's container


def test_xgboost_answers_csv_on_one_line_unless_asked_otherwise(tmp_path: Path) -> None:
    """Scripts for SageMaker's XGBoost split the answer at commas."""
    trees().save_model(tmp_path / "model.ubj")
    loaded = load(tmp_path)
    expected = [float(one) for one in _xgboost_predicts()]
    for accept in ("", "*/*", "text/csv"):
        status, answered, content = ask(loaded, CSV_BODY, accept=accept)
        assert (status, answered) == (200, "text/csv")
        assert content == ",".join(map(str, expected))
    assert json.loads(ask(loaded, CSV_BODY, accept="application/json")[2]) == pytest.approx(expected)


def test_several_numbers_for_a_row_are_in_brackets(tmp_path: Path) -> None:
    trees("multi:softprob", num_class=2).save_model(tmp_path / "model.ubj")
    content = ask(load(tmp_path), CSV_BODY)[2]
    assert np.array(json.loads(f"[{content}]")).shape == (2, 2)


@pytest.mark.parametrize("content_type", ["text/libsvm", "text/x-libsvm"])
@pytest.mark.parametrize("body", [b"0:1 1:2\n0:3 1:0.5", b"1 0:1 1:2\n0 1:0.5 0:3 # a comment\n\n"])
def test_xgboost_takes_libsvm(content_type: str, body: bytes, tmp_path: Path) -> None:
    trees().save_model(tmp_path / "model.ubj")
    status, _, content = ask(load(tmp_path), body, content_type, accept="application/json")
    assert status == 200
    assert json.loads(content) == pytest.approx(_xgboost_predicts().tolist())


def test_a_feature_that_libsvm_does_not_name_is_missing(tmp_path: Path) -> None:
    trees().save_model(tmp_path / "model.ubj")
    loaded = load(tmp_path)
    assert ask(loaded, b"0:1\n", "text/libsvm")[2] == ask(loaded, b"1,\n", "text/csv")[2]
    assert ask(loaded, b"0:1\n", "text/libsvm")[2] != ask(loaded, b"1,0\n", "text/csv")[2]


@pytest.mark.parametrize("body", [b"", b"0:x", b"qid:1 0:1", b"-1:2", b"99999999999:1", b"\xff", b"0:1 7:1"])
def test_bad_libsvm_is_the_clients_mistake(body: bytes, tmp_path: Path) -> None:
    trees().save_model(tmp_path / "model.ubj")
    assert ask(load(tmp_path), body, "text/libsvm")[0] == 400


def test_a_short_body_of_libsvm_takes_little_memory() -> None:
    table = decode_libsvm(b"1\n" * 100_000 + b"2147483647:1")
    assert table.shape == (100_001, 2**31)
    assert table.data.nbytes == 4


def test_a_booster_that_stopped_early_predicts_with_its_best_iteration(tmp_path: Path) -> None:
    booster = trees()
    booster.set_attr(best_iteration="2")
    booster.save_model(tmp_path / "model.ubj")
    expected = booster.predict(xgboost.DMatrix(ROWS), iteration_range=(0, 3)).tolist()
    assert expected != _xgboost_predicts().tolist()
    assert json.loads(ask(load(tmp_path), CSV_BODY, accept="application/json")[2]) == pytest.approx(expected)


def test_a_linear_booster_is_served(tmp_path: Path) -> None:
    booster = xgboost.train({"booster": "gblinear", "nthread": 1}, xgboost.DMatrix(X, Y), num_boost_round=8)
    booster.save_model(tmp_path / "model.json")
    content = ask(load(tmp_path), CSV_BODY, accept="application/json")[2]
    assert json.loads(content) == pytest.approx(booster.predict(xgboost.DMatrix(ROWS)).tolist())


def test_rows_of_named_features_come_in_any_order(tmp_path: Path) -> None:
    booster = xgboost.train({"nthread": 1}, xgboost.DMatrix(X, Y, feature_names=["a", "b"]), num_boost_round=8)
    booster.save_model(tmp_path / "model.json")
    loaded = load(tmp_path)
    body = b'[{"b": 2, "a": 1}, {"a": 3, "b": 0.5}]'
    expected = booster.inplace_predict(ROWS, validate_features=False).tolist()
    assert json.loads(ask(loaded, body, "application/json", "application/json")[2]) == pytest.approx(expected)
    status, _, content = ask(loaded, b'{"a": 1}', "application/json")
    assert (status, "features b are missing" in content) == (400, True)


def test_code_of_the_users_gets_what_the_container_would_give_it(tmp_path: Path) -> None:
    """A DMatrix, and the answer is then the toolkit's: JSON, and CSV with a row on each line."""
    trees().save_model(tmp_path / "model.ubj")
    loaded = load(
        tmp_path,
        """
        def predict_fn(data, model):
            assert type(data).__name__ == "DMatrix"
            return model.predict(data)
        """,
    )
    expected = _xgboost_predicts().tolist()
    assert ask(loaded, CSV_BODY)[1] == "application/json"
    assert ask(loaded, CSV_BODY, accept="text/csv")[2] == "".join(f"{one}\n" for one in expected)


def test_what_an_input_fn_makes_is_predicted(tmp_path: Path) -> None:
    trees().save_model(tmp_path / "model.ubj")
    loaded = load(
        tmp_path,
        """
        import xgboost
        def input_fn(body, content_type):
            return xgboost.DMatrix([[float(cell) for cell in line.split(",")] for line in body.split()])
        """,
    )
    assert ask(loaded, CSV_BODY)[2] == ",".join(map(str, _xgboost_predicts().tolist()))


def test_a_booster_that_model_fn_returns_is_served_like_one_from_a_file(tmp_path: Path) -> None:
    trees().save_model(tmp_path / "weights.ubj")
    loaded = load(
        tmp_path,
        """
        import xgboost
        def model_fn(model_dir):
            return xgboost.Booster(model_file=f"{model_dir}/weights.ubj")
        """,
    )
    assert json.loads(ask(loaded, CSV_BODY, accept="application/json")[2]) == pytest.approx(
        _xgboost_predicts().tolist()
    )


def test_predictions_side_by_side_are_the_same(tmp_path: Path) -> None:
    trees().save_model(tmp_path / "model.ubj")
    loaded = load(tmp_path)
    answers: set[str] = set()
    threads = [
        threading.Thread(target=lambda: answers.update(ask(loaded, CSV_BODY)[2] for _ in range(50))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {",".join(map(str, _xgboost_predicts().tolist()))}


def test_a_choice_of_columns_is_refused_and_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trees().save_model(tmp_path / "model.ubj")
    monkeypatch.setenv("SAGEMAKER_INFERENCE_OUTPUT", "predicted_label,probability")
    with pytest.raises(LoadError, match="SAGEMAKER_INFERENCE_OUTPUT"):
        load(tmp_path)


# --- ONNX


TWO_INPUTS = onnx_file.model(
    {"a": (onnx_file.FLOAT, ["rows", 1]), "b": (onnx_file.FLOAT, ["rows", 1])},
    {"sum": (onnx_file.FLOAT, ["rows", 1]), "difference": (onnx_file.FLOAT, ["rows", 1])},
    [("Add", ["a", "b"], ["sum"]), ("Sub", ["a", "b"], ["difference"])],
)


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": [[3], [5]], "b": [[1], [2]]}',
        b'{"inputs": {"a": [3, 5], "b": [1, 2]}}',
        b'[{"a": 3, "b": 1}, {"b": 2, "a": 5}]',
        b'{"instances": [{"a": 3, "b": 1}, {"a": 5, "b": 2}]}',
    ],
)
def test_several_inputs_and_outputs_are_named(body: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(TWO_INPUTS)
    status, _, content = ask(load(tmp_path), body, "application/json")
    assert status == 200, content
    assert json.loads(content) == {"sum": [[4], [7]], "difference": [[2], [3]]}


@pytest.mark.parametrize(
    "body",
    [
        b'{"inputs": [[3], [5]], "mask": [[1], [2]]}',
        b'{"inputs": {"inputs": [3, 5], "mask": [1, 2]}}',
        b'{"instances": [{"inputs": 3, "mask": 1}, {"inputs": 5, "mask": 2}]}',
    ],
)
def test_one_of_several_inputs_may_be_called_inputs(body: bytes, tmp_path: Path) -> None:
    column = (onnx_file.FLOAT, ["rows", 1])
    added = onnx_file.model({"inputs": column, "mask": column}, {"sum": column}, [("Add", ["inputs", "mask"], ["sum"])])
    (tmp_path / "model.onnx").write_bytes(added)
    status, _, content = ask(load(tmp_path), body, "application/json")
    assert (status, json.loads(content)) == (200, [[4], [7]])


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"[[1, 2]]", "inputs a, b"),
        (b'{"a": [1]}', "features b are missing"),
        (b'{"a": [1], "b": ["x"]}', "input b is a tensor(float)"),
        (b'{"a": [[[1]]], "b": [1]}', "input a has 2 dimensions, and the data have 3"),
    ],
)
def test_inputs_that_do_not_fit(body: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(TWO_INPUTS)
    status, _, content = ask(load(tmp_path), body, "application/json")
    assert (status, says in content) == (400, True), content


def test_a_batch_of_another_length_than_the_file_fixes_is_the_clients_mistake(tmp_path: Path) -> None:
    one = onnx_file.model(
        {"x": (onnx_file.FLOAT, [1, 2])}, {"y": (onnx_file.FLOAT, [1, 2])}, [("Identity", ["x"], ["y"])]
    )
    (tmp_path / "model.onnx").write_bytes(one)
    loaded = load(tmp_path)
    assert ask(loaded, b"1,2")[0] == 200
    status, _, content = ask(loaded, CSV_BODY)
    assert (status, "does not take such data" in content) == (400, True), content


@pytest.mark.parametrize(
    ("kind", "body", "expected"),
    [
        (onnx_file.INT64, b"[[1, 2]]", [[1, 2]]),
        (onnx_file.INT64, b"[1.0, 2.0]", [[1, 2]]),
        (onnx_file.INT64, b"[1.5, 2]", None),
        (onnx_file.INT64, b"[9007199254740993, 2]", [[9007199254740993, 2]]),
        (onnx_file.STRING, b'[["a", "b"]]', [["a", "b"]]),
        (onnx_file.STRING, b'["a", "b"]', [["a", "b"]]),
        (onnx_file.STRING, b'["a", 1]', None),
        (onnx_file.STRING, b'[["a"], ["b", "c"]]', None),
    ],
)
def test_inputs_of_other_types(kind: int, body: bytes, expected: Any, tmp_path: Path) -> None:
    same = onnx_file.model({"x": (kind, ["rows", 2])}, {"y": (kind, ["rows", 2])}, [("Identity", ["x"], ["y"])])
    (tmp_path / "model.onnx").write_bytes(same)
    status, _, content = ask(load(tmp_path), body, "application/json")
    assert (status, json.loads(content) if status == 200 else None) == (200 if expected else 400, expected)


def test_a_prediction_of_several_outputs_has_no_csv(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(TWO_INPUTS)
    assert ask(load(tmp_path), b'{"a": [3], "b": [1]}', "application/json", accept="text/csv")[0] == 406


def test_an_onnx_session_has_no_threads_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(onnx_file.weighted_sum())
    options = load(tmp_path).model.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)


# --- files that are not served


def _several(folder: Path) -> None:
    for name in ("a.onnx", "b.onnx"):
        (folder / name).write_bytes(onnx_file.weighted_sum())


def _several_called_model(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(onnx_file.weighted_sum())
    leaves().save_model(folder / "model.txt")


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (_several, "several models (a.onnx, b.onnx)"),
        (_several_called_model, "several models (model.onnx, model.txt)"),
        (lambda folder: (folder / "model.ubj").write_bytes(b"no model"), "model.ubj cannot be read by XGBoost"),
        (lambda folder: (folder / "xgboost-model").write_bytes(b""), "xgboost-model is empty"),
        (lambda folder: (folder / "model.json").write_text('{"learner": {'), "model.json cannot be read by XGBoost"),
        (lambda folder: (folder / "model.json").write_text('{"some": "settings"}'), "has neither code/inference.py"),
        (lambda folder: (folder / "notes.txt").write_text("tree"), "has neither code/inference.py"),
        (
            lambda folder: (folder / "lightgbm-model").write_text("nothing"),
            "lightgbm-model is no text file of LightGBM",
        ),
        (
            lambda folder: (folder / "model.txt").write_text("tree\nversion=v4\n"),
            "model.txt cannot be read by LightGBM",
        ),
        (lambda folder: (folder / "model.onnx").write_bytes(b"no model"), "model.onnx cannot be read by onnxruntime"),
        (
            lambda folder: (folder / "model.onnx").write_bytes(onnx_file.weighted_sum(ir_version=99)),
            "if a newer one is needed",
        ),
        (
            lambda folder: (folder / "model.pt").write_bytes(b"no model"),
            "model.pt is no TorchScript: define model_fn in code/inference.py",
        ),
        (
            lambda folder: (folder / "model.pkl").write_bytes(pickle.dumps({"a": 1})),
            "The model is a dict, which has no predict",
        ),
        (lambda folder: (folder / "._model.pkl").write_bytes(b""), "has neither code/inference.py"),
    ],
)
def test_what_cannot_be_served_is_said_with_the_remedy(write: Callable[[Path], Any], says: str, tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(LoadError) as refused:
        load(tmp_path)
    sentence = str(refused.value)
    assert says in sentence
    assert len(sentence.replace(str(tmp_path), "")) <= SENTENCE_CHARACTERS_MAX
    assert "\n" not in sentence


def test_of_several_files_the_one_that_is_called_model_is_taken(tmp_path: Path) -> None:
    for name in ("a.onnx", "model.onnx", "z.onnx"):
        (tmp_path / name).write_bytes(onnx_file.weighted_sum())
    found = finding.find(tmp_path)
    assert found is not None
    assert found[0].name == "model.onnx"


@pytest.mark.parametrize(
    ("file", "module", "package"),
    [
        ("model.ubj", "xgboost", "xgboost"),
        ("model.txt", "lightgbm", "lightgbm"),
        ("model.onnx", "onnxruntime", "onnxruntime"),
        ("model.joblib", "sklearn.linear_model._base", "scikit-learn"),
    ],
)
def test_a_library_that_is_missing_is_named_as_one_installs_it(
    file: str, module: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {**{case.file: case for case in CASES}, "model.ubj": next(case for case in CASES if case.file == "any.ubj")}
    made[file].write(tmp_path / file)
    for name in [name for name in sys.modules if name.partition(".")[0] == module.partition(".")[0]]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [_Without(module.partition(".")[0]), *sys.meta_path])
    with pytest.raises(
        LoadError, match=f"{file} needs {package}, which .* does not have: name it in code/requirements.txt"
    ):
        load(tmp_path)


class _Without:
    """A finder of modules that finds one library not to be there."""

    def __init__(self, library: str) -> None:
        self._library = library

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name.partition(".")[0] == self._library:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
