"""The first tensor of a graph that departs from what it should be: what `benchfw check --bisect` shows.

Two graphs run with the same inputs: the model as ONNX, node by node, on a backend that changes nothing of it
(`BackendInfo.exact_options`); and what the suspicious backend is given, there. All their intermediate tensors become
outputs, some at a time, and those of the same name are compared in the order in which the suspicious graph computes
them, until one departs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from benchfw.artifacts import Builder, Cache, Made, Wanted
from benchfw.artifacts.routes import find_route, without_wishes
from benchfw.errors import CaseError, Invalid, Unsupported
from benchfw.executors.checking import Checked, Checker
from benchfw.executors.departures import Departure, Tensor, compare_tensor, departures, dequantized
from benchfw.plugins import options_model
from benchfw.scenario import Case
from benchfw.scenario.schema import BackendEntry
from benchfw.spec import accuracy
from benchfw.spec.artifact import StepInfo
from benchfw.spec.backend import BackendInfo
from benchfw.spec.events import Stage

AT_ONCE = 64
"""Tensors that are outputs at the same time: all of a large model would not fit into memory."""

SHOWN = 5
"""Departures that are told; of most others the cause is that their inputs depart."""

_ONNX = "onnx"
_MARKING = "MarkedOnnx"


@dataclass
class Bisection:
    """Where the outputs of a backend begin to be wrong.

    Attributes:
        case: Of the backend.
        input_set: Set of inputs, the one with the worst output.
        against: Backend that ran the reference graph.
        departures: The first ones, in the order of the graph.
        compared: Tensors that were compared until then.
        common: Tensors that both graphs have under the same name, and that can be seen.
        note: What there is to say if there is no departure; empty otherwise.
    """

    case: Case
    input_set: int
    against: str = ""
    departures: list[Departure] = field(default_factory=list)
    compared: int = 0
    common: int = 0
    note: str = ""


@dataclass(frozen=True)
class _Graph:
    """A graph that can be marked, and what runs it."""

    checker: Checker
    builder: Builder
    case: Case
    made: Made

    def marked(self, tensors: Sequence[str]) -> Made:
        """Return the graph with these tensors among its outputs; its `meta` describes it."""
        wanted = Wanted(accepts=(_ONNX,), given={_MARKING: {"tensors": list(tensors)}})
        return self.builder.make(
            self.made.artifact, wanted, inputs=self.checker.resolved.specs, profile=self.case.profile
        )

    def outputs(self, tensors: Sequence[str], set_: int) -> accuracy.Outputs:
        """Run the graph and return its outputs, these tensors among them."""
        live = self.checker.live(self.case)
        live.session.drop(self.case)
        marked = self.marked(tensors)
        info = self.case.session.info
        assert info is not None
        session = self.case.session
        wanted = Wanted.by(
            info,
            session.precision,
            specialize=False,
            given=without_wishes(session.steps, self.checker.registry.steps),
            environment=session.environment,
            device=session.device,
        )
        made = self.builder.make(marked.artifact, wanted, inputs=self.checker.resolved.specs, profile=self.case.profile)
        live.session.instance(self.case, lambda: made)
        return live.outputs(set_)


def bisect(checker: Checker, checked: Checked) -> Bisection:
    """Find the first tensor that departs in a case whose outputs failed.

    Args:
        checker: Has compared them.
        checked: The case, with at least one row whose verdict is `fail`.
    """
    worst = max((row for row in checked.rows if row["verdict"] == "fail"), key=_distance)
    result = Bisection(case=checked.case, input_set=worst["input_set"])
    builder = checker.marking_builder(_step(checker), Cache(checker.folder / "marked"))
    try:
        reference, suspect = _graphs(checker, builder, checked.case)
        result.against = reference.case.session.entry.use
        _search(checker, reference, suspect, result)
    except CaseError as error:
        result.note = error.message + (f" ({error.hint})" if error.hint else "")
    finally:
        builder.close()
    return result


def _search(checker: Checker, reference: _Graph, suspect: _Graph, result: Bisection) -> None:
    """Compare the tensors of both graphs, some at a time, until one departs."""
    session, set_ = result.case.session, result.input_set
    graph, other = suspect.marked(()).artifact.meta, reference.marked(()).artifact.meta
    own = set(graph["outputs"]) & set(other["outputs"])
    shared = (set(graph["tensors"]) & set(other["tensors"])) | own
    names = [name for node in graph["nodes"] for name in node["outputs"] if name in shared]
    inputs = {spec.name for spec in checker.resolved.specs}
    views = {source: name for name, source in dequantized(graph["nodes"]).items() if name in graph["tensors"]}
    views = {name: views.get(name, name) if name not in own else name for name in names}
    result.common = len(names)
    wanted = checker.reference_outputs(result.case, set_)
    tensors: dict[str, Tensor] = {}
    for first in range(0, len(names), AT_ONCE):
        part = names[first : first + AT_ONCE]
        checker.notify(Stage(f"comparing tensors {first + 1} to {first + len(part)} of {len(names)}"))
        marks = [name for name in part if name not in own]
        right = reference.outputs(marks, set_)
        if first == 0:
            _check_graph(right, wanted, result.against, checker.reference_of(result.case).session.entry.use)
        left = suspect.outputs([views[name] for name in marks], set_)
        for name in part:
            if views[name] in left and name in right:
                tensors[name] = compare_tensor(
                    name, left[views[name]], right[name], session.precision, session.tolerance
                )
        result.departures = departures(graph["nodes"], tensors, inputs)[:SHOWN]
        if result.departures:
            break
    result.compared = len(tensors)
    if not result.departures:
        result.note = _nothing_departs(len(tensors))


def _nothing_departs(compared: int) -> str:
    if not compared:
        return "the two graphs have no tensor of the same name and a known type: there is nothing to compare"
    return (
        "no tensor departs once all can be seen: what goes wrong is what the backend makes of several nodes together, "
        "which it cannot when their results are asked for (its options may turn such optimisations off)"
    )


def _check_graph(outputs: accuracy.Outputs, wanted: accuracy.Outputs, runs: str, reference: str) -> None:
    """Refuse to look into a graph that is wrong already as the model: there is no right one to compare with."""
    own = dict(list(outputs.items())[: len(wanted)])  # marked tensors come behind the graph's own outputs
    for name, output, right in accuracy.match(own, wanted):
        metrics = accuracy.compare(output, right, "fp32")
        if metrics["verdict"] == "fail":
            raise Invalid(
                f"the model as ONNX is wrong already: {name!r} on {runs} departs from {reference}: {metrics['reason']}",
                hint="look at its export, or at the inputs: no tensor of it can be held against anything",
            )


def _graphs(checker: Checker, builder: Builder, case: Case) -> tuple[_Graph, _Graph]:
    """Return the reference's graph and the suspicious one, each with a case that runs it.

    Raises:
        Unsupported: What the backend is given does not come by way of ONNX, or nothing can run the reference.
        CaseError: They cannot be made.
    """
    info, model = case.session.info, checker.subject.artifact
    assert info is not None
    own = checker.subject.wanted(case)
    route = find_route(model.format, own, checker.registry.steps.values(), precision=model.precision)
    if _ONNX not in (model.format, *(step.target for step in route)):
        raise Unsupported(
            f"{info.name} is given the model as {model.format!r}: there is no graph whose tensors could be compared",
            hint="--bisect needs a backend that is given ONNX, or what is made of it",
        )
    made = checker.subject.make_wanted(case, replace(own, accepts=(_ONNX,)))
    given = without_wishes(own.given, checker.registry.steps)
    plain = checker.subject.make_wanted(case, replace(own, accepts=(_ONNX,), precision=None, given=given, presets={}))
    exact = _exact(checker)
    reference = _labelled(case, exact, "bisect-reference", "fp32", exact.exact_options)
    suspect = replace(case, session=replace(case.session, session_id=f"bisect-{case.session.session_id}"))
    return _Graph(checker, builder, reference, plain), _Graph(checker, builder, suspect, made)


def _exact(checker: Checker) -> BackendInfo:
    """Return the backend that runs the reference graph node by node."""
    for info in checker.registry.backends.values():
        if info.exact_options and _ONNX in info.accepts:
            return info
    raise Unsupported(
        "no installed backend can run an ONNX graph node by node",
        hint="`benchfw backends` lists what is installed, and what would install the rest",
    )


def _labelled(case: Case, info: BackendInfo, name: str, precision: str, options: Mapping[str, Any]) -> Case:
    model = options_model(info)
    values = model.model_validate(dict(options)).model_dump(mode="json") if model else dict(options)
    session = replace(
        case.session,
        session_id=f"{name}-{precision}",
        entry=BackendEntry(use=info.name, name=name),
        info=info,
        precision=precision,
        environment="default",
        options=values,
    )
    return replace(case, session=session)


def _step(checker: Checker) -> StepInfo:
    """Return the step that marks tensors. No plugin registers it, so that no scenario can ask for it."""
    onnx = checker.registry.model_source(_ONNX)
    return StepInfo(
        name=_MARKING,
        source=_ONNX,
        target=_ONNX,
        factory="benchfw.builtin.marking:MarkedOnnx",
        on_request=True,
        options="benchfw.builtin.marking_options:MarkedOptions",
        requires=onnx.requires,
        install=onnx.install,
    )


def _distance(row: Mapping[str, Any]) -> float:
    value = float(row["rel_l2"])
    return value if value == value else float("inf")
