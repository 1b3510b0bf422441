"""Registers benchfw's own commands, in the order in which the help lists them. Light: imported with every command."""

from __future__ import annotations

from benchfw.spec.command import CommandInfo
from benchfw.spec.hooks import hookimpl

_COMMANDS = {
    "init": "Write a scenario for a model, to start from.",
    "run": "Run a scenario and store its results.",
    "ab": "Compare two scenarios, or two variants of one, in turns.",
    "plan": "Show what a run would do, without doing it.",
    "time": "Time one model on one backend, without a scenario file.",
    "export": "Write a model as ONNX.",
    "simplify": "Simplify an ONNX model, and check that it still computes the same.",
    "quantize": "Turn an ONNX model into one that computes in int8.",
    "inspect": "Tell what a model, an engine or an artifact of the cache holds.",
    "build": "Build an engine of a model, ahead of a run.",
    "profile": "Show the layers that one model spends its time in on one backend.",
    "check": "Compare the outputs of backends with those of a reference, and find where they depart.",
    "show": "Show the results of a run.",
    "compare": "Compare runs, or the cases of one run: speed-ups with intervals, accuracy beside them.",
    "gate": "Say whether a run is slower than a baseline may be, for CI.",
    "results": "List, remove and export results.",
    "cache": "List, explain, verify and remove what is kept between runs.",
    "env": "Make, list, check and remove environments: interpreters that workers run on.",
    "doctor": "Look at this machine: what is there, what disturbs, what to do about it.",
    "backends": "List what plugins provide, and what it lacks here.",
    "new-plugin": "Write a plugin with a backend, ready to be tested.",
    "schema": "Print the JSON Schema of scenario files.",
    "completion": "Print the script for completion in a shell.",
}


@hookimpl
def benchfw_register_commands() -> list[CommandInfo]:
    return [
        CommandInfo(name=name, summary=summary, factory=f"benchfw.cli.{name.replace('-', '_')}:command")
        for name, summary in _COMMANDS.items()
    ]
