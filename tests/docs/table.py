"""How the commands of the documentation are run here: the first row that matches the whole command counts.

Everything that is not as the reader would do it stands in this file.
"""

from __future__ import annotations

from importlib.util import find_spec

QUICK = "--set measure.budget=100ms"
SMALL = (  # an ONNX model in place of ResNet, and one backend: no export, no import of torch
    "--set model.ref=onnx:models/mlp.onnx --set model.inputs={} --set accuracy.reference=ort-cpu"
    " --backend ort-cpu --sweep fixed --set sweep.0.batch=[2]"
)

ARMS = SMALL.replace(" --backend ort-cpu", "") + " --set measure.invocations=2"

SHORTER = (
    (r"(benchfw ab scenarios/smoke\.toml.*)", rf"\1 {ARMS} {QUICK}"),
    (r"(benchfw run scenarios/(?:smoke|res18)\.toml)(.*)", rf"\1 {SMALL}\2 {QUICK}"),
    (r"(benchfw run --resume .*)", r"\1"),
    (r"(benchfw (?:doctor(?: --json)?|env check default))", r"BENCHFW_BLOCK_PLUGINS=torch \1"),  # seconds of imports
    (r"(benchfw compare latest --by )backend.*", r"\1name"),  # the reader has fakes, or one backend
    (r"((?:\w+=\S+ )*benchfw (?:run|time|profile) .*)", rf"\1 {QUICK}"),
    (r"benchfw export builtin:\S+ (-o \S+)( --batch dynamic)?.*", r"benchfw export scenarios/models/mlp.onnx \1\2"),
)
"""Commands that would take long, and how they are shortened."""

SCENARIOS = {"small": f"{SMALL} {QUICK}"}
"""The same for scenarios in blocks, by their names: what is added to `benchfw run`. Others get `QUICK`."""

INSTEAD = ((r"\b[0-9]{8}T[0-9]\S*", "latest"),)
"""What readers have and this test has not: here the id of a run."""

NOT_RUN = (
    (r"benchfw cache rm --all", "would empty the cache that all tests share"),
    (r"benchfw quantize .*", "takes long; tests/unit/cli run it"),
    (r"benchfw check builtin:.*", "takes long; check.md has the same with a small model"),
    (r"benchfw run scenarios/(detr|precisions)\.toml", "takes minutes; that they can be planned is tested"),
    (r"make .*", "would run the whole suite, or for minutes; that the target is there is tested"),
    (r"pip install .*", "changes the environment that the tests run in"),
    (r"source \.venv/bin/activate", "the tests are in that environment already"),
    (r"BENCHFW_\w+=\S+ pytest .*", "tests of their own"),
    (r'eval "\$\(benchfw completion zsh\)"', "needs zsh"),
    (r"benchfw env (create|rm) .*|benchfw env check ort-.*", "would install packages from an index"),
    *(
        ()
        if find_spec("tensorrt_rtx")
        else ((r"benchfw (build .*|inspect \S+\.rtx)", "TensorRT-RTX is not installed"),)
    ),
)
"""Commands that are not run, and why not."""

CODES = (
    (r"benchfw doctor.*", {0, 3}),
    (r"benchfw (compare|gate|ab) .*", {0, 1, 4}),
)
"""Exit codes of commands that depend on the machine; others are declared beside their block."""

COMPILED = ("docs/reference/hooks.md",)
"""Pages whose Python is signatures only: it is compiled and not run."""

FOREIGN = {"--break-system-packages", "--build-arg", "--gpus", "--no-healthcheck", "--user"}
"""Options in text that are other programs'."""
