"""The fast way to write small frames gives what pandas gives, for any frame."""

import datetime
import random
import unittest
from typing import Any, Callable, Dict, List

import numpy as np
import pandas as pd

from batchmill_host.frame_text import small_frame_text

_ALPHABET = ["a", "b", "1", ".", " ", ",", '"', "'", "\n", "\r", "\t", "é", "\u2028", "\\", ";", "nan", "🙂", "\0"]


def _word(rng: random.Random) -> str:
    return "".join(rng.choice(_ALPHABET[:-1]) for _ in range(rng.randrange(6)))


def _float(rng: random.Random) -> float:
    return rng.choice([float("nan"), float("inf"), float("-inf"), 0.0, -0.0, 1e16, 1e-5, rng.random(), rng.random() * 10 ** rng.randrange(-30, 30), float(rng.randrange(1000))])


# Which columns the fast way must take itself: without this, a change that hands all to pandas would pass.
_FAST: Dict[str, Callable[[random.Random, int], Any]] = {
    "float64": lambda rng, n: np.array([_float(rng) for _ in range(n)]),
    "float32": lambda rng, n: np.clip([_float(rng) for _ in range(n)], -3e38, 3e38).astype(np.float32),
    "float16": lambda rng, n: np.clip([_float(rng) for _ in range(n)], -6e4, 6e4).astype(np.float16),
    "int64": lambda rng, n: np.array([rng.randrange(-(2**63), 2**63) for _ in range(n)], dtype=np.int64),
    "uint8": lambda rng, n: np.array([rng.randrange(256) for _ in range(n)], dtype=np.uint8),
    "bool": lambda rng, n: np.array([rng.random() < 0.5 for _ in range(n)], dtype=bool),
    "text": lambda rng, n: pd.Series([_word(rng) for _ in range(n)], dtype=object),
    "text or missing": lambda rng, n: pd.Series([rng.choice([_word(rng), None, float("nan")]) for _ in range(n)], dtype=object),
}
_SLOW: Dict[str, Callable[[random.Random, int], Any]] = {
    "datetime": lambda rng, n: pd.to_datetime([rng.choice([None, datetime.datetime(2024, 1, 2, 3, rng.randrange(60))]) for _ in range(n)]),
    "category": lambda rng, n: pd.Categorical([rng.choice(["a b", "c", None]) for _ in range(n)]),
    "nullable": lambda rng, n: pd.array([rng.choice([1, None]) for _ in range(n)], dtype="Int64"),
    "string": lambda rng, n: pd.array([rng.choice([_word(rng), None]) for _ in range(n)], dtype="string"),
    "mixed": lambda rng, n: pd.Series([rng.choice([1, 2.5, np.float32(0.1), None, "x y", [1, 2], {"a": 1}, True, pd.NA, pd.NaT]) for _ in range(n)], dtype=object),
    "complex": lambda rng, n: np.array([complex(rng.randrange(3), 1) for _ in range(n)]),
    "timedelta": lambda rng, n: pd.to_timedelta([rng.randrange(10**6) for _ in range(n)], unit="s"),
}


class SmallFrames(unittest.TestCase):
    def _check(self, kinds: List[str], rng: random.Random, rows: int, separator: str) -> bool:
        made = {**_FAST, **_SLOW}
        frame = pd.concat([pd.Series(made[kind](rng, rows), name=rng.choice(["x", "y", 3])) for kind in kinds], axis=1)
        frame.index = pd.Index(rng.sample(range(1000), rows))
        found = small_frame_text(frame, separator)
        if found is not None:
            wanted = frame.to_csv(sep=separator, header=False, index=False)
            self.assertEqual(found, wanted, f"columns {kinds}, {rows} rows")
        return found is not None

    def test_random_frames_are_what_pandas_writes(self) -> None:
        rng = random.Random(20_240_101)
        fast = 0
        for round_number in range(1_500):
            pool = list(_FAST) if round_number % 3 else list({**_FAST, **_SLOW})
            kinds = [rng.choice(pool) for _ in range(rng.randrange(1, 5))]
            taken = self._check(kinds, rng, rng.randrange(1, 8), rng.choice([" ", ","]))
            self.assertEqual(taken, all(kind in _FAST for kind in kinds), kinds)
            fast += taken
        self.assertGreater(fast, 1_000)

    def test_frames_without_rows_or_columns_and_long_ones_are_left_to_pandas(self) -> None:
        self.assertIsNone(small_frame_text(pd.DataFrame(index=[0, 1]), " "))
        self.assertIsNone(small_frame_text(pd.DataFrame({"a": range(1_001)}), " "))
        self.assertEqual(small_frame_text(pd.DataFrame({"a": range(1_000)}), " "), pd.DataFrame({"a": range(1_000)}).to_csv(header=False, index=False))

    def test_a_subclass_of_text_is_left_to_pandas(self) -> None:
        self.assertIsNone(small_frame_text(pd.DataFrame({"a": [np.str_("x")]}), " "))


if __name__ == "__main__":
    unittest.main()
