"""JSON Schemas in a few words."""

from __future__ import annotations

import enum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, create_model

from benchfw.cli.schemas import rows


class Mode(enum.Enum):
    FAST = "fast"
    SLOW = "slow"


class Inner(BaseModel):
    size: int


class Node(BaseModel):
    following: Node | None = None
    all: list[Node] = []


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (int, "integer"),
        (Annotated[int, Field(ge=1, le=5)], "integer ≥ 1, ≤ 5"),
        (Annotated[float, Field(gt=0, le=1)], "number > 0, ≤ 1"),
        (bool, "boolean"),
        (Any, "anything"),
        (None, "null"),
        (list, "list"),
        (list[Any], "list"),
        (list[str], "list of string"),
        (set[int], "list of integer"),
        (tuple[int, str], "list of integer, string"),
        (tuple[()], "list"),
        (tuple[int, ...], "list of integer"),
        (dict, "table"),
        (dict[str, Any], "table"),
        (dict[str, int], "table of integer"),
        (dict[str, list[int]], "table of list of integer"),
        (Literal["a", "b"], '"a", "b"'),
        (Literal["é"], '"é"'),
        (Literal[1, 2], "1, 2"),
        (Literal[1], "1"),
        (int | None, "integer"),
        (int | str, "integer or string"),
        (Annotated[int, Field(ge=1)] | Literal["all"] | None, 'integer ≥ 1 or "all"'),
        (Mode, '"fast", "slow"'),
        (list[Mode], 'list of "fast", "slow"'),
        (Inner, "table"),
        (Inner | None, "table"),
        (list[Inner], "list of table"),
        (Node, "table"),
    ],
    ids=str,
)
def test_every_type_has_words(kind: Any, words: str) -> None:
    model: type[BaseModel] = create_model("Model", value=(kind, Field(description="what it is")))
    assert list(rows(model.model_json_schema())) == [("value", words, "required", "what it is")]


def test_a_model_that_contains_itself() -> None:
    assert [row[:3] for row in rows(Node.model_json_schema())] == [
        ("following", "table", ""),
        ("all", "list of table", ""),
    ]
