"""PyTorch's files. PyTorch is larger than everything else together: these run where it is installed."""

from __future__ import annotations

import io
import json
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.runtime.loaded import ask, load

from bannister.runtime.formats.loading import LoadError

torch = pytest.importorskip("torch", reason="PyTorch is not installed (pip install torch)")


def summing() -> Any:
    """a + 2 b."""
    model = torch.nn.Linear(2, 1, bias=False)
    model.weight.data = torch.tensor([[1.0, 2.0]])
    return model


class Several(torch.nn.Module):  # type: ignore[misc, name-defined]
    def forward(self, rows: Any) -> Any:
        return rows * 2, (rows[:, 0], rows[:, 1])


def save_script(model: Any, file: Path) -> None:
    torch.jit.save(torch.jit.trace(model, torch.zeros(1, 2)), str(file))


@pytest.mark.parametrize("file", ["model.pt", "model.pth", "anything.pt"])
@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"[[1, 2], [3, 0.5]]", "application/json"),
        (b'{"inputs": [[1, 2], [3, 0.5]]}', "application/json"),
        (b"1,2\n3,0.5", "text/csv"),
    ],
)
def test_torchscript_is_served_by_itself(file: str, body: bytes, content_type: str, tmp_path: Path) -> None:
    save_script(summing(), tmp_path / file)
    status, answered, content = ask(load(tmp_path), body, content_type)
    assert (status, answered) == (200, "application/json"), content
    assert np.array(json.loads(content)) == pytest.approx(np.array([[5.0], [4.0]]))


def test_an_exported_model_is_served_by_itself(tmp_path: Path) -> None:
    rows = torch.export.Dim("rows", max=1000)
    exported = torch.export.export(summing(), (torch.zeros(2, 2),), dynamic_shapes=({0: rows},))
    torch.export.save(exported, tmp_path / "model.pt2")
    assert json.loads(ask(load(tmp_path), b"1,2\n3,0.5\n1,1")[2]) == [[5.0], [4.0], [3.0]]
    (tmp_path / "model.pt2").write_bytes(b"no model")
    with pytest.raises(LoadError, match=r"model\.pt2 cannot be read by PyTorch"):
        load(tmp_path)


def test_whole_numbers_in_json_are_floating_point_and_an_array_keeps_its_type(tmp_path: Path) -> None:
    save_script(summing(), tmp_path / "model.pt")
    loaded = load(tmp_path)
    assert json.loads(ask(loaded, b"[[1, 2]]", "application/json")[2]) == [[5.0]]
    out = io.BytesIO()
    np.save(out, np.array([[1, 2]], np.float32))
    status, answered, content = ask(loaded, out.getvalue(), "application/x-npy", accept="application/x-npy")
    assert (status, answered) == (200, "application/x-npy")
    assert np.load(io.BytesIO(content.encode("latin-1"))).tolist() == [[5.0]]
    out = io.BytesIO()
    np.save(out, np.array([[1, 2]], np.int64))
    assert ask(loaded, out.getvalue(), "application/x-npy")[0] == 500  # as PyTorch says: the types differ


def test_what_is_no_array_is_the_clients_mistake(tmp_path: Path) -> None:
    save_script(summing(), tmp_path / "model.pt")
    assert ask(load(tmp_path), b'{"a": 1}', "application/json")[0] == 400


def test_a_module_that_model_fn_returns_is_called(tmp_path: Path) -> None:
    torch.save(summing().state_dict(), tmp_path / "model.pth")
    loaded = load(
        tmp_path,
        """
        import torch
        def model_fn(model_dir):
            model = torch.nn.Linear(2, 1, bias=False)
            model.load_state_dict(torch.load(f"{model_dir}/model.pth"))
            return model
        """,
    )
    assert json.loads(ask(loaded, b"1,2")[2]) == [[5.0]]


def test_a_predict_fn_gets_a_tensor(tmp_path: Path) -> None:
    save_script(summing(), tmp_path / "model.pt")
    loaded = load(
        tmp_path,
        """
        def predict_fn(data, model):
            return str(data.dtype)
        """,
    )
    assert ask(loaded, b"1,2")[2] == '"torch.float32"'


def test_answers_within_answers(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.trace(Several(), torch.zeros(1, 2)), str(tmp_path / "model.pt"))
    assert json.loads(ask(load(tmp_path), b"1,2")[2]) == [[[2.0, 4.0]], [[1.0], [2.0]]]


def test_one_thread_unless_told(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    save_script(summing(), tmp_path / "model.pt")
    try:
        load(tmp_path)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def _other_archive(file: Path) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("anything", "")


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (lambda file: torch.save(summing().state_dict(), file), "is a state_dict, weights without the model"),
        (lambda file: torch.save({"epoch": 1, "model": summing().state_dict()}, file), "is a state_dict"),
        (lambda file: torch.save(OrderedDict(), file), "is a state_dict"),
        (lambda file: torch.save(summing(), file), "is a pickled torch.nn.modules.linear.Linear"),
        (lambda file: torch.save({"epoch": 1}, file), "is a checkpoint, not a model"),
        (
            lambda file: torch.save(summing().state_dict(), file, _use_new_zipfile_serialization=False),
            "is no TorchScript",
        ),
        (_other_archive, "is no file of PyTorch's"),
    ],
)
def test_what_is_no_torchscript_is_said_with_what_to_do(write: Any, says: str, tmp_path: Path) -> None:
    write(tmp_path / "model.pth")
    with pytest.raises(LoadError) as refused:
        load(tmp_path)
    assert f"model.pth {says}" in str(refused.value)
    assert str(refused.value).endswith(
        "define model_fn in code/inference.py, or save the model as TorchScript, or with torch.export.save as .pt2."
    )


def test_damaged_torchscript_is_said(tmp_path: Path) -> None:
    save_script(summing(), tmp_path / "whole.pt")
    with zipfile.ZipFile(tmp_path / "whole.pt") as whole, zipfile.ZipFile(tmp_path / "model.pt", "w") as damaged:
        for name in whole.namelist():
            if not name.endswith("data.pkl"):
                damaged.writestr(name, whole.read(name))
    with pytest.raises(LoadError, match=r"model\.pt cannot be read by PyTorch"):
        load(tmp_path)
