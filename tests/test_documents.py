"""Documents of a catalog: where they may come from, how long they are waited for, and what is told of bad ones."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import urllib3
from servers import Quiet, serving
from test_catalog import items_in, made, query

from flows.prepare import search
from flows.spec import validate
from pipeline.catalog import look
from pipeline.connections import Documents
from pipeline.errors import Refused

GOOD = made("S2A_1_L2A", "sentinel-2-l2a", ["red"])
SECOND = made("S2A_2_L2A", "sentinel-2-l2a", ["red"])


class Handler(Quiet):
    """Answers paths as told: a document, an address to go to instead, or never."""

    def __init__(self, *args: object, web: SimpleNamespace, **kwargs: object) -> None:
        self.web = web
        super().__init__(*args, **kwargs)

    def do_GET(self) -> None:
        """An answer."""
        self.web.asked.append(self.path)
        answer = self.web.answers.get(self.path)
        if answer == "silence":
            time.sleep(2)
        elif isinstance(answer, str):
            self.send(302, Location=answer)
        elif answer is None:
            self.send(404, self.path.encode())
        else:
            self.json(answer)


@contextmanager
def web(host: str = "127.0.0.1", **answers: object) -> Iterator[SimpleNamespace]:
    """A server of documents by name; it keeps what it was asked."""
    held = SimpleNamespace(answers={f"/{name}": answer for name, answer in answers.items()}, asked=[])
    with serving(partial(Handler, web=held), host) as held.address:
        yield held


def collection(*items: dict, **link: object) -> dict:
    """Items, and a link to the page after them."""
    return {"type": "FeatureCollection", "features": list(items), "links": [{"rel": "next", **link}] if link else []}


def names(found) -> list[str]:
    return [scene.id for scene in found.scenes]


def test_a_redirect_leads_to_no_other_private_host():
    with web("127.0.0.2", inside=collection(GOOD)) as other, web(away=f"{other.address}/inside", here="/c") as own:
        own.answers["/c"] = collection(GOOD)
        with pytest.raises(Refused, match="'127.0.0.2', a private address and not the catalog's host"):
            look(query(f"{own.address}/away"))
        assert other.asked == []
        assert names(look(query(f"{own.address}/here"))) == ["S2A_1_L2A"]


def test_a_public_name_that_leads_to_a_private_address_is_not_asked(monkeypatch):
    known = socket.getaddrinfo

    def resolved(host, *args, **kwargs):
        return known("127.0.0.1" if host == "public.example.com" else host, *args, **kwargs)

    monkeypatch.setattr("socket.getaddrinfo", resolved)
    with web(item=GOOD) as own:
        port = own.address.rpartition(":")[2]
        away = f"http://public.example.com:{port}/item"
        links = [{"rel": "item", "href": away}]
        own.answers["/c"] = {"type": "Catalog", "stac_version": "1.1.0", "id": "c", "description": "c", "links": links}
        found = look(query(f"{own.address}/c"))
        assert "the name 'public.example.com' leads to a private address" in found.refused[0]
        assert own.asked == ["/c"]
        # the user's own catalog may be inside whatever it is called
        assert names(look(query(away))) == ["S2A_1_L2A"]


def test_the_proxy_of_the_environment_is_asked(monkeypatch):
    with web() as proxy:
        proxy.answers["http://catalog.example.com/c.json"] = collection(GOOD)
        monkeypatch.setenv("http_proxy", proxy.address)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert names(look(query("http://catalog.example.com/c.json"))) == ["S2A_1_L2A"]
        assert proxy.asked == ["http://catalog.example.com/c.json"]


def test_a_server_that_never_answers_is_given_up(monkeypatch):
    monkeypatch.setattr("pipeline.stac.TIMEOUT", 0.2)
    start = time.monotonic()
    with web(c="silence") as own:
        with pytest.raises(Refused, match="the server does not answer in time"):
            look(query(f"{own.address}/c"))
        assert time.monotonic() - start < 1.9  # twice 0.2 s, and a pause; the server itself is silent for 2 s


def test_a_link_that_is_no_web_address_is_sent_by_nobody():

    asking = Documents("http://127.0.0.1/", urllib3.Retry(0), 1.0)
    for place in ("file:///etc/passwd", "ftp://e.example.com/x", "s3://bucket/x"):
        with pytest.raises(OSError, match="no web address"):
            asking.get(place)


def test_pages_are_followed_to_the_last(tmp_path):
    with web(first=collection(GOOD, href="second?token=next:1")) as own:
        own.answers["/second?token=next:1"] = collection(SECOND, href="/first")  # a circle is gone round once
        assert names(look(query(f"{own.address}/first"))) == ["S2A_1_L2A", "S2A_2_L2A"]
    (tmp_path / "second.json").write_text(json.dumps(collection(SECOND)))
    (tmp_path / "first.json").write_text(json.dumps(collection(GOOD, href="./second.json")))
    assert names(look(query(str(tmp_path / "first.json")))) == ["S2A_1_L2A", "S2A_2_L2A"]


@pytest.mark.parametrize(
    ("link", "why"),
    [
        ({"href": "missing?token=s3cr3t"}, "what follows page 1 of the STAC catalog is not read"),
        ({"href": "first", "method": "POST"}, "it is no plain link"),
        ({"href": "http://127.0.0.2/x?token=s3cr3t"}, "'127.0.0.2', a private address"),
        ({"href": 5}, "it is no plain link"),
    ],
)
def test_a_page_that_is_not_read_is_told(link, why):
    with web(first=collection(GOOD, **link)) as own:
        found = look(query(f"{own.address}/first"))
    assert names(found) == ["S2A_1_L2A"]
    assert why in found.refused[0]
    assert "s3cr3t" not in found.refused[0]


def test_no_more_pages_than_can_be_read_are_followed(monkeypatch):
    monkeypatch.setattr("pipeline.stac.MOST_PAGES", 2)
    with web(a=collection(GOOD, href="b"), b=collection(SECOND, href="c"), c=collection()) as own:
        found = look(query(f"{own.address}/a"))
        assert own.asked == ["/a", "/b"]
    assert "there are more than 2 pages" in found.refused[0]


@pytest.mark.parametrize("address", ["", " "])
def test_an_empty_address_is_not_the_current_folder(tmp_path, monkeypatch, address):
    items_in(tmp_path / "items.json", [GOOD])
    monkeypatch.chdir(tmp_path)
    assert names(look(query("."))) == ["S2A_1_L2A"]
    with pytest.raises(Refused, match="catalog: is empty"):
        look(query(address))


def test_a_document_that_nobody_asked_for_refuses_no_scene(tmp_path):
    bad = {**SECOND, "geometry": 5, "properties": None}
    asked = query(items_in(tmp_path / "items.json", [GOOD, bad]), scenes=("S2A_1_L2A",))
    assert [scene.id for scene in look(asked).usable(asked)] == ["S2A_1_L2A"]
    assert look(asked).refused == ()
    for scenes in (("S2A_2_L2A",), ("S2A_1_L2A", "S2A_2_L2A")):
        other = replace(asked, scenes=scenes)
        with pytest.raises(Refused, match="item S2A_2_L2A of the STAC catalog is not valid"):
            look(other).usable(other)


def test_an_item_cut_short_is_named_and_refuses_only_what_may_be_it(tmp_path):
    (tmp_path / "one.json").write_text(json.dumps(GOOD))
    (tmp_path / "two.json").write_text(json.dumps(SECOND)[:200])
    (tmp_path / "notes.json").write_text("{}")
    asked = query(str(tmp_path))
    found = look(asked)
    assert names(found) == ["S2A_1_L2A"]
    assert [text.split()[0] for text in found.refused] == ["two.json"]
    one, two = replace(asked, scenes=("S2A_1_L2A",)), replace(asked, scenes=("S2A_2_L2A",))
    assert [scene.id for scene in look(one).usable(one)] == ["S2A_1_L2A"]
    with pytest.raises(Refused, match=r"two\.json of the STAC catalog cannot be read"):
        look(two).usable(two)


HOSTILE = (
    "/home/s3cr3t/passwd.tif",
    "file:///home/s3cr3t/passwd.tif",
    "https://user:s3cr3t@e.example.com/x.tif?token=s3cr3t",
    "https://e.example.com/x.tif?access-token=s3cr3t",
    "http://10.0.0.8/s3cr3t/x.tif?sig=s3cr3t",
    "user:s3cr3t@e.example.com/x.tif?token=s3cr3t",
)


def test_what_is_kept_of_refused_items_names_no_folder_and_no_secret(tmp_path):
    folder = tmp_path / "s3cr3t place"
    folder.mkdir()
    for number, href in enumerate(HOSTILE):
        item = made(f"S2A_{number}_L2A", "sentinel-2-l2a", ["red"])
        item["assets"]["red"]["href"] = href
        (folder / f"{number}.json").write_text(json.dumps(item))
    (folder / "valid.json").write_text(json.dumps(GOOD | {"id": "S2A_good_L2A"}))
    (folder / "broken.json").write_text("{")
    (folder / "odd.json").write_text(json.dumps(SECOND | {"id": "odd", "properties": None}))
    (folder / "loop.json").symlink_to(folder / "loop.json")
    (folder / "gone.json").symlink_to(folder / "gone.json.really")
    for found in (look(query(str(folder))), look(query(catalog_of(folder)))):
        assert names(found) == ["S2A_good_L2A"]
        told = "\n".join(found.refused)
        assert len(found.refused) == len(HOSTILE) + 4
        assert all(
            word in told for word in ("broken.json", "loop.json", "gone.json", "item odd", "S2A_0_L2A", "passwd.tif")
        )
        assert "s3cr3t" not in told
        assert str(tmp_path) not in told


def catalog_of(folder: Path) -> str:
    """A catalog of everything in a folder."""
    links = [{"rel": "item", "href": f"./{path.name}"} for path in sorted(folder.glob("*.json"))]
    catalog = {"type": "Catalog", "stac_version": "1.1.0", "id": "c", "description": "c", "links": links}
    (folder / "catalog.json").write_text(json.dumps(catalog))
    return str(folder / "catalog.json")


def test_an_error_tells_the_catalogs_address_without_its_secrets():
    with web(**{"empty?token=s3cr3t": collection(), "odd?token=s3cr3t": {"type": "x"}}) as own:
        place = own.address.replace("//", "//user:s3cr3t@")
        for name, said in (
            ("gone", r"no usable STAC catalog .*\(the server answers 404\)"),
            ("odd", "another kind"),
            ("empty", "has no scene"),
        ):
            raw = {
                "flow": "sharpen",
                "catalog": f"{place}/{name}?token=s3cr3t",
                "area": {"tile": "33UVT"},
                "time": "2024",
            }
            with pytest.raises(Refused, match=said) as told:
                search(validate(raw | {"out": "x.zarr"}))
            assert f"{own.address}/{name}" in str(told.value)
            assert "s3cr3t" not in str(told.value)
