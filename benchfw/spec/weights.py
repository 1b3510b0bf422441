"""Facts about weights: how many, how large, and which of them make trouble."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_PART = 1 << 22
_FP16_SMALLEST = 2.0**-24
_FP16_LARGEST = 65504.0


class Weights:
    """Counts the weights of a model, tensor by tensor; facts about values are those of float tensors."""

    def __init__(self) -> None:
        self._kinds: dict[str, dict[str, int]] = {}
        self._low, self._high, self._smallest = np.inf, -np.inf, np.inf
        self._counts = dict.fromkeys(("denormal", "nan", "infinite", "below_fp16", "above_fp16"), 0)

    def add(self, dtype: str, elements: int, size: int, array: NDArray[Any] | None = None) -> None:
        """Count a tensor.

        Args:
            dtype: Its type, as numpy calls it.
            elements: How many it has.
            size: Their bytes.
            array: Its values, of any float type; None leaves them out.
        """
        kind = self._kinds.setdefault(dtype, {"tensors": 0, "elements": 0, "bytes": 0})
        for name, number in (("tensors", 1), ("elements", elements), ("bytes", size)):
            kind[name] += number
        if array is not None:
            flat = array.reshape(-1)
            for start in range(0, flat.size, _PART):
                self._look(flat[start : start + _PART])

    def _look(self, part: NDArray[Any]) -> None:
        tiny = np.finfo(part.dtype).tiny if part.dtype.kind == "f" else 2.0**-126  # bfloat16: that of float32
        values = part.astype(np.float64)
        self._counts["nan"] += int(np.isnan(values).sum())
        self._counts["infinite"] += int(np.isinf(values).sum())
        values = values[np.isfinite(values)]
        if not values.size:
            return
        self._low, self._high = min(self._low, float(values.min())), max(self._high, float(values.max()))
        sizes = np.abs(values[values != 0.0])
        if sizes.size:
            self._smallest = min(self._smallest, float(sizes.min()))
            self._counts["denormal"] += int((sizes < float(tiny)).sum())
            self._counts["below_fp16"] += int((sizes < _FP16_SMALLEST).sum())
            self._counts["above_fp16"] += int((sizes > _FP16_LARGEST).sum())

    def facts(self) -> dict[str, Any]:
        """Return what was counted, JSON values only.

        `tensors`, `elements`, `bytes`, the same under `dtypes` by type; of float weights `min` and `max`, `smallest`
        (of those that are not 0, without its sign), and how many are `denormal` in their type, `nan`, `infinite`,
        smaller than float16 can hold (`below_fp16`, 2^-24) or larger (`above_fp16`, 65504).
        """
        known = np.isfinite(self._low)
        return {
            **{name: sum(kind[name] for kind in self._kinds.values()) for name in ("tensors", "elements", "bytes")},
            "dtypes": self._kinds,
            "min": self._low if known else None,
            "max": self._high if known else None,
            "smallest": self._smallest if np.isfinite(self._smallest) else None,
            **self._counts,
        }
