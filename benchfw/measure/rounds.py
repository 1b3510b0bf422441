"""The order of cases within each round."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_LATIN_UP_TO = 6


def orders(count: int, seed: int) -> Iterator[list[int]]:
    """Yield the order of `count` cases (at least one) for one round after the other, without end.

    Up to six cases follow balanced Latin squares (E. J. Williams, 1949), their rows and the names of the cases
    shuffled: within a square every case stands equally often in every place and after every other case. More cases
    are permuted at random.
    """
    random = np.random.default_rng([seed, count])
    while True:
        if count > _LATIN_UP_TO:
            yield [int(case) for case in random.permutation(count)]
            continue
        names = random.permutation(count)
        square = williams(count)
        for row in random.permutation(len(square)):
            yield [int(names[place]) for place in square[row]]


def williams(count: int) -> list[list[int]]:
    """Return a balanced Latin square: `count` rows, or twice as many if `count` is odd."""
    first = [0]
    for step in range(1, count):
        first.append(step // 2 + 1 if step % 2 else count - step // 2)
    rows = [[(item + shift) % count for item in first] for shift in range(count)]
    return rows if count % 2 == 0 else rows + [row[::-1] for row in rows]
