"""The pages of the contract of plugins, from the docstrings and signatures of `benchfw.spec` and `benchfw.errors`."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

from benchfw import errors, spec
from benchfw.spec import hooks
from tools.markdown import code, prose, table

_WIDTH = 120


def hooks_page() -> str:
    """Return the hooks, then every public class and function of `benchfw.spec`."""
    text = "# Hooks and the contract of plugins\n\n[How to write a plugin](../plugins/index.md).\n"
    text += f"\n## Hooks\n\n{prose(hooks.__doc__)}"
    text += "".join(map(_definition, _public(inspect.getsource(hooks))))
    for file in sorted(Path(inspect.getfile(spec)).parent.glob("[!_]*.py")):
        if file.stem != "hooks":
            text += f"\n## Module `benchfw.spec.{file.stem}`\n\n" + _module(file.read_text(encoding="utf-8"))
    return text


def errors_page() -> str:
    """Return the tree of errors, and a row per class."""
    text = "# Errors and exit codes\n\n" + prose(errors.__doc__)
    text += "\nAn error that ends a command prints its message and its hint on stderr, and the command exits with its\n"
    text += "[code](cli.md). An error with a [status](warnings.md) ends its case only.\n\n"
    rows = []
    for kind in _family(errors.BenchfwError):
        status = kind.status if issubclass(kind, errors.CaseError) else ""
        ends = "" if status else str(kind.exit_code)
        means, _, _ = (inspect.getdoc(kind) or "").partition("\n")
        rows.append((code([kind.__name__]), code(filter(None, [status])), ends, means))
    return text + table(("error", "status of the case", "exit code", "means"), rows)


def _family(kind: type[errors.BenchfwError]) -> Iterator[type[errors.BenchfwError]]:
    yield kind
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from _family(child)


def _module(source: str) -> str:
    return prose(ast.get_docstring(ast.parse(source))) + "".join(map(_definition, _public(source)))


def _definition(item: ast.ClassDef | ast.FunctionDef) -> str:
    if isinstance(item, ast.ClassDef):
        return f"\n### {item.name}\n\n{_class(item)}"
    return f"\n### {item.name}\n\n{_python(_stub(item))}\n{prose(ast.get_docstring(item))}"


def _class(item: ast.ClassDef) -> str:
    """Return a class: its fields in one block, its docstring, then its methods one by one."""
    bases = ", ".join(ast.unparse(base) for base in item.bases)
    fields = [ast.unparse(line) for line in item.body if isinstance(line, ast.AnnAssign)]
    head = f"class {item.name}({bases}):" if bases else f"class {item.name}:"
    text = _python("\n    ".join([head, *fields]) if fields else f"{head} ...")
    text += "\n" + prose(ast.get_docstring(item))
    for line, after in zip(item.body, item.body[1:]):
        if isinstance(line, ast.AnnAssign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            text += f"\n**`{ast.unparse(line.target)}`**\n\n{prose(str(after.value.value))}"  # a field's docstring
    for line in item.body:
        if isinstance(line, ast.FunctionDef) and not line.name.startswith("_"):
            kinds = [ast.unparse(each) for each in line.decorator_list]
            notes = [kind for kind in kinds if kind in ("abstractmethod", "classmethod", "property")]
            text += f"\n**`{_signature(line)}`**" + (f" ({', '.join(notes)})" if notes else "") + "\n"
            text += "\n" + prose(ast.get_docstring(line)) if ast.get_docstring(line) else ""
    return text


def _public(source: str) -> Iterator[ast.ClassDef | ast.FunctionDef]:
    for item in ast.parse(source).body:
        if isinstance(item, ast.ClassDef | ast.FunctionDef) and not item.name.startswith("_"):
            yield item


def _signature(function: ast.FunctionDef) -> str:
    arguments = re.sub(r"(: [^=:]+?)=", r"\1 = ", ast.unparse(function.args))  # as ruff writes it
    for own in ("self, ", "cls, ", "self", "cls"):
        arguments = arguments.removeprefix(own)
    returns = f" -> {ast.unparse(function.returns)}" if function.returns else ""
    return f"{function.name}({arguments}){returns}"


def _stub(function: ast.FunctionDef) -> str:
    """Return a function without its body; one that is too long for a line as ruff breaks it."""
    text = f"def {_signature(function)}: ..."
    if len(text) <= _WIDTH:
        return text
    head, _, rest = text.partition("(")
    arguments, _, returns = rest.rpartition(") -> ")
    return f"{head}(\n    {arguments}\n) -> {returns}"


def _python(text: str) -> str:
    quoted = text.replace("'", '"')  # `ruff format` formats the Python of pages too
    return f"```python\n{quoted}\n```\n"
