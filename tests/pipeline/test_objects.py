"""Objects of a store are the same in a folder and in a bucket: whole or not there, and errors are sentences."""

import os
import threading

import pytest

from pipeline.errors import Refused, StoreFull
from pipeline.objects import RETRIES, Objects, named


@pytest.fixture
def objects(place) -> Objects:
    return Objects.at(place)


def test_what_is_put_is_there_and_what_is_deleted_is_not(objects):
    assert objects.bare()
    assert (objects.get("a/b.json"), objects.exists("a/b.json"), list(objects.entries(""))) == (None, False, [])
    objects.put("a/b.json", b"one")
    objects.put("a/b.json", b"other")
    assert (objects.get("a/b.json"), objects.exists("a/b.json"), objects.bare()) == (b"other", True, False)
    assert objects.bare("a")
    assert not objects.bare("a/b.json", "b")
    assert not objects.exists("a"), "a part of a name is no object"
    objects.delete(["a/b.json", "a/never.json"])
    assert objects.get("a/b.json") is None


def test_listings_hold_whole_parts_of_names(objects):
    for key in ("ledger/1/x.json", "ledger/2/y.json", "ledgers/z.json"):
        objects.put(key, b"12345")
    assert sorted(e.key for e in objects.entries("ledger")) == ["ledger/1/x.json", "ledger/2/y.json"]
    assert {e.size for e in objects.entries("")} == {5}
    assert [e.key for e in objects.within("ledger").entries("1")] == ["1/x.json"]
    assert objects.within("ledger").where == f"{objects.where}/ledger"
    objects.clear("ledger")
    assert [e.key for e in objects.entries("")] == ["ledgers/z.json"]


def test_of_several_that_create_at_once_one_does(objects):
    won, start = [], threading.Barrier(8)

    def create(index: int) -> None:
        start.wait()
        if objects.create("lease/1", b"%d" % index):
            won.append(index)

    threads = [threading.Thread(target=create, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert objects.get("lease/1") == b"%d" % won[0]


def test_an_object_whose_answer_was_lost_was_created_all_the_same(bucket):
    objects = Objects.at(bucket.at("a.zarr"))
    objects.put("lease/1", b"mine")  # it came through, the answer did not, and the client asks again
    assert objects.create("lease/1", b"mine")
    assert not objects.create("lease/1", b"another's")


def test_many_are_read_in_order_and_copied(objects):
    for index in range(70):
        objects.put(f"a/{index}", b"%d" % index)
    keys = [f"a/{index}" for index in reversed(range(71))]
    assert list(objects.each(keys)) == [(key, key[2:].encode() if key != "a/70" else None) for key in keys]
    objects.copy((f"a/{index}", f"b/{index + 1}") for index in range(70))
    assert {objects.get(f"b/{index + 1}") == b"%d" % index for index in range(70)} == {True}


def test_a_copy_is_not_the_original(objects):
    objects.put("a", b"one")
    objects.copy([("a", "b")])
    objects.put("a", b"two")
    assert objects.get("b") == b"one"


def test_a_full_disk_is_told_as_that(tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    if os.system(f"mount -t tmpfs -o size=64k none {small} 2>/dev/null"):
        pytest.skip("no small file system can be mounted here")
    try:
        objects = Objects.at(small / "a.zarr")
        objects.put("kept", b"1")
        with pytest.raises(StoreFull, match="no space is left"):
            objects.put("large", b"1" * 100_000)
        assert (objects.get("kept"), objects.exists("large")) == (b"1", False)
    finally:
        os.system(f"umount {small}")


@pytest.mark.parametrize("status", ["507 Insufficient Storage", "500 Internal Server Error", "503 Slow Down"])
def test_a_server_that_fails_for_good_is_told_in_one_line(bucket, status, monkeypatch):
    monkeypatch.setitem(RETRIES, "max_retries", 1)
    objects = Objects.at(bucket.at("a.zarr"))
    bucket.fail(status)
    for asked in (
        lambda: objects.put("x", b""), lambda: objects.get("x"), lambda: objects.create("x", b""),
        lambda: objects.delete(["x"]), lambda: list(objects.entries("")),
    ):  # fmt: skip
        with pytest.raises(StoreFull if status.startswith("507") else OSError) as failed:
            asked()
        assert "\n" not in str(failed.value)
        assert objects.where in str(failed.value)
        assert failed.value.__cause__ is None, "what the library says of a request goes no further"


def test_a_server_that_recovers_is_asked_again(bucket):
    objects = Objects.at(bucket.at("a.zarr"))
    bucket.fail("503 Slow Down", times=2)
    objects.put("x", b"1")
    assert len(bucket.asked) == 3
    assert objects.get("x") == b"1"


def test_what_a_server_says_of_a_signature_is_not_repeated():
    said = "status code: 403 <Code>SignatureDoesNotMatch</Code><AWSAccessKeyId>AKIA123</AWSAccessKeyId>"
    assert "AKIA123" not in str(named(OSError(said), "s3://bucket/a.zarr"))
    assert "AKIA123" not in str(named(OSError(said.replace("403", "400")), "s3://bucket/a.zarr"))


def test_folders_that_cannot_be_written_are_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file/a.zarr") as failed:
        Objects.at(tmp_path / "file" / "a.zarr").put("x", b"")
    assert "\n" not in str(failed.value)


@pytest.mark.parametrize(
    "where", ["gs://b/a.zarr", "s3:/b/a.zarr", "s3://", "https://user:word@x/a", "s3://k:word@b/a"]
)
def test_other_addresses_are_refused(where):
    with pytest.raises(Refused) as refused:
        Objects.at(where)
    assert "word" not in str(refused.value)


def test_endings_of_addresses_do_not_matter(bucket):
    assert Objects.at(f"{bucket.at('a.zarr')}/").where == bucket.at("a.zarr")
    assert Objects.at(bucket.at("runs/a.zarr")).name == "a.zarr"
