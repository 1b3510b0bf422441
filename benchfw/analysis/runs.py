"""Runs as the analysis sees them: rows of cases, and the numbers of their invocations and rounds.

They come from files or from frames, and may be a stranger's: what is no positive number is no number, and a case that
stands twice has none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchfw.errors import UsageError
from benchfw.store.files import encodable
from benchfw.store.reader import Results, load
from benchfw.store.schema import TABLES

if TYPE_CHECKING:
    import pandas as pd

Row = Mapping[str, Any]
Floats = NDArray[np.float64]
Place = tuple[int, int]
"""Invocation and round."""

Source = "Results | str | Path | pd.DataFrame | Mapping[str, pd.DataFrame]"
"""One or more runs: what `benchfw.load` returns, its path, the frame of `cases`, or frames by the names of tables."""


class Run:
    """One run.

    Args:
        run_id: Its id.
        cases: Rows of its table `cases`.
        frame: Returns another table of it; without rows if there is none.
        manifest: Its manifest; empty where there is none, as for frames.

    Attributes:
        cases: Its rows by their `case_id`, in the order of the run.
    """

    def __init__(
        self, run_id: str, cases: Iterable[Row], frame: Callable[[str], pd.DataFrame], manifest: Row | None = None
    ) -> None:
        self.run_id = run_id
        self.manifest = manifest or {}
        self.cases: dict[str, Row] = {}
        self._frame = frame
        for row in cases:
            case_id = str(row.get("case_id"))
            self.cases[case_id] = row if case_id not in self.cases else _twice(row)

    @cached_property
    def comparisons(self) -> list[Row]:
        """Rows of the table `comparisons`."""
        return records(self._frame("comparisons"), "comparisons")

    @property
    def has_arms(self) -> bool:
        return any(row.get("arm") == "a" for row in self.cases.values())

    def of_invocations(self, case_id: str, column: str) -> Floats:
        """Return a statistic of each invocation of a case; of the case where its invocations are not known.

        Where several builds of an engine were measured, it is the mean over the invocations of each: those share it.
        """
        known = [(row.get("build"), positive(row.get(column))) for row in self._invocations.get(case_id, ())]
        builds = {build for build, value in known if value is not None}
        if len(builds) > 1:
            of_builds = [[value for one, value in known if one == build and value is not None] for build in builds]
            return np.array([np.exp(np.log(of_build).mean()) for of_build in of_builds])
        values = [value for _, value in known if value is not None]
        if not values:
            single = positive(self.cases[case_id].get(column))
            values = [] if single is None else [single]
        return np.array(values, np.float64)

    def medians(self, case_id: str) -> dict[Place, float]:
        """Return the median latency of each round in nanoseconds, over the steady blocks that count."""
        return self._by_round(case_id, lambda row: positive(row.get("median_ns")), "measure", None)

    def rates(self, case_id: str) -> dict[Place, float]:
        """Return the inferences per nanosecond of each round at the depth of the throughput."""
        depth = self.cases[case_id].get("throughput_depth")
        return self._by_round(case_id, _rate, "window", depth) or self._by_round(case_id, _rate, "measure", None)

    def latencies(self, case_id: str) -> dict[Place, Floats]:
        """Return the latencies of each round in nanoseconds: iterations of steady blocks that count."""
        frame = self._iterations
        chosen = frame[(frame["case_id"] == case_id) & (frame["phase"] == "measure")]
        places = {row["block"]: _place(row) for row in self._steady(case_id, "measure")}
        samples: dict[Place, list[Floats]] = {}
        for block, values in chosen.groupby("block")["host_latency_ns"]:
            place = places.get(block)
            array = values.to_numpy(np.float64)
            array = array[np.isfinite(array) & (array > 0)]
            if place is not None and len(array):
                samples.setdefault(place, []).append(array)
        return {place: np.concatenate(arrays) for place, arrays in samples.items()}

    def _by_round(
        self, case_id: str, value: Callable[[Row], float | None], phase: str, depth: Any
    ) -> dict[Place, float]:
        """Return the geometric mean of a value over the blocks of each round."""
        logs: dict[Place, list[float]] = {}
        for row in self._steady(case_id, phase):
            found, place = value(row), _place(row)
            if found is not None and place is not None and depth in (None, row.get("depth")):
                logs.setdefault(place, []).append(math.log(found))
        return {place: math.exp(math.fsum(values) / len(values)) for place, values in logs.items()}

    def _steady(self, case_id: str, phase: str) -> list[Row]:
        return [row for row in self._blocks.get(case_id, ()) if row.get("phase") == phase and row.get("steady") != 0]

    @cached_property
    def _iterations(self) -> pd.DataFrame:
        frame = self._frame("iterations")
        missing = {name: None for name in ("case_id", "block", "phase", "host_latency_ns") if name not in frame}
        return frame.assign(**missing)

    @cached_property
    def _invocations(self) -> dict[str, list[Row]]:
        return _by_case(records(self._frame("invocations"), "invocations"))

    @cached_property
    def _blocks(self) -> dict[str, list[Row]]:
        return _by_case(records(self._frame("blocks"), "blocks"))


def read_runs(source: Any) -> list[Run]:
    """Return the runs of a source, or of a sequence of sources, in their order.

    Raises:
        UsageError: It is nothing that holds runs, or holds one run twice.
        ResultError: It cannot be read.
    """
    runs = _runs(source)
    ids = [run.run_id for run in runs]
    twice = next((run_id for run_id in ids if ids.count(run_id) > 1), None)
    if twice is not None:
        raise UsageError(f"the run {twice!r:.80} was given twice", hint="a run is compared with another one, or --by")
    return runs


def one_run(source: Any, role: str) -> Run:
    """Return the only run of a source.

    Raises:
        UsageError: It has none or more than one.
    """
    runs = read_runs(source)
    if len(runs) != 1:
        raise UsageError(f"{role} has {len(runs)} runs, not one", hint="benchfw.load takes the folder of one run")
    return runs[0]


def records(frame: pd.DataFrame, table: str) -> list[Row]:
    """Return the rows of a frame of results; columns that the table does not have are left out."""
    return records_of(frame[[name for name in TABLES[table].names if name in frame]])


def records_of(frame: pd.DataFrame) -> list[Row]:
    """Return the rows of a frame as plain Python: None for whatever means nothing, whole reals as integers."""
    columns = {str(name): [_plain(value) for value in frame[name].tolist()] for name in frame}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def positive(value: Any) -> float | None:
    """Return a positive finite number, else None."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if number and 0 < value < math.inf else None


