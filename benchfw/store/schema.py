"""Arrow schemas of the result tables, version 1. Columns end in their unit; their descriptions are the reference.

Times are integer nanoseconds; stamps are those of `CLOCK_MONOTONIC` on the host that measured.
"""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from benchfw.store import cases
from benchfw.store.columns import CASE, COHORT, INT, REAL, RUN, SMALL, SPAN, TEXT, WORD, Column, latency

SCHEMA_VERSION = 1


def kind_of(kind: pa.DataType) -> str:
    """Return what a column holds, however it is stored: `text`, `integer`, `real`, or the name of another type."""
    if pa.types.is_dictionary(kind):
        return kind_of(kind.value_type)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "text"
    if pa.types.is_integer(kind):
        return "integer"
    return "real" if pa.types.is_floating(kind) else str(kind)


def _schema(table: str, columns: Iterable[Column]) -> pa.Schema:
    fields = [pa.field(name, kind, metadata={"description": text}) for name, kind, text in columns]
    return pa.schema(fields, metadata={"benchfw_table": table, "benchfw_schema_version": str(SCHEMA_VERSION)})


CASES = _schema("cases", cases.COLUMNS)

INVOCATIONS = _schema(
    "invocations",
    [
        RUN,
        CASE,
        COHORT,
        ("invocation", SMALL, "Number of the invocation within the case, from 0."),
        ("build", SMALL, "Number of the build of its engine, from 0; null without an engine."),
        ("artifact_sha256", TEXT, "Hash of the artifact that it loaded: equal ones are the same engine."),
        ("worker", SMALL, "Number of the worker process within the session, from 0."),
        ("padding_bytes", SMALL, "Bytes that were added at random to the environment of the process."),
        ("steady_state", WORD, "`flat`, `warmup`, `slowdown` or `no_steady`; null with too few blocks to say."),
        ("steady_from", SMALL, "Place of the first steady block among the measured ones."),
        ("blocks", SMALL, "Measured blocks, steady or not."),
        ("n", INT, "Iterations of steady blocks."),
        ("effective_n", REAL, "Effective sample size for the median."),
        latency("mean", "Mean latency."),
        latency("p50", "Median latency."),
        latency("p50_low", "Lower end of its 95 % interval within this process."),
        latency("p50_high", "Upper end of it."),
        latency("p99", "99th percentile; null if its interval is not finite."),
        latency("p99_low", "Lower end of its 95 % interval within this process."),
        latency("p99_high", "Upper end of it."),
        ("throughput_samples_s", REAL, "Throughput of this process."),
        ("throughput_low_samples_s", REAL, "Lower end of its 95 % interval within this process."),
        ("throughput_high_samples_s", REAL, "Upper end of it."),
        ("first_call_ns", INT, "Latency of the first inference after binding."),
        ("warmup_s", REAL, "Time of warm-up, in seconds."),
        ("load_s", REAL, "Time to load the artifact, in seconds."),
        ("build_s", REAL, "Time of the backend's own build, in seconds."),
        ("peak_rss_bytes", INT, "Peak resident memory of the process since it last bound inputs."),
        (
            "canary_shift",
            REAL,
            "Change of the canary from before the rounds to after them: its part that changed most.",
        ),
    ],
)

