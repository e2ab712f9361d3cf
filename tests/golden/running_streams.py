"""The 21 streams on which running statistics are judged, with their float64 truth.

    for stream in streams():
        statistics = ...                      # fresh, or resumed from stream.resume = (mean, var, count)
        for batch in stream.batches(): statistics.update(batch)
        mean, var = stream.truth()            # population moments of everything fed, float64, two passes

Errors: mean in units of the true standard deviation, variance relative; where the true variance is 0 both are absolute
and the unit is 1.  NumPy arrays of the dtype named; bfloat16 is to be made by the caller from float32 (`cast`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

D = 8
Batches = Callable[[np.random.Generator], Iterator[np.ndarray]]


@dataclass(frozen=True)
class Stream:
    name: str
    make: Batches
    cast: str = "float32"
    resume: tuple[float, float, float] | None = None

    def batches(self) -> Iterator[np.ndarray]:
        dtype = "float32" if self.cast == "bfloat16" else self.cast
        for batch in self.make(np.random.default_rng(0)):
            yield batch.astype(dtype)

    def truth(self, cast: Callable[[np.ndarray], np.ndarray] = lambda x: x) -> tuple[np.ndarray, np.ndarray]:
        """Moments of the values as fed; for bfloat16 pass the rounding that the caller applied."""
        x = np.concatenate([np.asarray(cast(b), np.float64) for b in self.batches()])
        mean, var, count = x.mean(0), x.var(0), float(len(x))
        if self.resume is None:
            return mean, var
        mean_0, var_0, count_0 = self.resume
        total, delta = count_0 + count, mean - mean_0
        var = (var_0 * count_0 + var * count + delta**2 * count_0 * count / total) / total
        return mean_0 + delta * count / total, var


def normal(mean: float, std: float, n_samples: int, batch: int) -> Batches:
    return lambda rng: (mean + std * rng.standard_normal((batch, D)) for _ in range(n_samples // batch))


def mixed_sizes(rng: np.random.Generator) -> Iterator[np.ndarray]:
    for size in rng.choice([1, 2, 3, 17, 256, 4096, 65536], 80, p=[0.2, 0.2, 0.2, 0.2, 0.1, 0.05, 0.05]):
        yield rng.normal(0, 3) + rng.standard_normal((int(size), D))


def streams() -> list[Stream]:
    return [
        Stream("standard normal", normal(0, 1, 200_000, 64)),
        Stream("mean 1e6, std 1, batches of 64", normal(1e6, 1, 200_000, 64)),
        Stream("mean 1e6, std 1, batches of 4096", normal(1e6, 1, 819_200, 4096)),
        Stream("mean 1e3, std 0.1", normal(1e3, 0.1, 200_000, 64)),
        Stream("mean and std 1e-6", normal(1e-6, 1e-6, 200_000, 64)),
        Stream("std 1e-3, the first 1024 samples", normal(0, 1e-3, 1024, 64)),
        Stream("constant 3.7", lambda rng: (np.full((64, D), 3.7) for _ in range(200))),
        Stream("one row at a time", normal(5, 1, 60_000, 1)),
        Stream("resumed at 1e8, one row at a time", normal(6, 1, 40_000, 1), resume=(5.0, 1.0, 1e8)),
        Stream("resumed at 2^24, one row at a time", normal(6, 1, 40_000, 1), resume=(5.0, 1.0, 2.0**24)),
        Stream("resumed at 1e8, mean 100 moving to 110", normal(110, 1, 1_280_000, 64), resume=(100.0, 1.0, 1e8)),
        Stream("batches of 1 to 65536 with shifting means", mixed_sizes),
        Stream("two rows at a time", normal(0, 1, 40_000, 2)),
        Stream("Student t, 2.1 degrees", lambda rng: (rng.standard_t(2.1, (64, D)) for _ in range(3000))),
        Stream("lognormal, sigma 3", lambda rng: (np.exp(3 * rng.standard_normal((64, D))) for _ in range(3000))),
        Stream("float16, 100 + 20 N", normal(100, 20, 100_000, 64), "float16"),
        Stream("float16, 300 N (variance above its range)", normal(0, 300, 100_000, 64), "float16"),
        Stream("bfloat16, 10 + N", normal(10, 1, 100_000, 64), "bfloat16"),
        Stream("float64, mean 1e9", normal(1e9, 1, 100_000, 64), "float64"),
        Stream("int64, 0 to 999", lambda rng: (rng.integers(0, 1000, (64, D)) for _ in range(1000)), "int64"),
        Stream("uint8", lambda rng: (rng.integers(0, 256, (64, D)) for _ in range(1000)), "uint8"),
    ]
