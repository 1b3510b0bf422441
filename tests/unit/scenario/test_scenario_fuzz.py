"""Scenario files from strangers: whatever they hold, the answer is a plan or a `ScenarioError`, and soon.

`BENCHFW_FUZZ` is the number of mutated files (default 3000), `BENCHFW_FUZZ_SEED` where they begin.
"""

from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchfw.errors import ScenarioError
from benchfw.plugins import Registry
from benchfw.scenario import Loaded, from_document, load, make_plan
from benchfw.scenario.checks import MAX_CASES, MAX_FAULTS
from benchfw.testing.options import FakeOptions

COUNT = int(os.environ.get("BENCHFW_FUZZ", "3000"))
SEED = int(os.environ.get("BENCHFW_FUZZ_SEED", "0"))
SLOW_S = 2.0
OPTIONS: dict[str, Any] = {"fake": FakeOptions, "fake-special": FakeOptions}

SMALL = b"""\
name = "small"
threads = 2
[model]
ref = "null:net"
seed = 3
inputs.x = { shape = ["batch", "words", 4], dtype = "int64", low = 0, high = 9 }
inputs.y = { shape = ["batch"] }
[shapes]
batch = { min = 1, opt = 4, max = 8 }
words = { min = 16, opt = 32, max = 64 }
[[sweep]]
kind = "fixed"
batch = [1, 4]
words = [16, 64]
[[sweep]]
kind = "min-opt-max"
[[sweep]]
kind = "random-batch"
range = [16, 20]
axis = "words"
[[sweep]]
kind = "random-batch"
draw = "trace"
trace = [1, 2, 8]
[measure]
effort = "quick"
budget = "1.5 h"
interleave = "session"
deadlines = { build = "2s", load = 3.5, block = "200ms" }
[accuracy.tolerance]
fp32.rel_l2 = 1e-3
fp16 = { rel_l2 = 0.01, outside_share = 0.05, outputs.y = { rtol = 0.1 } }
[accuracy]
reference = "two.dots"
[[backend]]
use = "fake"
precision = ["fp32", "fp16"]
options = { latency_us = 0, scale = 1.0 }
[[backend]]
use = "fake-special"
name = "two.dots"
environment = "old"
[[backend]]
use = "nowhere"
optional = true
[backend.options]
anything = [1, { at = 1979-05-27T07:32:00Z }]
[environments.old]
python = "python3.10"
env = { A = "b" }
[steps]
"""
TOKENS = [
    *(b"[", b"]", b"[[", b"]]", b"{", b"}", b"=", b".", b",", b"#", b'"', b"'", b'"""', b"'''", b"\\", b"\\u202e"),
    *(b"\n", b"\r\n", b"\r", b"\t", b" ", b"\0", b"\xef\xbb\xbf", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xe2\x80\xae"),
    *(b"0", b"-1", b"1e400", b"nan", b"-inf", b"0x" + b"f" * 5000, b"9" * 30, b"9" * 5000, b"1_0", b"0.5", b"true"),
    *(b"1979-05-27", b"07:32:00", b"1979-05-27T07:32:00Z", b"1 << 31", b"2147483647", b"2147483648", b"1" + b"0" * 9),
    *(b"[[sweep]]\n", b"[[backend]]\n", b"[model]\n", b"[model.inputs.z]\n", b"[shapes]\n", b"[steps.x]\n", b"kind = "),
    *(b'"fixed"', b'"random-batch"', b'"min..max"', b'"trace"', b'"iid"', b"[1, 1000000000]", b'"fp32"', b'""', b"[]"),
    *(b'"' + b"x" * 3000 + b'"', b"x" * 3000 + b" = 1\n", b"{}", b"[" * 200, b"a." * 200, b"min = 1, ", b"max = 1"),
]  # fmt: skip


def _mutated(source: random.Random, seeds: list[bytes]) -> bytes:
    """Return a file with a few changes, most of them small ones."""
    text = bytearray(source.choice(seeds))
    for _ in range(source.choice((1, 1, 1, 2, 3, 8))):
        at = source.randrange(len(text) + 1)
        end = min(len(text), at + source.choice((1, 1, 4, 16, 200)))
        how = source.randrange(8)
        if how == 0 and at < len(text):
            text[at] ^= 1 << source.randrange(8)
        elif how == 1:
            del text[at:end]
        elif how == 2:
            text[at:at] = text[at:end] * source.choice((1, 2, 50))
        elif how == 3:
            other = source.choice(seeds)
            start = source.randrange(len(other))
            text[at:end] = other[start : start + source.choice((4, 40, 400))]
        elif how == 4:
            text[at:at] = source.choice(TOKENS)
        elif how == 5:
            text[at:end] = source.choice(TOKENS)
        else:  # a whole value: what stands behind an equals sign
            start = text.find(b"=", at) + 1
            stop = text.find(b"\n", start)
            if start and stop > 0:
                text[start:stop] = b" " + source.choice(TOKENS)
    return bytes(text)


def _plan(loaded: Loaded, registry: Registry) -> None:
    plan = make_plan(loaded.scenario, backends=registry.backends, options=OPTIONS)
    assert len(plan.cases) <= MAX_CASES
    str(loaded.document)


def _try(path: Path, registry: Registry) -> bool:
    """Load and plan; whether there is a plan."""
    try:
        loaded = load(path, backends=registry.backends, options=OPTIONS, steps={})
    except ScenarioError as error:
        found = error
    else:
        _plan(loaded, registry)
        return True
    assert 1 <= len(found.faults) <= MAX_FAULTS + 1
    assert len(found.message) < 1 << 20
    return False


def _check(data: bytes, path: Path, registry: Registry, label: str) -> bool:
    path.write_bytes(data)
    start = time.process_time()
    try:
        planned = _try(path, registry)
    except Exception as error:
        error.add_note(f"{label}, kept in {path}")
        raise
    seconds = time.process_time() - start
    assert seconds < SLOW_S, f"{label}: {seconds:.1f} s, kept in {path}"
    return planned


def test_mutated_files_give_a_plan_or_a_scenario_error(tmp_path: Path, registry: Registry) -> None:
    shipped = sorted((Path(__file__).parents[3] / "scenarios").glob("*.toml"))
    seeds = [SMALL, *(path.read_bytes() for path in shipped)]
    assert len(seeds) > 4
    assert _check(SMALL, tmp_path / "small.toml", registry, "unchanged")
    planned = 0
    for number in range(SEED, SEED + COUNT):
        data = _mutated(random.Random(number), seeds)
        planned += _check(data, tmp_path / "s.toml", registry, f"seed {number}")
    assert 0.02 * COUNT < planned < 0.9 * COUNT, "mutations are neither all harmless nor all hopeless"


MANY = "\n".join(f'[[backend]]\nuse = "fake"\nname = "b{i}"' for i in range(700))
AXES = [f"a{i}" for i in range(40)]
HUGE = {
    "a product of 10^9 cases": SMALL.replace(b"batch = [1, 4]", b"batch = " + str(list(range(1, 10_500))).encode()),
    "a product of 2^40 cases": (
        'name = "x"\n[model]\nref = "null:n"\ninputs.x.shape = ' + str(AXES) + "\n[shapes]\n"
        + "".join(f"{axis} = {{ min = 1, opt = 1, max = 2 }}\n" for axis in AXES)
        + '[[sweep]]\nkind = "fixed"\n' + "".join(f"{axis} = [1, 2]\n" for axis in AXES)
        + '[[backend]]\nuse = "fake"\n'
    ).encode(),
    "a range of 10^9 sizes": SMALL.replace(b"max = 64", b"max = 2000000000").replace(b"[16, 20]", b'"min..max"'),
    "a trace of 10^5 sizes": SMALL.replace(b"[1, 2, 8]", str([1, 2] * 5_000).encode()),
    "many precisions": SMALL.replace(b'["fp32", "fp16"]', str(["fp32", "fp16"] * 3000).encode().replace(b"'", b'"')),
    "many sweeps": SMALL + b'[[sweep]]\nkind = "random-batch"\n' * 1_400,
    "many backends": SMALL + b'[[backend]]\nuse = "fake"\n' * 2_000,
    "many faulty backends": SMALL + b"[[backend]]\nuze = 1\n" * 2_500,
    "many unknown keys": "".join(f"nam{i} = 1\n" for i in range(5_000)).encode() + SMALL,
    "many unknown axes": SMALL.replace(b"words = [16, 64]", "".join(f"w{i} = [1]\n" for i in range(5_000)).encode()),
    "many axes": SMALL + b"[model.inputs.z]\nshape = " + json.dumps([f"a{i}" for i in range(6_000)]).encode(),
    "many inputs": SMALL + "".join(f'[model.inputs.i{i}]\nshape = ["bach"]\n' for i in range(1_200)).encode(),
    "a long key": b"n" * 60_000 + b" = 1\n" + SMALL,
    "a long name": SMALL.replace(b'"fake"', b'"' + b"fake" * 15_000 + b'"'),
    "a long value": SMALL.replace(b'"quick"', b'"' + b"quick" * 12_000 + b'"'),
    "a long duration": SMALL.replace(b'"1.5 h"', b'"' + b"1" * 60_000 + b'"'),
    "a long reference": SMALL.replace(b'"two.dots"\n[[', b'"' + b"two.dots" * 7_000 + b'"\n[['),
    "a long integer": SMALL.replace(b"threads = 2", b"threads = 0x" + b"f" * 60_000),
    "wrong sizes": SMALL.replace(b"[1, 4]", str([0] * 15_000).encode()),
    "wrong precisions": SMALL.replace(b'["fp32", "fp16"]', str([1] * 15_000).encode()),
    "deep arrays": SMALL.replace(b"[1, 4]", b"[" * 30_000 + b"]" * 30_000),
    "deep tables": SMALL.replace(b"threads = 2", b"x = " + b"{ a = " * 7_000 + b"1" + b" }" * 7_000),
    "a deep key": SMALL.replace(b"threads = 2", b"threads" + b".a" * 30_000 + b" = 1"),
    "a deep head": SMALL + b"[" + b"a." * 30_000 + b"a]\n",
    "many deep keys": SMALL + b"[x]\n" + b"".join(b"k%d" % i + b".a" * 90 + b" = 1\n" for i in range(300)),
    "a long word": SMALL + b"w" * 60_000,
    "many quotes": SMALL + b"[x]\n" + b'""."" . ' * 7_000,
    "many axes and ranges": (
        b"[model]\nref = 'null:n'\n[model.inputs.z]\nshape = " + json.dumps([f"a{i}" for i in range(2_000)]).encode()
        + b"\n[shapes]\n" + b"".join(b"b%d={min=1,opt=1,max=1}\n" % i for i in range(1_500))
    ),
    "deep options": SMALL.replace(b"anything = ", b"deep = " + b"[" * 90 + b"]" * 90 + b"\nanything = "),
    "many dates": SMALL.replace(b"threads = 2", b"threads = [" + b"1979-05-27, " * 4_000 + b"]"),
    "too large": SMALL + b"#" * (1 << 16),
    "many traces": SMALL.replace(b"[1, 2, 8]", str([1, 2] * 2000).encode()) + MANY.encode(),
}  # fmt: skip


@pytest.mark.parametrize("name", HUGE)
def test_huge_files_are_judged_soon(name: str, tmp_path: Path, registry: Registry) -> None:
    assert HUGE[name] != SMALL
    planned = _check(HUGE[name], tmp_path / "s.toml", registry, name)
    assert planned == (name in ("many precisions", "many sweeps", "deep options", "many traces"))


@pytest.mark.parametrize("name", ["a product of 10^9 cases", "a product of 2^40 cases"])
def test_too_many_cases_are_a_fault_with_the_limit(name: str, tmp_path: Path, registry: Registry) -> None:
    (tmp_path / "s.toml").write_bytes(HUGE[name])
    with pytest.raises(ScenarioError, match=f"more than {MAX_CASES} cases"):
        load(tmp_path / "s.toml", backends=registry.backends, options=OPTIONS, steps={})


WORDS = st.sampled_from(
    ["batch", "words", "fake", "kind", "fixed", "random-batch", "x", "fp32", "min..max", "trace", ""]
)
SCALARS = st.one_of(WORDS, st.integers(-2, 10**12), st.floats(), st.booleans(), st.text(max_size=5), st.dates())
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3))
SIZES = st.integers(1, 9)
SWEEPS = st.one_of(
    st.fixed_dictionaries({"kind": st.just("fixed")}, optional={"batch": st.lists(SIZES, max_size=3), "words": VALUES}),
    st.just({"kind": "min-opt-max"}),
    st.fixed_dictionaries(
        {"kind": st.just("random-batch")},
        optional={
            "axis": WORDS,
            "range": st.lists(SIZES, max_size=3) | WORDS,
            "draw": st.sampled_from(["permuted", "iid", "trace"]),
            "trace": st.lists(SIZES, max_size=4) | VALUES,
            "seed": st.integers(-1, 1 << 64),
        },
    ),
    VALUES,
)
DOCUMENTS = st.fixed_dictionaries(
    {
        "name": st.just("x") | VALUES,
        "model": st.fixed_dictionaries(
            {"ref": st.just("null:x") | VALUES},
            optional={
                "inputs": st.dictionaries(
                    WORDS,
                    st.fixed_dictionaries({"shape": st.lists(WORDS | SIZES, max_size=3)}, optional={"dtype": WORDS}),
                    max_size=2,
                ),
                "weights": VALUES,
            },
        )
        | VALUES,
        "sweep": st.lists(SWEEPS, max_size=3) | VALUES,
        "backend": st.lists(
            st.fixed_dictionaries({"use": st.just("fake") | VALUES}, optional={"name": VALUES, "options": VALUES}),
            max_size=3,
        )
        | VALUES,
    },
    optional={
        "shapes": st.dictionaries(
            WORDS, st.fixed_dictionaries({"min": SIZES, "opt": SIZES, "max": SIZES}) | VALUES, max_size=2
        ),
        "measure": st.fixed_dictionaries({"samplers": st.lists(WORDS | VALUES, max_size=3) | VALUES}) | VALUES,
        "accuracy": VALUES,
        "steps": VALUES,
        "environments": VALUES,
    },
)


@given(document=DOCUMENTS, key=st.lists(WORDS | st.just("0"), max_size=4), value=st.text(max_size=8))
@settings(max_examples=max(150, COUNT // 20), deadline=None)
def test_documents_and_assignments(document: dict[str, Any], key: list[str], value: str, registry: Registry) -> None:
    overrides = [f"{'.'.join(key)}={value}"] if key else []
    try:
        loaded = from_document(
            document,
            source="s",
            root=Path(),
            overrides=overrides,
            backends=registry.backends,
            options=OPTIONS,
            steps={},
            samplers=registry.samplers,
        )
    except ScenarioError:
        return
    _plan(loaded, registry)