def _runs(source: Any) -> list[Run]:
    import pandas as pd

    if isinstance(source, str | Path):
        return _runs(load(source))
    if isinstance(source, Results):
        each = [source] if len(source.runs) == 1 else [Results([folder]) for folder in source.runs]
        return [_stored(results) for results in each]
    if isinstance(source, pd.DataFrame):
        return _framed({"cases": source})
    if isinstance(source, Mapping):
        return _framed(source)
    if isinstance(source, Sequence):
        return [run for item in source for run in _runs(item)]
    raise UsageError(
        f"{type(source).__name__} holds no results",
        hint="give what benchfw.load returns, its path, the frame of cases, or a dict of frames by their tables",
    )


def _stored(results: Results) -> Run:
    manifest = results.manifests[0]
    run_id = manifest.get("run_id")
    if not isinstance(run_id, str):
        run_id = results.runs[0].name.removeprefix("run=")
    rows = results.table("cases").to_pylist()
    return Run(run_id, rows, lambda name: getattr(results, name), manifest)


def _framed(frames: Mapping[str, pd.DataFrame]) -> list[Run]:
    """Return the runs of frames, in the order in which their cases stand there."""
    if "cases" not in frames or "case_id" not in frames["cases"]:
        raise UsageError("there is no frame `cases` with a column case_id", hint='{"cases": results.cases, …}')
    rows = records(frames["cases"], "cases")
    by_run: dict[str, list[Row]] = {}
    for row in rows:
        by_run.setdefault(str(row.get("run_id")), []).append(row)
    return [Run(run_id, cases, _part(frames, run_id)) for run_id, cases in by_run.items()]


def _part(frames: Mapping[str, pd.DataFrame], run_id: str) -> Callable[[str], pd.DataFrame]:
    import pandas as pd

    def frame(name: str) -> pd.DataFrame:
        whole = frames.get(name)
        if whole is None:
            return pd.DataFrame()
        return whole[whole["run_id"].astype(str) == run_id] if "run_id" in whole and run_id != "None" else whole

    return frame


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return None if math.isnan(value) else int(value) if value.is_integer() else value
    if isinstance(value, str):
        return value if value.isascii() else encodable(value)
    return value if isinstance(value, int) else None


def _by_case(rows: list[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(str(row.get("case_id")), []).append(row)
    return found


def _place(row: Row) -> Place | None:
    """Return where a block stands; None outside of the rounds. Runs without invocations have one."""
    round_, invocation = row.get("round"), row.get("invocation")
    if not isinstance(round_, int) or round_ < 0:
        return None
    return (invocation if isinstance(invocation, int) else 0, round_)


def _rate(row: Row) -> float | None:
    n, rewarm, duration = row.get("n"), row.get("rewarm"), positive(row.get("duration_ns"))
    count = positive(n - (rewarm or 0)) if isinstance(n, int) and isinstance(rewarm, int | None) else None
    return None if count is None or duration is None else count / duration


def _twice(row: Row) -> Row:
    labels = ("run_id", "case_id", "cohort", "name", "backend", "precision", "profile", "shape", "batch", "arm")
    kept = {name: row.get(name) for name in labels}
    return kept | {"status": "INVALID", "status_reason": "this case_id stands more than once in the run"}
