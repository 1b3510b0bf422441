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


_RUN = ("run_id", _WORD, "Folder name of the run without `run=`.")
_CASE = ("case_id", _WORD, "Slug of the case's labels, the same in every run: model/name/precision/profile/cohort.")
_COHORT = ("cohort", _WORD, "Point of the sweep: cases of one cohort were measured together.")


def _latency(statistic: str, text: str) -> tuple[str, pa.DataType, str]:
    return (f"latency_{statistic}_ns", _REAL, text)


CASES = _schema(
    "cases",
    [
        _RUN,
        _CASE,
        ("case_hash", _WORD, "SHA-256 over all that decides what the case measures; what resuming goes by."),
        ("session_id", _WORD, "Worker that served the case: name-precision."),
        _COHORT,
        ("scenario", _WORD, "Name of the scenario."),
        ("model", _WORD, "Name of the model."),
        ("model_hash", _WORD, "SHA-256 over the weights, the reference and the source of the model."),
        ("backend", _WORD, "Backend, as in `use`."),
        ("name", _WORD, "Name of the backend in the scenario; default: `use`."),
        ("backend_version", _WORD, "Version of the backend's framework in the worker."),
        ("provider", _WORD, "Execution provider that was asked for."),
        ("provider_effective", _WORD, "Execution provider that ran."),
        ("precision", _WORD, "Precision that was asked for."),
        ("precision_effective", _WORD, "Precision that the backend says it computed in."),
        ("facts", _TEXT, "What the backend says of the loaded artifact (threads, nodes, compilations), as JSON."),
        ("environment", _WORD, "Name of the worker's interpreter in the scenario."),
        ("python", _WORD, "Version of the worker's interpreter."),
        ("device", _WORD, "Device that ran the inference: `cpu`, or one by its number, `cuda:0`."),
        ("device_name", _WORD, "Model of the device; null on the CPU."),
        ("device_uuid", _WORD, "The device's own UUID; null on the CPU."),
        ("sweep", _WORD, "Kinds of sweeps that the measurement serves, joined by `+`."),
        ("profile", _WORD, "`static`, `dynamic`, or `any` where the backend makes no difference."),
        ("profile_point", _WORD, "`min`, `opt` or `max` of a min-opt-max sweep; null elsewhere."),
        ("batch", _SMALL, "Size of the axis `batch`; null for a mixture of sizes or where no axis has that name."),
        ("shape", _TEXT, "Sizes of all named axes, as JSON; `[low, high]` for one that varies."),
        ("sequence_sha256", _WORD, "Hash of the random sequence of sizes; null for one shape."),
        ("arm", _WORD, "Arm of a comparison: `a`, `b`, or `control`, which is `a` once more; null outside of one."),
        ("depth", _SMALL, "Outstanding inferences while the latency is taken; 1 is one at a time."),
        ("status", _WORD, "OK, or why there is no number: SKIPPED UNSUPPORTED BUILD_FAILED OOM CRASH TIMEOUT …"),
        ("status_reason", _TEXT, "Reason of a status other than OK, with the remedy where there is one."),
        ("stage", _WORD, "What the worker was asked for when the case failed: open, prepare, load, bind, block, …"),
        ("signal", _WORD, "Signal that ended the worker, if one did: SIGSEGV, SIGKILL, …"),
        ("forced", _TEXT, "What had changed since the run began when `--resume --force` measured the case; else null."),
        ("log_tail", _TEXT, "Last lines of the worker's log when the case failed."),
        ("verdict", _WORD, "Of an OK case: VALID, or what weakens the number (NOT_CONVERGED, …)."),
        ("verdict_reason", _TEXT, "Reason of a verdict other than VALID, with figures."),
        (
            "steady_state",
            _WORD,
            "Shape of the block medians over time: `flat`, `warmup`, `slowdown`, `no_steady`; the worst of all "
            "invocations. Null where there are too few blocks to say.",
        ),
        ("invocations", _SMALL, "Worker processes that the statistics come from."),
        ("builds", _SMALL, "Builds of its engine that these processes measured; null for one, or without an engine."),
        ("n", _INT, "Iterations in the statistics: those of steady blocks."),
        ("effective_n", _REAL, "Effective sample size for the median: n over the autocorrelation time."),
        ("autocorrelation_time", _REAL, "Iterations that tell as much as one independent one; the largest one."),
        ("blocks", _SMALL, "Measured blocks, steady or not."),
        ("measured_s", _REAL, "Time in measured blocks and windows, in seconds."),
        _latency("min", "Smallest latency: host-observed, input ready to output known complete."),
        _latency("mean", "Mean latency."),
        _latency(
            "p50", "Median latency: the ceil(n/2)-th smallest; of several invocations their geometric mean, by builds."
        ),
        _latency(
            "p50_low",
            "Lower end of its 95 % interval: over invocations, or within the only one, corrected for autocorrelation.",
        ),
        _latency("p50_high", "Upper end of it."),
        _latency("p90", "90th percentile; null below 36 samples."),
        _latency("p95", "95th percentile; null below 72 samples."),
        _latency("p99", "99th percentile; null if its interval is not finite (368 independent samples at least)."),
        _latency("p99_low", "Lower end of the 95 % interval of the 99th percentile."),
        _latency("p99_high", "Upper end of it."),
        _latency("p999", "99.9th percentile; null if its interval is not finite (3688 independent samples at least)."),
        _latency("max", "Largest latency."),
        _latency("std", "Standard deviation of the latency."),
        _latency("mad", "Median absolute deviation from the median."),
        _latency("iqr", "Distance between the quartiles."),
        (
            "enqueue_p50_ns",
            _REAL,
            "Median time until all of an inference was enqueued on the device's stream; null for launches that return "
            "completed outputs.",
        ),
        ("h2d_p50_ns", _REAL, "Median time of the copies of inputs to the device, by its clock; null unless `pinned`."),
        ("compute_p50_ns", _REAL, "Median time from the beginning of a launch to its end, by the device's clock."),
        ("d2h_p50_ns", _REAL, "Median time of the copies of outputs from the device, likewise; null unless `pinned`."),
        (
            "device_p50_ns",
            _REAL,
            "Median of the sum of these three; it holds gaps in which the device waits for the host.",
        ),
        ("robust_cv", _REAL, "1.4826 times the median absolute deviation, over the median."),
        ("outlier_share", _REAL, "Share of iterations with a modified z-score above 14.8; they are counted and kept."),
        ("variation_within", _REAL, "Relative standard deviation that blocks of one process have; null for one block."),
        (
            "variation_between",
            _REAL,
            "Relative standard deviation between processes (of the same build), without that within them; null where "
            "each build has one.",
        ),
        (
            "variation_builds",
            _REAL,
            "The same between builds of the engine; where each has one process, with what processes differ by. Null "
            "where nothing was built twice.",
        ),
        (
            "throughput_samples_s",
            _REAL,
            "Samples over the fenced wall time of windows with `throughput_depth`, per second.",
        ),
        (
            "throughput_low_samples_s",
            _REAL,
            "Lower end of its 95 % interval: over invocations, or by Student's t on means of windows of the only one.",
        ),
        ("throughput_high_samples_s", _REAL, "Upper end of it."),
        ("throughput_depth", _SMALL, "Outstanding inferences that gave this throughput: the best of those tried."),
        (
            "throughput_lanes",
            _WORD,
            "Who issued them: `threads` of one worker, `processes`, or one thread on a `stream`; null at depth 1.",
        ),
        ("speedup", _REAL, "Throughput over that of the reference backend in the same cohort."),
        ("artifact_steps", _WORD, "Steps from the model to the artifact, joined by `+`; null for none."),
        ("artifact_s", _REAL, "Time in these steps, in seconds; 0 if they came from the cache."),
        (
            "build_s",
            _REAL,
            "Time of the backend's own build or compilation, in seconds; the same for all cases of one artifact.",
        ),
        ("load_s", _REAL, "Time to load the artifact, in seconds."),
        ("bind_s", _REAL, "Time to allocate and copy in the inputs of all shapes, in seconds."),
        ("first_call_ns", _INT, "Latency of the first inference (of the first shape) after binding."),
        ("warmup_s", _REAL, "Time of warm-up before the statistics begin, in seconds."),
        ("accuracy", _WORD, "`pass`, `warn` or `fail` against the reference, worst of all outputs, before and after."),
        ("reference", _WORD, "Name of the backend whose outputs were the reference."),
        ("rel_l2", _REAL, "Largest relative L2 distance of an output to the reference."),
        ("max_abs_err", _REAL, "Largest absolute difference of an output to the reference."),
        ("cosine", _REAL, "Smallest cosine between an output and the reference."),
        (
            "peak_rss_bytes",
            _INT,
            "Peak resident memory of the worker since it last bound inputs; cases of one worker share it.",
        ),
        (
            "device_memory_bytes",
            _INT,
            "Peak device memory that the worker has taken after its context was made, between messages; cases of one "
            "worker share it. Null on the CPU.",
        ),
        (
            "device_used_bytes",
            _INT,
            "The most that all processes held of the device's memory together, seen between messages.",
        ),
        (
            "device_process_bytes",
            _INT,
            "The most that the driver says the worker had on the device around measured blocks, its context included; "
            "null without NVML, and in a container that is told numbers of processes which mean nothing there.",
        ),
        (
            "device_load_bytes",
            _INT,
            "Device memory that opening the backend and loading the artifact took, after the context was made; null on "
            "the CPU.",
        ),
        (
            "device_leak_bytes",
            _INT,
            "Device memory that was free before the artifact was loaded, and no longer once it was closed; less than 0 "
            "if it gave back what another case had taken. Null on the CPU, if a later cohort still used it, and if its "
            "worker ended before. What libraries keep for a process is that of the first case of a worker.",
        ),
        ("graph_flops", _INT, "Operations of the model's graph, 2 per multiply-accumulate; null unless profiled."),
        ("graph_bytes", _INT, "Bytes that its nodes read and write, each tensor every time; null unless profiled."),
        ("graph_parameters", _INT, "Elements of its weights; null unless profiled."),
        (
            "io_scope",
            _WORD,
            "Where inputs and outputs lie: `host`; `device`; `pinned`: in page-locked memory of the host, with "
            "copies to and from the device.",
        ),
        ("graph", _WORD, "Whether launches are replayed from a CUDA graph: `off`, `on`."),
        (
            "sync",
            _WORD,
            "How completion is awaited: `spin`; `blocking`: the host sleeps meanwhile, or calls return when complete.",
        ),
        (
            "cache",
            _WORD,
            "State of caches: `rotate` goes round several sets of inputs, `warm` repeats one, `flush` empties that "
            "of the device before each inference, and then there is no throughput and no energy.",
        ),
        ("input_sets", _SMALL, "Sets of inputs that the iterations of one shape rotate over."),
        ("input_bytes", _INT, "Bytes of all these sets."),
        ("last_level_cache_bytes", _INT, "Last-level cache of the device or machine; null where it does not say."),
        ("timer", _WORD, "Clock of the latency: `host`."),
        ("interleave", _WORD, "Whose cases took turns: `all` of the cohort, those of one `session`, or `off`."),
        ("threads", _SMALL, "Threads that the backend says it uses; else those of the run."),
        ("seed", _INT, "Seed of weights and inputs."),
        ("effort", _WORD, "quick, standard or report."),
        ("invocation", _SMALL, "Number of the last worker process of this session that served the case, from 0."),
        ("nivcsw", _INT, "Involuntary context switches of the worker during measured blocks."),
        ("cpu_time_s", _REAL, "CPU time of the worker during measured blocks, in seconds."),
        ("canary_shift", _REAL, "Change of the canary from the beginning of a worker to its end, the largest one."),
        ("instrumentation_cost", _REAL, "Time that stamping takes, over the time of the same launches without stamps."),
        ("telemetry_cost", _REAL, "Median latency with running samplers over that with paused ones, minus 1."),
        (
            "gpu_scope",
            _WORD,
            "Whose figures the next columns are: `gpu`, or `gpu_shared` for a MIG slice. All of them are null on the "
            "CPU and without NVML, and each where NVML does not tell.",
        ),
        (
            "clocks",
            _WORD,
            "Clocks of the GPU: `locked:MHZ` by `--lock-clocks`, else `floating`, also where nvidia-smi has locked "
            "them, which NVML does not tell; null on the CPU.",
        ),
        ("sm_clock_mhz", _REAL, "Median SM clock of the GPU within measured blocks, in MHz."),
        ("sm_clock_min_mhz", _REAL, "Smallest one."),
        ("memory_clock_mhz", _REAL, "Median memory clock of the GPU within measured blocks, in MHz."),
        ("memory_clock_min_mhz", _REAL, "Smallest one."),
        (
            "throttled_share",
            _REAL,
            "Share of the time of measured blocks in which something held the clock of the GPU down; of several causes "
            "the longest.",
        ),
        ("temperature_max_c", _REAL, "Highest temperature of the GPU within measured blocks, in °C."),
        ("power_w", _REAL, "Mean power of the GPU while blocks of the case alone ran for two seconds, in watts."),
        (
            "energy_sample_j",
            _REAL,
            "Energy of one sample in joules: of the GPU in these two seconds, over the samples computed in them.",
        ),
        ("energy_sample_low_j", _REAL, "Lower end of the interval that the steps of the counter leave."),
        ("energy_sample_high_j", _REAL, "Upper end of it."),
        ("harness_overhead_ns", _REAL, "Start to start of consecutive null iterations in this worker, median."),
        ("bare_loop_ns", _REAL, "The same for a hand-written loop beside it."),
        ("log", _TEXT, "Log of the worker, relative to the run's folder."),
        ("schema_version", _SMALL, "Version of this schema."),
    ],
)

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
        ("objects_growth", INT, "Growth of the number of memory blocks that Python holds in the worker."),
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
        ("reason", TEXT, "What failed or nearly did."),
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
