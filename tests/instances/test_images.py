"""What the name of an image means."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from bannister.domain.instance import GroupSpec
from bannister.domain.model import CONTRACT, Paths
from bannister.errors import Invalid
from bannister.instances.images import ImageTable
from bannister.settings import Settings


@pytest.fixture
def settings(tmp_path):
    return Settings(data_dir=tmp_path)


@pytest.mark.parametrize(
    "image",
    [
        "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3",
        "246618743249.dkr.ecr.us-west-2.amazonaws.com/sagemaker-xgboost:1.7-1",
        "763104351884.dkr.ecr.eu-central-1.amazonaws.com/pytorch-inference:2.6.0-cpu-py312",
        "727897471807.dkr.ecr.cn-north-1.amazonaws.com.cn/pytorch-inference:2.6.0",
        "1.dkr.ecr.us-east-1.amazonaws.com/sagemaker-inference@sha256:" + "0" * 64,
        "localhost:5000/team/sagemaker-inference:1",
        "sagemaker-scikit-learn",
        "bannister/python",
        "bannister/python:latest",
    ],
)
def test_framework_images_are_run_by_the_built_in_runtime(settings, image):
    run = ImageTable(settings).resolve(image)
    assert run.argv(port=1, model_dir="/m") == [sys.executable, "-m", "bannister.runtime"]
    assert run.environment == {}


@pytest.mark.parametrize(
    "image",
    [
        "nginx",
        "",
        "my-sagemaker-xgboost:1",
        "a/sagemaker-xgboost-gpu:1",
        "sagemaker-xgboost/other:1",
        "bannister/pythonic",
    ],
)
def test_other_images_are_refused_with_what_can_be_run(settings, image):
    with pytest.raises(Invalid) as refusal:
        ImageTable(settings).resolve(image)
    assert str(refusal.value).startswith(
        f"Bannister does not know how to run the image {image!r}. It runs bannister/python, "
    )
    assert str(settings.images_path) in str(refusal.value)


def test_a_row_of_the_user_says_how(settings):
    settings.images_path.write_text(
        '[[image]]\nmatch = "team/ranker:*"\ncommand = ["{python}", "serve.py", "--port={port}", "{model_dir}/x", "{other}"]\n'
        'environment = { THREADS = "1" }\n'
    )
    run = ImageTable(settings).resolve("team/ranker:7")
    assert run.argv(port=20001, model_dir="/m") == [sys.executable, "serve.py", "--port=20001", "/m/x", "{other}"]
    assert run.environment == {"THREADS": "1"}


def test_the_users_rows_come_first_in_their_order(settings):
    settings.images_path.write_text(
        '[[image]]\nmatch = "*/sagemaker-xgboost:1.*"\ncommand = ["env", "one"]\n'
        '[[image]]\nmatch = "*/sagemaker-xgboost"\ncommand = ["env", "any"]\n'
    )
    table = ImageTable(settings)
    assert table.resolve("a/sagemaker-xgboost:1.7").command == ("env", "one")
    assert table.resolve("a/sagemaker-xgboost:2").command == ("env", "any")


def test_the_file_is_read_again_when_it_changes(settings):
    table = ImageTable(settings)
    with pytest.raises(Invalid):
        table.resolve("mine:1")
    settings.images_path.write_text('[[image]]\nmatch = "mine:*"\ncommand = ["env"]\n')
    assert table.resolve("mine:1").command == ("env",)
    settings.images_path.unlink()
    with pytest.raises(Invalid):
        table.resolve("mine:1")


@pytest.mark.parametrize(
    "text",
    [
        "[[image]",
        '[[image]]\ncommand = ["x"]',
        '[[image]]\nmatch = "x"\ncommand = "x"',
        '[[image]]\nmatch = "x"\ncommand = []',
        '[[images]]\nmatch = "x"\n',
        '[[image]]\nmatch = "x"\nenviroment = {}',
        '[[image]]\nmatch = "x"\ncommand = ["x"]\nping_path = "health"',
        '[[image]]\nmatch = "x"\ncommand = ["x"]\ninvocations_path = "/a?b"',
        '[[image]]\nmatch = "x"\nping_path = "/health"',
    ],
)
def test_a_damaged_file_is_refused_by_name_each_time(settings, text):
    settings.images_path.write_text(text)
    table = ImageTable(settings)
    for _ in range(2):
        with pytest.raises(Invalid, match=r"images.toml cannot be used: "):
            table.resolve("bannister/python")


def test_a_program_that_does_not_exist_is_refused(settings):
    settings.images_path.write_text('[[image]]\nmatch = "mine"\ncommand = ["no-such-program"]\n')
    with pytest.raises(Invalid, match="no program 'no-such-program'"):
        ImageTable(settings).resolve("mine").argv(port=1, model_dir="")


def test_another_interpreter_gets_the_runtime_and_nothing_else_of_ours(settings):
    bare = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    settings.images_path.write_text(f'[[image]]\nmatch = "bare"\npython = "{bare}"\n')
    table = ImageTable(settings)
    table.resolve("bare")
    run = table.resolve("bare")
    assert run.argv(port=1, model_dir="") == [str(bare), "-m", "bannister.runtime"]
    code = (
        "import importlib.util as find\n"
        "for name in ('bannister.runtime.__main__', 'bannister.settings', 'botocore'):\n"
        "    print(find.find_spec(name) is not None)"
    )
    command = [bare, "-S", "-c", code]
    printed = subprocess.run(command, env=run.environment, capture_output=True, text=True, check=True).stdout
    assert printed.split() == ["True", "False", "False"]


def test_a_row_says_where_its_server_answers(settings):
    settings.images_path.write_text(
        '[[image]]\nmatch = "own"\ncommand = ["env"]\nping_path = "/health"\ninvocations_path = "/predict"\n'
        '[[image]]\nmatch = "half"\ncommand = ["env"]\ninvocations_path = "/score"\n'
    )
    table = ImageTable(settings)
    assert table.resolve("own").paths == Paths("/health", "/predict")
    assert table.resolve("half").paths == Paths("/ping", "/score")
    assert table.resolve("bannister/python").paths == CONTRACT


def test_a_refused_path_is_named_with_its_row(settings):
    settings.images_path.write_text('[[image]]\nmatch = "own"\ncommand = ["env"]\nping_path = "health"\n')
    with pytest.raises(
        Invalid, match=r"images.toml cannot be used: of the row 'own', its ping_path is 'health'; it must"
    ):
        ImageTable(settings).resolve("bannister/python")


def test_what_would_answer_elsewhere_than_it_is_asked_is_not_started(settings):
    settings.images_path.write_text('[[image]]\nmatch = "own"\ncommand = ["env"]\nping_path = "/health"\n')
    run = ImageTable(settings).resolve("own")
    spec = GroupSpec("g", "e", "v", "own", None, paths=Paths("/health"))
    run.check_paths(spec)
    run.check_paths(GroupSpec("g", "e", "v", "own", None, {"BANNISTER_PING_PATH": "/up"}, paths=Paths("/up")))
    with pytest.raises(
        Invalid,
        match=r"'own' answers at /health and /invocations, .* it was /ping and /invocations; change the row back",
    ):
        run.check_paths(GroupSpec("g", "e", "v", "own", None))


def test_the_rows_of_the_page_are_rows(settings):
    page = (Path(__file__).parents[2] / "docs" / "model-servers.md").read_text()
    settings.images_path.write_text("".join(re.findall(r"```toml\n(.*?)```", page, re.DOTALL)))
    table = ImageTable(settings)
    assert table.resolve("team/ranker:7").paths == Paths("/healthz", "/v1/score")
    run = table.resolve("vllm/vllm-openai:latest")
    assert (run.container, run.paths.invocations) == (True, "/v1/completions")
