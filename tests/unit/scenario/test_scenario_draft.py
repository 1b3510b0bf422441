"""The text of a first scenario: whatever the model is called and takes, it is TOML that loads and can be planned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from benchfw.plugins import Registry
from benchfw.scenario import make_plan, parse
from benchfw.scenario.draft import Choice, draft, scenario_name

AXES = st.sampled_from(["batch", "len", "kind", "N", "_1x", "axis", "range"])
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
LINE = TEXT.map(lambda text: text.replace("\n", " ")).filter(bool)
INPUT = st.fixed_dictionaries(
    {"shape": st.lists(AXES | st.integers(1, 4000), max_size=6)},
    optional={"dtype": st.sampled_from(["float32", "int64", "bool"])},
)


@given(TEXT, LINE, st.dictionaries(TEXT, INPUT, max_size=4), TEXT)
@settings(max_examples=60, deadline=None)
def test_a_draft_loads_and_can_be_planned(
    registry: Registry, name: str, target: str, inputs: dict[str, dict[str, Any]], words: str
) -> None:
    declared = {}
    for key, item in inputs.items():
        dtype = item.get("dtype", "float32")
        declared[key] = {**item, "dtype": dtype, **({"low": 0.0, "high": 2.0} if dtype == "int64" else {})}
    choices = [
        Choice(use="fake", summary=words, precision="fp32"),
        Choice(use="fake-special", summary=words, precision="fp16"),
        Choice(use="absent", summary=words, precision="fp32", lacks=f"it needs {words}: pip install {words}"),
    ]
    text = draft(scenario_name(name), f"python:{target}", declared, choices)
    loaded = parse(text, source="draft", root=Path(), backends=registry.backends, options={"fake": None})
    scenario = loaded.scenario
    assert scenario.model.ref == f"python:{target}"
    assert loaded.document["model"].get("inputs", {}) == declared
    assert [entry.use for entry in scenario.backend] == ["fake", "fake-special"]
    assert scenario.reference == "fake"
    axes = {dim for item in declared.values() for dim in item["shape"] if isinstance(dim, str)}
    assert set(scenario.shapes) == axes
    assert len(scenario.sweep) == (3 if axes else 1)
    plan = make_plan(scenario, backends=registry.backends, options={})
    assert all(cohort.runnable for cohort in plan.cohorts)
    for entry in scenario.model.inputs.values():  # nothing that would eat the memory of whoever tries it
        elements = 1
        for dim in entry.shape:
            elements *= scenario.shapes[dim].max if isinstance(dim, str) else 1
        assert elements <= 1 << 26


def test_what_is_missing_stands_there_as_a_comment_with_its_remedy() -> None:
    ready = Choice(use="fake", summary="one\nbackend", precision="fp32")
    absent = Choice(use="absent", summary="another", precision="fp16", lacks="needs x, not installed: pip install x")
    lines = draft("net", "onnx:net.onnx", {}, [ready, absent]).splitlines()
    assert "[[backend]] # one backend" in lines
    assert "# [[backend]] # another" in lines
    assert '# use = "absent" # needs x, not installed: pip install x' in lines
    assert '# precision = ["fp16"]' in lines
