"""Watching a run: progress as data, lines and logs that say what happened, and status from elsewhere."""

import io
import json
import subprocess
import sys
from datetime import date

import pytest
from conftest import specification
from rich.console import Console

import flows.terminal as terminal
import pipeline.standing
from flows.logs import Log, logging_to
from pipeline.errors import Refused, one_line
from pipeline.events import Done, Trouble
from pipeline.lattice import Box
from pipeline.lease import take
from pipeline.record import Failure
from pipeline.standing import standing
from pipeline.watch import Progress, Watch

MISSING = Failure("scene", "B05", "the file is missing")


def done(number: int = 0, **changes: object) -> Done:
    """A chunk that took 1 s to read and 3 s in the model."""
    values = {
        "task": f"2024-06-01 ({number}, 0)", "key": f"{number:016x}", "day": date(2024, 6, 1),
        "box": Box(number, 0, number + 1, 1), "pixels": 100, "valid": 90, "held": False, "failures": (),
        "seconds": {"read": 1.0, "model": 3.0}, "turn": 3.1, "peak_memory": 5 * 10**8, "worker": "tcp://127.0.0.1:1",
    }  # fmt: skip
    return Done(**values | changes)  # type: ignore[arg-type]


class Clock:
    """Seconds that pass when told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_progress_counts_what_happened_and_tells_the_time_left():
    clock = Clock()
    watch = Watch("run", "fusing", total=10, before=5, clock=clock)
    assert (watch.now.finished, watch.now.rate, watch.now.left, watch.now.slowest) == (0, 0.0, None, None)
    clock.now += 2
    watch.hear(done(1))
    assert watch.hear(done(2, failures=(MISSING,), worker="tcp://127.0.0.1:2")) == (MISSING,)
    assert watch.hear(done(3, failures=(MISSING,))) == (), "a file that cannot be read is news once"
    watch.hear(done(4, held=True, seconds={}, worker="tcp://127.0.0.1:9"))
    watch.hear(Trouble("2024-06-01 (5, 0)", "out of luck"))
    now = watch.now
    assert (now.computed, now.held, now.troubles, now.missed, now.finished) == (3, 1, 1, 1, 5)
    assert (now.rate, now.left) == (2.5, 2.0), "5 chunks in 2 s, 5 more to come"
    assert now.slowest == ("model", 0.75)
    assert (now.workers, now.peak_memory, now.valid, now.pixels) == (2, 5 * 10**8, 270, 300)
    clock.now += 8
    assert watch.now.rate == 0.5, "the rate falls while nothing comes"


def test_the_rate_is_that_of_the_latest_chunks():
    clock = Clock()
    watch = Watch("run", "fusing", total=1000, clock=clock)
    for step in (10.0, 0.5):
        for number in range(300):
            clock.now += step
            watch.hear(done(number))
    assert watch.now.rate == 2.0


def test_the_last_chunk_leaves_no_time():
    watch = Watch("run", "fusing", total=1, clock=Clock())
    watch.hear(done())
    assert watch.now.left == 0.0


def lines_of(watch: Watch, monkeypatch: pytest.MonkeyPatch, chunks: int, step: float) -> list[str]:
    """What a run says to a file while chunks come."""
    said, seconds = io.StringIO(), [0.0]
    monkeypatch.setattr(terminal, "err", Console(file=said, width=40))
    monkeypatch.setattr(terminal.time, "monotonic", lambda: seconds[0])
    with terminal.following("fusing", lambda: watch.now) as tell:
        for number in range(chunks):
            seconds[0] += step
            watch.hear(done(number))
            tell()
    return said.getvalue().splitlines()


def test_where_there_is_no_terminal_a_line_comes_every_20th_of_the_way(monkeypatch):
    lines = lines_of(Watch("run", "fusing", total=400), monkeypatch, 400, step=0.01)
    assert len(lines) == 20
    assert lines[0].startswith("fusing: 20 of 400 chunks, ")
    assert lines[-1].startswith("fusing: 400 of 400 chunks, ")
    assert "slowest model (75%)" in lines[0]


def test_where_there_is_no_terminal_a_line_comes_every_ten_seconds(monkeypatch):
    lines = lines_of(Watch("run", "fusing", total=10**6), monkeypatch, 30, step=1.0)
    assert [line.split(",")[0] for line in lines] == [f"fusing: {n} of 1000000 chunks" for n in (10, 20, 30)]


def test_log_is_json_line_by_line_with_the_key_of_each_chunk(tmp_path):
    path = tmp_path / "a" / "run.jsonl"
    with logging_to(path, "abc-1") as log:
        log.write("run", software="0")
        log.hear(done(7, failures=(MISSING,)))
        assert len(path.read_bytes().splitlines()) == 2, "a line is there as soon as it is written"
        log.hear(Trouble("2024-06-01 (5, 0)", "out of luck"))
        log.missed((MISSING,))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["event"] for line in lines] == ["run", "chunk", "trouble", "missed"]
    assert {line["run"] for line in lines} == {"abc-1"}
    assert [line["level"] for line in lines] == ["info", "warning", "error", "warning"]
    chunk = lines[1]
    assert (chunk["key"], chunk["day"], chunk["box"]) == (f"{7:016x}", "2024-06-01", [7, 0, 8, 1])
    assert chunk["failures"] == [{"scene": "scene", "band": "B05", "reason": "the file is missing"}]
    assert (chunk["turn"], chunk["seconds"]["model"], chunk["peak_memory"]) == (3.1, 3.0, 5 * 10**8)
    assert chunk["time"].endswith("+00:00")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (PermissionError(13, "Permission denied", "/home/a/runs/a.zarr"), "[Errno 13] Permission denied: '…/a.zarr'"),
        (OSError("https://host/a/b.tif answers 404"), "https://host/a/b.tif answers 404"),
        (
            OSError("the store s3://bucket/a/b.zarr\n cannot be reached"),
            "the store s3://bucket/a/b.zarr cannot be reached",
        ),
        (ValueError(), "ValueError"),
    ],
)
def test_why_a_chunk_failed_names_no_folder(error, told):
    assert one_line(error) == told


@pytest.mark.parametrize(
    "left", [b"", b'{"event": "whole"}\n', b'{"event": "whole"}\n{"ti', b'{"time": ' + b"1" * 99999]
)
def test_log_goes_on_after_whatever_was_left(tmp_path, left):
    path = tmp_path / "run.jsonl"
    path.write_bytes(left)
    with logging_to(path, "abc-2") as log:
        log.write("run")
    events = [json.loads(line)["event"] for line in path.read_text().splitlines()]
    assert events == ["whole"] * left.count(b"whole") + ["run"]


@pytest.mark.parametrize("other", [b"flow: sharpen", b"a: 1\nb: 2", b'{"type": "FeatureCollection"}'])
def test_a_file_that_is_no_log_is_left_alone(tmp_path, other):
    path = tmp_path / "my.yaml"
    path.write_bytes(other)
    with pytest.raises(Refused, match="is not a log of fusecube"), logging_to(path, "abc"):
        pass
    assert path.read_bytes() == other


def test_log_that_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(Refused, match="name another file with --log"), logging_to(tmp_path, "abc"):
        pass


def test_a_log_that_takes_no_more_does_not_end_the_run(capsys):
    with open("/dev/full", "ab", buffering=0) as full:
        log = Log(full, "abc")
        log.write("run")
        log.write("run")
    assert capsys.readouterr().err.count("the log takes no more lines") == 1


def test_progress_is_kept_in_the_store_now_and_then_and_at_the_end(archive, tmp_path, go):
    store, _ = go(specification(archive, tmp_path / "a.zarr"))
    clock = Clock()
    watch = Watch("run", "fusing", 10, objects=store.objects, clock=clock)
    kept = []
    for number in range(10):
        watch.hear(done(number))
        clock.now += 2
        kept.append(Progress.read(store.objects).computed)
    assert kept == [1, 1, 1, 4, 4, 4, 7, 7, 7, 10]
    assert not Progress.read(store.objects).ended
    watch.end()
    assert Progress.read(store.objects) == watch.now
    assert watch.now.ended


def test_standing_counts_what_is_there_and_tells_of_a_run(archive, tmp_path, go, monkeypatch):
    store, _ = go(specification(archive, tmp_path / "a.zarr", time="2024-06"))
    found = standing(store)
    assert (found.complete, found.done, found.expected, found.running, found.stopped) == (True, 8, 8, False, False)
    first = found.days[0]
    assert first.valid == 1.0
    assert first.cloud is not None
    monkeypatch.setattr(pipeline.standing, "READ", 7)
    listed = standing(store)
    assert (listed.done, listed.days[0].valid, listed.complete) == (8, None, True), "many chunks are counted by listing"
    record = next(store.ledger.records())
    store.ledger.drop(record.day, record.box)
    with take(store.objects, {}, wait=False):
        found = standing(store)
        assert (found.complete, found.done, found.running, found.stopped) == (False, 7, True, False)
        plain = found.plain()
        assert plain["running"]["since"] <= plain["running"]["heard"]
    assert not standing(store).running
    assert json.loads(json.dumps(plain))["days"][0]["done"] == 3


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from flows.cli import app; app(['--help'], standalone_mode=False); "
        "heavy = {'torch', 'distributed', 'dask', 'zarr', 'numpy', 'rasterio', 'odc', 'pydantic', 'obstore', 'xarray'}; "
        "print('heavy:', sorted(heavy & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "heavy: []" in found.stdout, found.stdout + found.stderr
