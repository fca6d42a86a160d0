"""Which file of a folder is the model, loaded; and how a loaded model is served."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bannister.runtime.formats import lightgbm, onnx, pickled, torch, versions, xgboost
from bannister.runtime.formats.loading import LoadError, package_of
from bannister.runtime.formats.served import Served

#: Of the names in a sentence.
_NAMED_MAX = 4


@dataclass(frozen=True)
class Kind:
    """How files of one kind are recognised and loaded."""

    load: Callable[[Path], Any]
    names: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()
    #: None: the name is enough.
    recognises: Callable[[Path], bool] | None = None


#: Of several, in this order.
PICKLES_FIRST = ("model.joblib", "model.pkl", "model.pickle")
KINDS = (
    Kind(pickled.load, suffixes=(".joblib", ".pkl", ".pickle")),
    Kind(xgboost.load, names=("xgboost-model",), suffixes=(".ubj", ".bst", ".xgb")),
    Kind(xgboost.load, suffixes=(".json",), recognises=xgboost.recognises),
    Kind(lightgbm.load, names=("lightgbm-model",)),
    Kind(lightgbm.load, suffixes=(".txt",), recognises=lightgbm.recognises),
    Kind(onnx.load, suffixes=(".onnx",)),
    Kind(torch.load, suffixes=(".pt", ".pth")),
    Kind(torch.load_exported, suffixes=(".pt2",)),
)
#: From this release on XGBoost writes the base score, to which the trees add, as a list. Earlier ones read it as their default and say nothing: all
#: predictions are off by the difference.
_BASE_SCORE_IS_A_LIST = (3, 1)
#: By the class of a model, wherever it comes from.
_SERVED: dict[str, type[Served]] = {
    "xgboost.core.Booster": xgboost.Boosted,
    "lightgbm.basic.Booster": lightgbm.Boosted,
    "onnxruntime.capi.onnxruntime_inference_collection.InferenceSession": onnx.Session,
    "torch.nn.modules.module.Module": torch.Module,
}


@dataclass(frozen=True)
class Loaded:
    """A model that was loaded by itself."""

    file: Path
    model: Any
    #: Sentences about versions that differ.
    warnings: tuple[str, ...] = ()
    #: Another version of a library may have pickled it: whether it predicts is to be seen.
    doubtful: bool = False


def load(model_dir: Path) -> Loaded | None:
    """Load the model file of a folder; None: there is none.

    Raises:
        LoadError: There are several, it cannot be read or would be read wrongly, or a library is missing.
    """
    found = find(model_dir)
    if found is None:
        return None
    file, kind = found
    try:
        is_pickle = kind.load is pickled.load or (bool(kind.names) and pickled.is_pickle(file))
        model = pickled.load(file) if is_pickle else kind.load(file)
    except OSError as error:
        raise LoadError(f"{file.name} cannot be read: {error}.") from error
    found_warnings = _warnings(file, is_pickle=is_pickle) if is_pickle or kind.load is xgboost.load else ()
    doubtful = is_pickle and (bool(found_warnings) or versions.imported("lightgbm") is not None)
    return Loaded(file, model, found_warnings, doubtful)


def known_files() -> str:
    """The names that a model file may have, for a sentence."""
    return ", ".join(
        [
            *(f"*{suffix}" for kind in KINDS for suffix in kind.suffixes),
            *(name for kind in KINDS for name in kind.names),
        ]
    )


def find(model_dir: Path) -> tuple[Path, Kind] | None:
    """The model file of a folder and its kind. Of several, the one that is called `model`, or as SageMaker calls it.

    Raises:
        LoadError: There are several, and not one of them has such a name.
    """
    files = sorted(model_dir.iterdir()) if model_dir.is_dir() else []
    found = [(file, kind) for file in files if (kind := _kind(file)) is not None]
    if len(found) > 1:
        named = [(file, kind) for file, kind in found if file.stem == "model" or file.name in kind.names]
        # Of several exports of one model, the pickle: it came first, and what lies beside it was never looked at.
        pickles = [one for one in named or found if one[1].load is pickled.load]
        first = [one for name in PICKLES_FIRST for one in pickles if one[0].name == name]
        named = first[:1] or (pickles if len(pickles) == 1 else named)
        if len(named) != 1:
            names = ", ".join(file.name for file, _ in (named or found)[:_NAMED_MAX])
            raise LoadError(
                f"The artifact holds several models ({names}): leave one, call one of them model with its ending, or "
                "define model_fn in code/inference.py."
            )
        found = named
    return found[0] if found else None


def serve(model: Any) -> Served:
    """How a model is served where the user's code does not say."""
    for each in type(model).__mro__:
        if made := _SERVED.get(f"{each.__module__}.{each.__qualname__}"):
            return made(model)
    return Served(model)


def _kind(file: Path) -> Kind | None:
    if file.name.startswith(".") or not file.is_file():  # `._model.pkl` is what a Mac's tar makes of attributes
        return None
    for kind in KINDS:
        if file.name in kind.names or file.suffix in kind.suffixes:
            return kind if kind.recognises is None or _recognised(kind.recognises, file) else None
    return None


def _recognised(recognises: Callable[[Path], bool], file: Path) -> bool:
    try:
        return recognises(file)
    except OSError:
        return False


def _warnings(file: Path, *, is_pickle: bool) -> tuple[str, ...]:
    """What is to be said of versions. A library's own format is made to be read by later releases, a pickle is not.

    Raises:
        LoadError: The model is certain to be wrong.
    """
    sentences = []
    for library, wrote in versions.written_by(file).items():
        here = versions.imported(library)
        if here is None or here == wrote:
            continue
        if library == "xgboost" and versions.release(wrote) >= _BASE_SCORE_IS_A_LIST > versions.release(here):
            raise LoadError(
                f"{file.name} was saved by xgboost {wrote}, and {here} does not read its base score: every prediction would be wrong. "
                f"Pin xgboost=={wrote} in code/requirements.txt."
            )
        if is_pickle or versions.release(wrote) > versions.release(here):
            name = package_of(library)
            how = "pickled" if is_pickle else "saved"
            sentences.append(
                f"{file.name} was {how} by {name} {wrote} and is loaded by {here}: predictions may fail or be wrong. "
                f"Pin {name}=={wrote} in code/requirements.txt, or save the model again."
            )
    return tuple(sentences)
