"""What the columns of the result tables are made of: the types that they are stored as, and those that tables share."""

from __future__ import annotations

import pyarrow as pa

TEXT = pa.string()
WORD = pa.dictionary(pa.int32(), pa.string())
INT = pa.int64()
SMALL = pa.int32()
REAL = pa.float64()
SPAN = pa.float32()

Column = tuple[str, pa.DataType, str]
"""Name, type, and description for the reference."""

RUN: Column = ("run_id", WORD, "Folder name of the run without `run=`.")
CASE: Column = (
    "case_id",
    WORD,
    "Slug of the case's labels, the same in every run: model/name/precision/profile/cohort.",
)
COHORT: Column = ("cohort", WORD, "Point of the sweep: cases of one cohort were measured together.")


def latency(statistic: str, text: str) -> Column:
    """Return the column of a statistic of the latency, in ns."""
    return (f"latency_{statistic}_ns", REAL, text)
