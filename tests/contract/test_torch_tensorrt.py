"""What the plugin and its tests take for granted of torch-tensorrt, read from its wheels: nothing of them is imported.

pip download --no-deps --python-version 3.12 --only-binary :all: --dest FOLDER torch-tensorrt==2.13.0
BENCHFW_WHEELS=FOLDER pytest tests/contract/test_torch_tensorrt.py
"""

from __future__ import annotations

import ast
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchfw_torch_tensorrt.listening import IN_ENGINE, REPORT
from benchfw_torch_tensorrt.options import TorchTensorrtOptions
from benchfw_torch_tensorrt.partitions import ENGINE_CLASSES
from benchfw_torch_tensorrt.settings import OWN
from tests.unit.torch_trt import fake_torch_tensorrt as fake

COMPILER = "torch_tensorrt/dynamo/_compiler.py"


@pytest.fixture(params=fake.ALSO)
def wheel(request: pytest.FixtureRequest) -> Iterator[tuple[str, zipfile.ZipFile]]:
    """A version, and its wheel."""
    folder = Path(os.environ.get("BENCHFW_WHEELS", "no folder"))
    found = sorted(folder.glob(f"torch_tensorrt-{request.param}-*.whl"))
    if not found:
        pytest.skip(f"no wheel of torch-tensorrt {request.param}: see BENCHFW_WHEELS in {Path(__file__).name}")
    with zipfile.ZipFile(found[0]) as opened:
        yield str(request.param), opened


def source(wheel: tuple[str, zipfile.ZipFile], name: str) -> str:
    return wheel[1].read(name).decode()


def test_compile_has_the_arguments_that_the_stand_in_has(wheel: tuple[str, zipfile.ZipFile]) -> None:
    tree = ast.parse(source(wheel, COMPILER))
    (found,) = (item for item in tree.body if isinstance(item, ast.FunctionDef) and item.name == "compile")
    names = {argument.arg for argument in (*found.args.args, *found.args.kwonlyargs)}
    assert names == {*fake.COMMON, *fake.ALSO[wheel[0]]}
    assert found.args.kwarg is not None, "it swallows what it does not know"
    assert not found.decorator_list, "else its signature might not be what inspect sees"


def test_options_are_arguments_with_its_defaults_but_for_one(wheel: tuple[str, zipfile.ZipFile]) -> None:
    tree = ast.parse(source(wheel, COMPILER))
    (found,) = (item for item in tree.body if isinstance(item, ast.FunctionDef) and item.name == "compile")
    constants = dict(re.findall(r"^(\w+) = (.+)$", source(wheel, "torch_tensorrt/dynamo/_defaults.py"), re.MULTILINE))
    usual = {
        argument.arg: ast.literal_eval(constants[ast.unparse(default).rpartition(".")[2]])
        for argument, default in zip(found.args.kwonlyargs, found.args.kw_defaults, strict=True)
        if default is not None and argument.arg in TorchTensorrtOptions.model_fields.keys() - set(OWN)
    }
    ours = TorchTensorrtOptions().model_dump()
    assert usual.pop("attn_bias_is_causal") is True and ours["attn_bias_is_causal"] is False
    assert usual == {name: ours[name] for name in usual}
    missing = TorchTensorrtOptions.model_fields.keys() - set(OWN) - {*fake.COMMON, *fake.ALSO[wheel[0]]}
    assert missing == (set() if wheel[0] >= "2.13" else {"fallback_data_dependent_ops"})


def test_the_report_and_the_messages_are_where_they_are_heard(wheel: tuple[str, zipfile.ZipFile]) -> None:
    report = source(wheel, REPORT.replace(".", "/") + ".py")
    assert "logger = logging.getLogger(__name__)" in report and "logger.debug(formatted_stats)" in report
    (line,) = re.findall(r'\+ f"(Number of Operators in Engine: )\{trt_subgraph_data', report)
    assert IN_ENGINE.search(f"x\n     {line}12\n")
    assert f'_LOGGER = logging.getLogger("{fake.MESSAGES}")' in source(wheel, "torch_tensorrt/logging.py")


def test_engines_are_modules_of_these_classes(wheel: tuple[str, zipfile.ZipFile]) -> None:
    runtime = source(wheel, "torch_tensorrt/dynamo/runtime/__init__.py")
    found = [name for name in ENGINE_CLASSES if re.search(rf"\b{name}\b", runtime)]
    assert found == list(ENGINE_CLASSES if wheel[0] < "2.13" else ENGINE_CLASSES[:1])


def test_inputs_have_one_shape_or_three(wheel: tuple[str, zipfile.ZipFile]) -> None:
    text = source(wheel, "torch_tensorrt/_Input.py")
    assert 'all(k in kwargs for k in ["min_shape", "opt_shape", "max_shape"])' in text
    assert 'if "dtype" in kwargs' in text and '"shape" in kwargs' in text
