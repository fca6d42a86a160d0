"""The inference toolkit's contract, seen by a client of the real process."""

from __future__ import annotations

import http.client
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn.base
from sklearn.linear_model import LinearRegression

pytestmark = pytest.mark.real
Start = Callable[..., Any]
TIMEOUT_SECONDS = 30


def sum_model() -> LinearRegression:
    """Predicts a + 2 b."""
    return LinearRegression().fit(np.array([[0, 0], [1, 0], [0, 1]]), np.array([0, 1, 2]))


@pytest.fixture(scope="module")
def by_itself(start_server: Start, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A joblib file and no code."""
    folder = tmp_path_factory.mktemp("joblib")
    joblib.dump(sum_model(), folder / "model.joblib")
    return start_server(folder).wait_ready()


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"[[1, 2], [3, 4]]", "application/json"),
        (b'{"instances": [[1, 2], [3, 4]]}', "application/json"),
        (b"[1, 2]\n[3, 4]", "application/jsonlines"),
        (b"1,2\n3,4", "text/csv"),
    ],
)
def test_a_scikit_learn_file_is_served_by_itself(by_itself: Any, body: bytes, content_type: str) -> None:
    status, answered, content = by_itself.invoke(body, content_type)
    assert (status, answered) == (200, "application/json")
    assert json.loads(content) == pytest.approx([5, 11])


def test_answers_in_the_type_that_is_accepted(by_itself: Any) -> None:
    sent = io.BytesIO()
    np.save(sent, np.array([[1, 2], [3, 4]]))
    status, answered, content = by_itself.invoke(sent.getvalue(), "application/x-npy", accept="application/x-npy")
    assert (status, answered) == (200, "application/x-npy")
    assert np.load(io.BytesIO(content)) == pytest.approx([5, 11])
    _, answered, content = by_itself.invoke(b"[[1, 2]]", accept="text/csv, */*;q=0.1")
    assert answered == "text/csv"
    assert float(content) == pytest.approx(5)


def test_one_row_need_not_be_a_list_of_rows(by_itself: Any) -> None:
    assert json.loads(by_itself.invoke(b"[1, 2]")[2]) == pytest.approx([5])


@pytest.mark.parametrize(
    ("body", "content_type", "accept", "status", "says"),
    [
        (b"[1, 2", "application/json", "*/*", 400, "not valid application/json"),
        (b"1,two", "text/csv", "*/*", 400, "line 1"),
        (b"[[1, 2, 3]]", "application/json", "*/*", 400, "expects 2 features a row, and the rows have 3"),
        (b"<a/>", "text/xml", "*/*", 415, "text/xml"),
        (b"[[1, 2]]", "application/json", "text/html", 406, "text/html"),
    ],
)
def test_mistakes_of_the_client(
    by_itself: Any, body: bytes, content_type: str, accept: str, status: int, says: str
) -> None:
    answered, kind, content = by_itself.invoke(body, content_type, accept=accept)
    assert (answered, kind) == (status, "application/json")
    assert says in json.loads(content)["error"]


def test_other_paths_and_methods(by_itself: Any) -> None:
    assert by_itself.ask("GET", "/nowhere")[0] == 404
    status, headers, _ = by_itself.ask("GET", "/invocations")
    assert (status, headers["allow"]) == (405, "POST")
    assert by_itself.ask("POST", "/ping")[0] == 405
    assert by_itself.ask("HEAD", "/ping")[0] == 200
    assert by_itself.ask("GET", "/ping?full=1")[0] == 200


def test_rows_of_named_features_reach_a_model_trained_on_a_table(start_server: Start, tmp_path: Path) -> None:
    table = pd.DataFrame({"a": [0, 1, 0], "b": [0, 0, 1]})
    joblib.dump(LinearRegression().fit(table, [0, 1, 2]), tmp_path / "anything.joblib")
    server = start_server(tmp_path).wait_ready()
    status, _, content = server.invoke(b'[{"b": 2, "a": 1}]')
    assert status == 200
    assert json.loads(content) == pytest.approx([5])
    status, _, content = server.invoke(b'{"a": 1}')
    assert (status, "features b are missing" in content.decode()) == (400, True)


ALL_FUNCTIONS = """
    import json
    import beside  # code/ is on the path

    class Unsaid(Exception):
        def __str__(self):
            return "row %s: %s" % self.args

    def model_fn(model_dir):
        print("loading from", model_dir)
        return {"dir": model_dir}

    def input_fn(body, content_type):
        return {"kind": type(body).__name__, "content_type": content_type}

    def predict_fn(data, model, context):
        attributes = context.get_request_header(0, "X-Amzn-SageMaker-Custom-Attributes")
        context.set_response_header(0, "X-Amzn-SageMaker-Custom-Attributes", f"seen {attributes}")
        if attributes == "raise":
            int(None)
        if attributes == "leave":
            raise SystemExit(0)
        if attributes == "teapot":
            error = RuntimeError("short and stout")
            error.status_code = 418
            raise error
        if attributes == "unsaid":
            raise Unsaid(1)
        return {**data, "word": beside.word, "dir": model["dir"]}

    def output_fn(prediction, accept):
        return json.dumps({**prediction, "accept": accept}), "application/vnd.test"
"""


@pytest.fixture(scope="module")
def by_functions(start_server: Start, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("functions")
    (folder / "code").mkdir()
    (folder / "code" / "beside.py").write_text("word = 'beside'\n")
    return start_server(folder, ALL_FUNCTIONS).wait_ready()


def test_every_function_of_the_user_is_used(by_functions: Any) -> None:
    status, headers, content = by_functions.ask(
        "POST", "/invocations", b"\xff\x00", content_type="image/png", accept="text/plain"
    )
    answer = json.loads(content)
    assert (status, headers["content-type"]) == (200, "application/vnd.test")
    assert answer.pop("dir") in by_functions.log.read_text()
    assert answer == {"kind": "bytes", "content_type": "image/png", "word": "beside", "accept": "text/plain"}


def test_json_and_csv_arrive_as_text_as_in_the_toolkit(by_functions: Any) -> None:
    answer = json.loads(by_functions.invoke(b"1,2", "text/csv")[2])
    assert answer["kind"] == "str"
    assert answer["accept"] == "application/json"


def test_custom_attributes_reach_the_code_and_come_back(by_functions: Any) -> None:
    _, headers, _ = by_functions.ask("POST", "/invocations", b"", **{"X-Amzn-SageMaker-Custom-Attributes": "trace=7"})
    assert headers["X-Amzn-SageMaker-Custom-Attributes"] == "seen trace=7"


@pytest.mark.parametrize(
    ("attributes", "status", "says"),
    [
        ("raise", 500, "TypeError: int() argument must be"),
        ("leave", 500, "SystemExit: 0"),
        ("teapot", 418, "RuntimeError: short and stout"),
        ("unsaid", 500, "Unsaid: (its text cannot be had: TypeError)"),
    ],
)
def test_what_user_code_raises(by_functions: Any, attributes: str, status: int, says: str) -> None:
    answered, _, content = by_functions.ask(
        "POST", "/invocations", b"", **{"X-Amzn-SageMaker-Custom-Attributes": attributes}
    )
    message = json.loads(content)["error"]
    assert (answered, message[: len(says)]) == (status, says)
    assert "Traceback" not in message
    assert "Traceback (most recent call last)" in by_functions.log.read_text()
    assert "bannister/runtime" not in by_functions.log.read_text()
    assert by_functions.ask("GET", "/ping")[0] == 200


SAYS_OF_THE_ANSWER = """
    def predict_fn(data, model, context):
        if data == "none":
            context.set_response_status(204)
            return None
        if data == "image":
            context.set_response_header(0, "Content-Type", "image/png")
        if data == "status":
            context.set_response_status(100)
        return [object()] if data == "objects" else data
"""


def test_what_user_code_says_of_the_answer(start_server: Start) -> None:
    server = start_server(code=SAYS_OF_THE_ANSWER).wait_ready()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT_SECONDS)

    def ask(data: str) -> tuple[int, list[str], bytes]:
        connection.request("POST", "/invocations", json.dumps(data), {"content-type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.headers.get_all("content-type") or [], answer.read()

    # One connection for all: bytes after an answer that has no body would be taken for the next answer.
    for _ in range(2):
        assert ask("none") == (204, [], b"")
        assert ask("image") == (200, ["image/png"], b'"image"')
    status, _, content = ask("status")
    assert (status, "200 to 599" in content.decode()) == (500, True)
    # No client can ask for it in another form: a guard on 5XX must see it, and the owner of the model the traceback.
    status, _, content = ask("objects")
    assert (status, content.startswith(b'{"error": "TypeError: ')) == (500, True)
    assert "no JSON form" in server.log.read_text()
    connection.close()


def test_transform_fn_takes_the_place_of_the_three(start_server: Start) -> None:
    server = start_server(
        code="""
            def transform_fn(model, body, content_type, accept):
                return {"model": model, "body": body, "types": [content_type, accept]}
        """
    ).wait_ready()
    status, kind, content = server.invoke(b'"x"')
    assert (status, kind) == (200, "application/json")
    assert json.loads(content) == {"model": None, "body": '"x"', "types": ["application/json"] * 2}


def test_a_program_of_another_name_in_the_containers_folder(start_server: Start, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "serve.py").write_text("def predict_fn(data, model):\n    return len(data)\n")
    server = start_server(
        tmp_path, SAGEMAKER_PROGRAM="serve.py", SAGEMAKER_SUBMIT_DIRECTORY="/opt/ml/model/src"
    ).wait_ready()
    assert server.invoke(b"[1, 2, 3]")[2] == b"3"


def test_libraries_use_one_thread_unless_told(start_server: Start) -> None:
    code = """
        import os
        def predict_fn(data, model):
            return os.environ[data]
    """
    assert start_server(code=code).wait_ready().invoke(b'"OMP_NUM_THREADS"')[2] == b'"1"'
    told = start_server(code=code, OMP_NUM_THREADS="2").wait_ready()
    assert told.invoke(b'"OMP_NUM_THREADS"')[2] == b'"2"'


@pytest.mark.parametrize(
    ("code", "environment", "last_line"),
    [
        ("import no_such_module", {}, "ModuleNotFoundError: No module named 'no_such_module'"),
        ("def model_fn(model_dir):\n    return {}['weights']", {}, "KeyError: 'weights'"),
        ("import sys\nsys.exit(0)", {}, "LoadError: The model's code ended the process with 0 while it was loaded."),
        ("def input_fn(body, kind): ...", {}, "has neither code/inference.py with a model_fn nor a model file"),
        ("def predict_fn(data): ...", {}, "predict_fn must take 2 arguments, or 3 with a context."),
        ("def transform_fn(a, b, c, d): ...\ndef input_fn(a, b): ...", {}, "define it or them."),
        (None, {"SAGEMAKER_PROGRAM": "gone.py"}, "SAGEMAKER_PROGRAM is gone.py"),
        (None, {}, "has neither code/inference.py"),
    ],
)
def test_a_model_that_does_not_load_ends_with_the_reason_last(
    start_server: Start, code: str | None, environment: dict[str, str], last_line: str
) -> None:
    server = start_server(code=code, **environment)
    assert server.process.wait(TIMEOUT_SECONDS) != 0
    assert last_line in server.log.read_text().splitlines()[-1]


def test_a_model_file_that_cannot_be_read_is_named(start_server: Start, tmp_path: Path) -> None:
    (tmp_path / "model.joblib").write_bytes(b"not a joblib file")
    server = start_server(tmp_path)
    assert server.process.wait(TIMEOUT_SECONDS) != 0
    assert "model.joblib cannot be loaded: KeyError" in server.log.read_text().splitlines()[-1]


def test_requirements_are_not_passed_over_in_silence(start_server: Start, tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "inference.py").write_text("import no_such_module")
    (tmp_path / "code" / "requirements.txt").write_text("no-such-module==1")
    server = start_server(tmp_path)
    assert server.process.wait(TIMEOUT_SECONDS) != 0
    assert "code/requirements.txt is not installed" in server.log.read_text()


def test_several_models_without_a_name_are_refused(start_server: Start, tmp_path: Path) -> None:
    for name in ("a.joblib", "b.joblib"):
        joblib.dump(sum_model(), tmp_path / name)
    server = start_server(tmp_path)
    assert server.process.wait(TIMEOUT_SECONDS) != 0
    assert "a.joblib, b.joblib" in server.log.read_text().splitlines()[-1]


def pickled_elsewhere(model: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As scikit-learn 1.2.2 would have pickled it."""
    with monkeypatch.context() as patched:
        patched.setattr(sklearn.base, "__version__", "1.2.2")
        joblib.dump(model, folder / "model.joblib")
    return folder


def test_a_model_of_another_version_is_warned_about_before_it_serves(
    start_server: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start_server(pickled_elsewhere(sum_model(), tmp_path, monkeypatch)).wait_ready()
    assert json.loads(server.invoke(b"[[1, 2]]")[2]) == pytest.approx([5])
    *_, warning, serving = server.log.read_text().splitlines()
    assert warning.startswith("WARNING: model.joblib was pickled by scikit-learn 1.2.2 and is loaded by ")
    assert serving.startswith("Serving ")
    # Whoever asks whether it is up is told.
    assert json.loads(server.ask("GET", "/ping")[2]) == {"warnings": [warning.removeprefix("WARNING: ")]}


def test_a_model_of_another_version_that_cannot_predict_never_serves(
    start_server: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = sum_model()
    del model.coef_
    server = start_server(pickled_elsewhere(model, tmp_path, monkeypatch))
    assert server.process.wait(TIMEOUT_SECONDS) != 0
    last = server.log.read_text().splitlines()[-1]
    assert "model.joblib was pickled by scikit-learn 1.2.2, and cannot predict with " in last
    assert len(last) <= 300  # a FailureReason has no more of a line


ANSWERS = """
    import json

    def model_fn(model_dir):
        return None

    def input_fn(body, content_type):
        return json.loads(body)

    def predict_fn(data, model):
        return data

    def output_fn(prediction, accept):
        if prediction == "generator":
            return (piece for piece in ("a", "b")), "text/plain"
        if prediction == "another type":
            return [1, 2], "text/plain"
        return [1, 2], accept
"""


@pytest.fixture(scope="module")
def by_answers(start_server: Start, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return start_server(tmp_path_factory.mktemp("answers"), ANSWERS).wait_ready()


@pytest.mark.parametrize(
    ("asked", "accept", "status", "says"),
    [
        ("as asked", "application/json, */*", 200, "[1, 2]"),
        ("as asked", "application/*", 200, "[1, 2]"),
        ("as asked", "text/csv", 200, "1"),
        ("as asked", "image/png", 406, "names no type that can be given"),
        ("another type", "application/json", 500, "output_fn returned a list as 'text/plain'"),
        ("generator", "application/json", 500, "bring a model server of your own"),
    ],
)
def test_what_output_fn_returns_is_its_own_mistake_and_what_the_client_asks_for_is_not(
    by_answers: Any, asked: str, accept: str, status: int, says: str
) -> None:
    answered, _, content = by_answers.ask("POST", "/invocations", json.dumps(asked).encode(), accept=accept)
    assert (answered, says in content.decode()) == (status, True), content