BLOCKS = _schema(
    "blocks",
    [
        RUN,
        CASE,
        COHORT,
        ("invocation", SMALL, "Number of the invocation within the case, from 0."),
        ("block", SMALL, "Number of the block within the case, from 0, warm-up and windows included."),
        ("round", SMALL, "Round of the invocation; -1 outside of the rounds."),
        ("position", SMALL, "Place in the round's order."),
        (
            "phase",
            WORD,
            "`first`, `warmup`, `pilot` (to choose a depth, or to see what stamps cost), `measure`, `events` (with "
            "events of the device), `window` (throughput at a depth), `steady` (constant size, beside a random "
            "sequence), `energy` (the case alone, for power and energy of its GPU) or `hot` (one of the rounds that "
            "were measured again, since heat held the clock of the GPU).",
        ),
        ("steady", SMALL, "1 if it belongs to the steady part, which alone is in the statistics, else 0."),
        ("depth", SMALL, "Outstanding inferences."),
        ("n", SMALL, "Iterations."),
        ("rewarm", SMALL, "Iterations at the beginning that are not used."),
        ("batch", SMALL, "Size of the varying or batch axis; null for a mixture."),
        ("start_ns", INT, "First stamp."),
        ("duration_ns", INT, "From the first stamp that counts to the last."),
        ("median_ns", REAL, "Median latency of the iterations that count."),
        ("cpu_time_ns", INT, "CPU time of the worker in the block."),
        ("nivcsw", INT, "Involuntary context switches of the worker."),
        (
            "minflt",
            INT,
            "Minor page faults of the worker; many per inference mean that memory is given back and taken again.",
        ),
        ("majflt", INT, "Major page faults of the worker."),
        ("nr_throttled", INT, "Periods in which the cgroup's CPU quota stopped the worker."),
        ("rss_growth_bytes", INT, "Growth of the worker's resident memory."),
        (
            "objects_growth",
            INT,
            "Growth of the number of memory blocks that Python holds in the worker, what its collector frees left out.",
        ),
        ("host_busy_ns", INT, "CPU time of all processes on the usable CPUs, in ticks of 10 ms; null where unknown."),
        ("host_steal_ns", INT, "Time in which the hypervisor gave these CPUs to others, likewise."),
        ("host_own_ns", INT, "CPU time of the worker, the parent and the samplers meanwhile; these are no ticks."),
        ("host_elapsed_ns", INT, "Time between the two readings of these counters, around the block."),
        ("telemetry", SMALL, "1 if samplers ran, 0 if they were paused; null without samplers."),
        ("changes", INT, "Compilations and the like that the backend counted, and garbage collections."),
        ("canary_ns", INT, "Canary after the block; warm-up only."),
    ],
)

ITERATIONS = _schema(
    "iterations",
    [
        RUN,
        CASE,
        ("block", SMALL, "Number of the block within the case."),
        (
            "phase",
            WORD,
            "`first`, `warmup`, `pilot`, `rewarm`, `measure`, `events`, `steady`, `energy` or `hot`; only `measure` is "
            "in the statistics of latencies, only `events` in those of the device's times.",
        ),
        ("batch", SMALL, "Size of the varying or batch axis."),
        ("start_ns", INT, "Stamp before the first API call."),
        ("host_latency_ns", INT, "From that stamp until the outputs were known complete."),
        ("enqueue_ns", INT, "From that stamp until all was enqueued; null for launches that return when complete."),
        ("h2d_ns", SPAN, "Copies of inputs to the device, by its clock; null unless `events` of `pinned` cases."),
        ("compute_ns", SPAN, "The launch, by the clock of the device; null unless `events`."),
        ("d2h_ns", SPAN, "Copies of outputs from the device, by its clock; null unless `events` of `pinned` cases."),
    ],
)

SHAPES = _schema(
    "shapes",
    [
        RUN,
        CASE,
        COHORT,
        ("axis", WORD, "Axis that varies."),
        ("size", SMALL, "Its size."),
        ("n", INT, "Iterations of this size in the statistics."),
        ("p50_ns", REAL, "Median latency of this size within the sequence."),
        ("p99_ns", REAL, "99th percentile; null below 368 samples."),
        ("first_seen_ns", INT, "Latency of the first inference of this size."),
        ("after_switch_ns", REAL, "Median latency where the size before was another one."),
        ("after_same_ns", REAL, "Median latency where the size before was the same; null if that never happened."),
        ("steady_ns", REAL, "Median latency of a short constant run of this size; null if not taken."),
    ],
)

ACCURACY = _schema(
    "accuracy",
    [
        RUN,
        CASE,
        COHORT,
        ("moment", WORD, "`before` or `after` the timing."),
        ("invocation", SMALL, "Number of the invocation within the case, from 0."),
        ("input_set", SMALL, "Set of inputs, from 0."),
        ("reference", WORD, "Name of the reference backend."),
        ("output", WORD, "Output."),
        ("batch", SMALL, "Size of the varying or batch axis."),
        ("verdict", WORD, "`pass`, `warn` or `fail`."),
        (
            "default_verdict",
            WORD,
            "The same by the default tolerance of the precision; `fail` beside another verdict: only a tolerance of "
            "the scenario lets the output pass.",
        ),
        ("reason", TEXT, "What failed or nearly did, or is beyond the default."),
        ("max_abs_err", REAL, "Largest absolute difference."),
        ("mean_abs_err", REAL, "Mean absolute difference."),
        ("p99_abs_err", REAL, "99th percentile of the absolute difference."),
        ("rel_l2", REAL, "L2 norm of the difference over that of the reference."),
        ("cosine", REAL, "Cosine between output and reference."),
        ("snr_db", REAL, "Signal-to-noise ratio in dB; null if there is no difference."),
        ("mean_rel_err", REAL, "Mean relative difference with a floor of 1e-3 RMS of the reference."),
        ("outside_share", REAL, "Share of elements beyond rtol |r| + atol RMS(r)."),
        ("nonfinite", INT, "NaN and infinite elements of the output."),
        ("top1_agreement", REAL, "Share of rows with the same largest element; null unless [rows, classes]."),
        ("top5_agreement", REAL, "Share of rows whose largest element is among the reference's five largest."),
    ],
)

