"""Conditions on chunks: what holds, and that nothing but the small language is read."""

from dataclasses import replace
from datetime import date

import pytest

from pipeline.conditions import LONGEST, condition
from pipeline.errors import Refused
from pipeline.lattice import Box
from pipeline.metrics import BandSums, PairSums
from pipeline.record import Failure, Record

BANDS = ("B02", "B8A")


def record(**changes: object) -> Record:
    """A chunk of 100 pixels: 30 without a value, 20 under clouds; B02 is 0.2 on average, and 0.01 above its measurement."""
    values = {
        "key": "0" * 16, "day": date(2024, 6, 5), "box": Box(0, 0, 1, 1), "pixels": 100, "scenes": (), "weights": "",
        "readings": {}, "failures": (Failure("a", "B02", "the file is missing"),), "shifts": {},
        "flags": {"NODATA": 30, "CLOUD": 20}, "bands": {"B02": BandSums(2, 40000, 1000000000), "B8A": BandSums()},
        "consistency": {"B02": PairSums(2, 42000, 40000, 884000000, 802000000, 842000000)}, "before": {}, "angles": {},
        "seconds": {"read": 1.5, "model": 2.5}, "peak_memory": 10**9, "digest": "", "software": "",
    }  # fmt: skip
    fields = {name: 0 for name in Record.__dataclass_fields__ if name not in values}
    return replace(Record(**values, **fields), **changes)  # type: ignore[arg-type]


HOLD = [
    "valid_fraction == 0.7",
    "cloud_fraction > 0.1 and cloud_fraction < 0.3",
    "0.1 < cloud_fraction < 0.3",
    "seconds == 4",
    "peak_memory / 1000000 >= 1000",
    "failures > 0 or mean[B02] > 5",
    "not (failures == 0)",
    "pixels != 99",
    'day < "2024-06-10"',
    "day == '2024-06-05'",
    "mean[B02] > 0.19999 and mean['B02'] < 0.20001",
    "std[B02] > 0",
    "-consistency_bias[B02] < -0.0099",
    "consistency_rmse[B02] - 0.01 < 1e-9",
    "consistency_correlation[B02] == 1",
    "(valid_fraction + cloud_fraction) * 2 > 1.7",
]
FAIL = [
    "valid_fraction < 0.5",
    "0.3 < cloud_fraction < 0.9",
    "day > '2024-06-05'",
    "mean[B8A] < 1",
    "mean[B8A] != 1",
    "mean[B8A] == mean[B8A]",
    "rmse_before_projection[B02] >= 0",
    "1 / (failures - 1) > 0",
    "1 / (failures - 1) < 0",
]


@pytest.mark.parametrize("text", HOLD)
def test_holds(text):
    assert condition(text, BANDS).holds(record())


@pytest.mark.parametrize("text", FAIL)
def test_does_not_hold(text):
    assert not condition(text, BANDS).holds(record())


REFUSED = {
    "valid_fracton < 1": "there is no metric 'valid_fracton': did you mean 'valid_fraction'?",
    "men[B02] < 1": "there is no metric 'men' of a band: did you mean 'mean'?",
    "mean[B2] < 1": "the store has no band 'B2': did you mean 'B02'?",
    "mean < 1": "write mean[B02]",
    "seconds[B02] < 1": "known of the whole chunk",
    "valid_fraction": "compare it",
    "valid_fraction = 0.5": "it is no condition",
    "valid_fraction <": "it is no condition",
    "": "it is no condition",
    "day < 5": "is a number where a day belongs",
    "day < '2024-06'": "is no day",
    "day + 1 > 2": "is a day where a number belongs",
    "not valid_fraction": "is a number where a truth belongs",
    "(seconds < 1) < 2": "cannot be compared",
    "valid_fraction in (1, 2)": "cannot be part",
    "seconds is 4": "only < <=",
    "seconds < True": "is no number",
    "seconds ** 99 < 1": "cannot be part",
    "__import__('os').system('true') == 0": "cannot be part",
    "day.year == 2024": "cannot be part",
    "(lambda: 1)() == 1": "cannot be part",
    "[x for x in (1,)] == 1": "cannot be part",
    "seconds < f'{1}'": "cannot be part",
    "(seconds := 1) < 2": "cannot be part",
    "mean[B02, B8A] < 1": "cannot be part",
    "seconds < 1 if pixels else 2": "cannot be part",
    "seconds < 1j": "is no number",
    "seconds < 1; pixels > 1": "it is no condition",
    "seconds < 1\0": "it is no condition",
    "(" * 250 + "seconds" + ")" * 40: "it is no condition",
    "seconds < " + "1" * LONGEST: "at most",
}


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: text[:30])
def test_anything_else_is_refused(text):
    with pytest.raises(Refused) as found:
        condition(text, BANDS)
    assert REFUSED[text] in str(found.value)
    assert len(str(found.value).splitlines()) == 1


@pytest.mark.parametrize(
    "text", ["- " * 140 + "seconds < 1", "not " * 70 + "(seconds < 1)", "(" * 130 + "seconds < 9" + ")" * 130]
)
def test_deep_ones_are_worked_out(text):
    assert condition(text, BANDS).holds(record()) in (True, False)
