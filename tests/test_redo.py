"""--redo: chunks are chosen by their metrics, dropped, and computed again; nothing else is."""

import pytest
import yaml
from conftest import fusecube, specification

from flows.prepare import prepare
from flows.road import dropped, planned
from flows.spec import validate
from pipeline.conditions import condition
from pipeline.store import Store
from pipeline.summary import digest

CONDITION = "day == '2024-06-06' and valid_fraction > 0"


def written(store):
    """Records by name, with when they were written."""
    return {p.relative_to(store.path): p.stat().st_mtime_ns for p in (store.path / "ledger").rglob("*.json")}


@pytest.fixture
def both_days(archive, tmp_path, go):
    """A specification of two days, four chunks each, and its finished store."""
    raw = specification(archive, tmp_path / "a.zarr", time="2024-06")
    store, _ = go(raw)
    return raw, store


def test_what_matches_is_computed_again_and_nothing_else(both_days, tmp_path):
    raw, store = both_days
    before, whole = written(store), digest(store)
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(raw))
    found = fusecube("run", path, "--redo", CONDITION)
    assert found.returncode == 0, found.stderr
    assert f"4 chunks where {CONDITION}, to be computed again" in found.stdout
    assert "4 chunks to do, 4 done" in found.stdout
    after = written(store)
    assert after.keys() == before.keys()
    changed = {name for name in after if after[name] != before[name]}
    assert {name.parts[1] for name in changed} == {"2024-06-06"}
    assert len(changed) == 4
    assert digest(Store(store.path)) == whole


def test_plan_says_how_many_and_drops_none(both_days, tmp_path):
    raw, store = both_days
    before = written(store)
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(raw))
    found = fusecube("plan", path, "--redo", CONDITION)
    assert found.returncode == 0, found.stderr
    assert f"4 chunks where {CONDITION} would be computed again" in found.stdout
    assert written(store) == before


def test_what_was_dropped_is_to_do_for_a_plain_run(both_days, go):
    raw, _ = both_days
    prepared = prepare(validate(raw))
    assert dropped(prepared, condition(CONDITION, prepared.job.model.output.bands)) == 4
    job, work = planned(prepared)  # as if killed here
    assert (len(work.todo), work.done) == (4, 4)
    store, result = go(raw)
    assert (result.computed, result.held) == (4, 4)


def test_days_that_are_not_asked_for_are_left_alone(both_days):
    raw, store = both_days
    prepared = prepare(validate(raw | {"time": "2024-06-01"}))
    every = condition("valid_fraction >= 0", prepared.job.model.output.bands)
    assert dropped(prepared, every) == 4
    assert {record.day.day for record in store.ledger.records()} == {6}


@pytest.mark.parametrize(
    ("text", "code", "sentence"),
    [
        ("valid_fraction < 0", 0, "no chunk where valid_fraction < 0"),
        ("valid_fracton < 0.5", 2, "there is no metric 'valid_fracton': did you mean 'valid_fraction'?"),
    ],
)
def test_a_condition_that_chooses_nothing(both_days, tmp_path, text, code, sentence):
    raw, store = both_days
    before = written(store)
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(raw))
    found = fusecube("run", path, "--redo", text)
    assert found.returncode == code, found.stderr
    assert sentence in found.stdout + found.stderr
    assert written(store) == before


@pytest.mark.parametrize("change", ["cluster.memory=50 MB", "cluster=tcp://127.0.0.1:1"])
def test_a_run_that_is_refused_has_dropped_nothing(both_days, tmp_path, change):
    raw, store = both_days
    before = written(store)
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(raw))
    found = fusecube("run", path, "--redo", CONDITION, "--set", change)
    assert found.returncode == 2, found.stderr
    assert written(store) == before


def test_a_store_that_is_not_there_is_not_made_for_it(archive, tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(specification(archive, tmp_path / "a.zarr")))
    found = fusecube("run", path, "--redo", "valid_fraction < 0.5")
    assert found.returncode == 2
    assert "whose chunks --redo could choose from" in found.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["spec.yaml"]