COMPARISONS = _schema(
    "comparisons",
    [
        RUN,
        ("case_id", WORD, "The case that is compared: arm `b`, or `control`."),
        COHORT,
        ("baseline", WORD, "The case that it is compared with: arm `a`."),
        ("metric", WORD, "`p50` or `p99` of the latency, or `throughput`."),
        ("role", WORD, "`effect`, or `control`: `a` against itself, which gives the noise floor."),
        ("n", SMALL, "Rounds in which both were measured."),
        ("baseline_ns", REAL, "The metric over all rounds of the baseline; of `throughput` the time per inference."),
        ("case_ns", REAL, "Likewise of the case."),
        ("ratio", REAL, "The case over its baseline; 1.02 is 2 % slower."),
        ("ratio_low", REAL, "Lower end of its interval; null if open."),
        ("ratio_high", REAL, "Upper end of it."),
        ("confidence", REAL, "Of the interval, for the whole family of comparisons."),
        ("p_value", REAL, "Of the hypothesis that the ratio is 1."),
        ("margin", REAL, "Relative difference up to which both count as equal: threshold or noise floor."),
        ("noise_floor", REAL, "Relative difference that arm `a` may have to itself."),
        ("verdict", WORD, "`regression`, `improvement`, `equivalent` or `inconclusive`."),
        ("reason", TEXT, "In a sentence."),
    ],
)

WARNINGS = _schema(
    "warnings",
    [
        RUN,
        CASE,
        ("code", WORD, "Code of the warning, as in docs/reference/warnings."),
        ("value", REAL, "What was measured."),
        ("threshold", REAL, "What it was compared with."),
        ("message", TEXT, "In a sentence, with the remedy."),
    ],
)

LAYERS = _schema(
    "layers",
    [
        RUN,
        CASE,
        COHORT,
        ("layer", WORD, "Name of the layer in the runtime; several nodes of the model may be one layer."),
        ("op", WORD, "Operator, as the runtime calls it."),
        ("provider", WORD, "Execution provider that ran it; null where it does not say."),
        ("kernel", WORD, "Implementation that the runtime chose; null where it does not say."),
        ("precision", WORD, "What it computed in; null where it does not say."),
        ("shapes", TEXT, "Shapes of inputs, weights included, and outputs, as JSON; null where it does not say."),
        ("nodes", TEXT, "Nodes of the model's graph that it computes, as JSON; null where that is not known."),
        ("calls", SMALL, "Calls in one inference."),
        ("n", SMALL, "Inferences that were profiled."),
        ("time_p50_ns", REAL, "Median time of one inference in this layer, all calls together."),
        ("share", REAL, "Its share of the sum of `time_p50_ns` over all layers of the case."),
        ("layers_p50_ns", REAL, "Median time of one inference in all layers together; the same for all rows."),
        ("inference_p50_ns", REAL, "Median time of the whole inference while it was profiled; the same for all rows."),
        ("flops", INT, "Operations, 2 per multiply-accumulate; null where neither graph nor shapes tell them."),
        ("bytes", INT, "Bytes that these nodes read and write, fused or not; null without nodes."),
        ("parameters", INT, "Elements of weights of these nodes; null without nodes."),
    ],
)

TELEMETRY = _schema(
    "telemetry",
    [
        RUN,
        ("cohort", WORD, "Cohort that it was stored with: it was read after the one before was stored."),
        ("sampler", WORD, "Sampler, as in `samplers`."),
        ("field", WORD, "What was read."),
        ("unit", WORD, "Unit of the value."),
        ("time_ns", INT, "Stamp before the reading; the same clock as the stamps of blocks and iterations."),
        ("value", REAL, "What was read; null where it could not be."),
        ("read_ns", INT, "How long the reading took; the same for all fields of it."),
    ],
)

TABLES: dict[str, pa.Schema] = {
    "cases": CASES,
    "invocations": INVOCATIONS,
    "blocks": BLOCKS,
    "iterations": ITERATIONS,
    "shapes": SHAPES,
    "accuracy": ACCURACY,
    "comparisons": COMPARISONS,
    "warnings": WARNINGS,
    "telemetry": TELEMETRY,
    "layers": LAYERS,
}
"""Every table by its name, which is also the name of its folder in a run."""
