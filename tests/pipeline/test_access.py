"""Which addresses may be opened, and what opening them shows."""

import socket
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.shutil import copy
from rasterio.transform import from_origin
from rasterio.vrt import WarpedVRT

from pipeline.access import open_raster, redacted, resolve, shortened, shown, split_layer
from pipeline.errors import Refused

REMOTE = "https://archive.example/stac/catalog.json"
ITEM = "https://archive.example/stac/items/one.json"
INSIDE = "http://10.0.0.5:8080/stac/catalog.json"


@pytest.fixture
def local(tmp_path):
    """Addresses of an item and of its catalog, beside which lies a file that is not theirs."""
    for folder in ("catalog/items", "private", "catalog-old"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "private/secret.tif").touch()
    (tmp_path / "catalog-old/secret.tif").touch()
    (tmp_path / "catalog/items/B02.tif").touch()
    return str(tmp_path / "catalog/items/one.json"), str(tmp_path / "catalog/catalog.json")


@pytest.mark.parametrize("href", ["B02.tif", "./B02.tif", "../items/B02.tif", "B%30%32.tif"])
def test_a_file_below_the_catalogs_folder_may_be_opened(local, href):
    item, catalog = local
    assert resolve(href, item, catalog) == str(Path(item).resolve().with_name("B02.tif"))


def test_an_absolute_address_below_the_catalogs_folder_may_be_opened(local):
    item, catalog = local
    file = Path(item).resolve().with_name("B02.tif")
    assert resolve(str(file), item, catalog) == resolve(file.as_uri(), item, catalog) == str(file)


RELATIVE = ("../../private/secret.tif", "%2e%2e/%2e%2e/private/secret.tif", "../../catalog-old/secret.tif")
ABSOLUTE = ("{outside}", "file://{outside}", "//archive.example{outside}")


@pytest.mark.parametrize("href", [*RELATIVE, *ABSOLUTE])
def test_a_file_outside_the_catalogs_folder_is_refused(local, tmp_path, href):
    with pytest.raises(Refused, match="outside the catalog's own folder"):
        resolve(href.format(outside=tmp_path / "private/secret.tif"), *local)


@pytest.mark.parametrize("target", ["private", "private/secret.tif"])
def test_a_symlink_that_leads_outside_is_refused(local, tmp_path, target):
    link = Path(local[0]).with_name("link")
    link.symlink_to(tmp_path / target)
    href = "link" if target.endswith(".tif") else "link/secret.tif"
    with pytest.raises(Refused, match="outside the catalog's own folder"):
        resolve(href, *local)


DEVICES = ("/vsicurl/https://other.example/x.tif", "x/vsizip/y.zip", "<VRTDataset></VRTDataset>", "x.tif\0.png")
SCHEMES = ("vrt://x.tif", "ftp://other.example/x.tif", "zip+https://other.example/x.zip!x.tif", "gs://bucket/x.tif")


@pytest.mark.parametrize("href", DEVICES)
@pytest.mark.parametrize("remote", [True, False])
def test_a_gdal_device_is_refused(local, href, remote):
    with pytest.raises(Refused, match="names a GDAL device"):
        resolve(href, *((ITEM, REMOTE) if remote else local))


@pytest.mark.parametrize("href", SCHEMES)
@pytest.mark.parametrize("remote", [True, False])
def test_other_schemes_are_refused(local, href, remote):
    with pytest.raises(Refused, match="is not among http, https, s3"):
        resolve(href, *((ITEM, REMOTE) if remote else local))


@pytest.mark.parametrize("href", ["file:///data/x.tif", "/data/x.tif"])
def test_a_remote_catalog_cannot_name_files_of_this_machine(href):
    with pytest.raises(Refused, match="a remote catalog cannot name files of this machine"):
        resolve(href, "items.json", REMOTE)


@pytest.mark.parametrize("href", ["https://other.example/B02.tif", "s3://bucket/B02.tif"])
def test_a_public_address_may_be_opened(local, href):
    assert resolve(href, ITEM, REMOTE) == resolve(href, *local) == href


def test_a_relative_address_is_joined_to_a_remote_item():
    folder = "https://archive.example/stac"
    assert resolve("B02.tif", ITEM, REMOTE) == f"{folder}/items/B02.tif"
    assert resolve("../B02.tif", ITEM, REMOTE) == f"{folder}/B02.tif"
    assert resolve("/data/B02.tif", ITEM, REMOTE) == "https://archive.example/data/B02.tif"


LOOPBACK = ["127.0.0.1:80", "[::1]", "localhost", "a.localhost", "localhost.", "127.1", "2130706433", "0x7f000001"]
PRIVATE = ["10.0.0.5", "192.168.1.1", "169.254.169.254", "[::ffff:10.0.0.5]", "archive.example@10.0.0.5"]


@pytest.mark.parametrize("host", [*LOOPBACK, *PRIVATE])
def test_private_hosts_are_refused(local, host):
    for base, root in ((ITEM, REMOTE), local):
        with pytest.raises(Refused, match="is a private address and not the catalog's host"):
            resolve(f"http://{host}/x.tif", base, root)


def test_a_private_host_is_refused_without_a_scheme_too():
    with pytest.raises(Refused, match="'10.0.0.5' is a private address"):
        resolve("//10.0.0.5/x.tif", ITEM, REMOTE)


def test_the_catalogs_own_private_host_is_allowed_and_no_other():
    assert resolve("B02.tif", INSIDE, INSIDE) == "http://10.0.0.5:8080/stac/B02.tif"
    with pytest.raises(Refused, match="'10.0.0.6' is a private address"):
        resolve("http://10.0.0.6:8080/stac/B02.tif", INSIDE, INSIDE)


HOSTILE = [
    *(
        "/vsicurl/http://169.254.169.254/latest/meta-data",
        "/vsis3/bucket/x.tif",
        "/vsizip//vsicurl/https://e.example/x.zip/x.tif",
    ),
    *(
        "/vsimem/x.tif",
        "/vsistdin/",
        "/vsisubfile/0_100,/etc/passwd",
        "/vsicached?file=/etc/passwd",
        "%2Fvsicurl%2Fhttp://e.example/x",
    ),
    *(
        'NETCDF:"/etc/passwd":x',
        'HDF5:"/data/x.h5"://x',
        "GTIFF_RAW:/etc/passwd",
        "vrt:///etc/passwd?bands=1",
        "WMS:https://e.example",
    ),
    *(
        "<VRTDataset rasterXSize='1'/>",
        "<GDAL_WMS></GDAL_WMS>",
        "zarr:///data/x",
        "JPEG2000:/data/x.jp2",
        "SENTINEL2_L2A:/data/x.xml",
    ),
    *(
        "PLMosaic:mosaic=x,api_key=y",
        "EEDAI:image",
        'STACIT:"https://e.example/"',
        "derived_subdataset:AMPLITUDE:/etc/passwd",
    ),
    *(
        "file:///etc/passwd",
        "/etc/passwd",
        "../../../../etc/passwd",
        "..%2f..%2f..%2fetc/passwd",
        "//etc/passwd",
        "C:\\data\\x.tif",
    ),
    *(
        "http://127.0.0.1/x.tif",
        "http://127.1/x.tif",
        "http://0/x.tif",
        "http://0.0.0.0/x.tif",
        "http://2130706433/x.tif",
    ),
    *(
        "http://0x7f.1/x.tif",
        "http://017700000001/x.tif",
        "http://[::1]/x.tif",
        "http://[::]/x.tif",
        "http://[::ffff:7f00:1]/x.tif",
    ),
    *(
        "http://[::127.0.0.1]/x.tif",
        "http://[64:ff9b::7f00:1]/x.tif",
        "http://[2002:7f00:1::]/x.tif",
        "http://[fe80::1%25eth0]/x.tif",
    ),
    *(
        "http://[fc00::1]/x.tif",
        "http://169.254.169.254/x.tif",
        "http://metadata.google.internal/x.tif",
        "http://localhost./x.tif",
    ),
    *(
        "http://LOCALHOST/x.tif",
        "http://a.localhost/x.tif",
        "http://printer/x.tif",
        "http://nas.local/x.tif",
        "http://10.0.0.5:80/x.tif",
    ),
    *("http://192.168.1.1/x.tif", "http://172.16.0.1/x.tif", "http://100.64.0.1/x.tif", "http://224.0.0.1/x.tif"),
    *(
        "http://%31%32%37.0.0.1/x.tif",
        "http://127\u30020\u30020\u30021/x.tif",
        "http://\uff11\uff12\uff17.0.0.1/x.tif",
        "http:///x.tif",
    ),
    *(
        "http://①②⑦.0.0.1/x.tif",
        "http://archive.example@127.0.0.1/x.tif",
        "http://[",
        "http://e.example:99999/x.tif",
        "http://e.example:0/",
    ),
    *(
        "https://user:pass@e.example/x.tif",
        "http://e.example\\@127.0.0.1/x.tif",
        "http://e.example\t.evil/x.tif",
        "https://-e.exa mple/x",
    ),
    *(
        "ftp://e.example/x.tif",
        "gopher://e.example/x",
        "data:image/tiff;base64,AAAA",
        "javascript:alert(1)",
        "gs://b/x.tif",
        "az://c/x.tif",
    ),
    *(
        "s3:///x.tif",
        "s3://../x.tif",
        "s3://UPPER_case/x.tif",
        "s3://bucket",
        "s3://b@d:80/x.tif",
        "https://e.example/x.vrt",
    ),
    *(
        "https://e.example/x.VRT?y=1",
        "https://e.example/MOD09GA.hdf",
        "https://e.example/x.nc",
        "https://e.example/x.nc#layer=red:1",
    ),
    *(
        "https://e.example/x.tif#layer=0",
        "https://e.example/x.tif#layer=-1",
        'https://e.example/x.tif#layer=a"b:1',
        "x.tif#layer=1#layer=2",
    ),
    *(
        "https://e.example/x.tif?X-Amz-Signature=abc",
        "https://e.example/x.tif?api_key=abc",
        "https://e.example/x.tif?sig=abc",
    ),
    *("x.tif\0.png", "https://e.example/x\r\nHost: inside", ""),
]


OF_THE_SERVER = ["/etc/passwd", "../../../../etc/passwd", "..%2f..%2f..%2fetc/passwd"]


@pytest.fixture
def sealed(monkeypatch):
    """Nothing can be opened, and no name looked up."""

    def refuse(*args, **kwargs):
        raise AssertionError("something was opened")

    for owner, name in ((rasterio, "open"), (socket, "getaddrinfo"), (socket.socket, "connect")):
        monkeypatch.setattr(owner, name, refuse)


@pytest.mark.parametrize("href", HOSTILE)
def test_hostile_addresses_are_refused_before_anything_is_opened(local, sealed, href):
    for base, root in ((ITEM, REMOTE), local):
        if base == ITEM and href in OF_THE_SERVER:
            continue
        with pytest.raises(Refused, match=r"^asset address .* is refused: .*\.$") as told:
            resolve(href, base, root)
        assert "abc" not in str(told.value)
        assert "pass@" not in str(told.value)


@pytest.mark.parametrize("href", OF_THE_SERVER)
def test_a_path_of_a_remote_catalog_is_one_of_its_server(sealed, href):
    assert resolve(href, ITEM, REMOTE).startswith("https://archive.example/")


PIECES = [
    "http://",
    "https://",
    "s3://",
    "file://",
    "/vsi",
    "/vsicurl/",
    "vrt://",
    "127.0.0.1",
    "[::1]",
    "[",
    "]",
    "0x7f.1",
    "localhost",
]
PIECES += [
    "e.example",
    "archive.example",
    "@",
    ":",
    "//",
    "/",
    "\\",
    "..",
    "%2e",
    "%2f",
    "%00",
    "?",
    "#",
    "#layer=",
    "x.tif",
    "sig=abc",
]


@settings(deadline=None)
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=9).map("".join))
def test_whatever_an_address_is_made_of_it_is_refused_or_public_or_below_the_folder(tmp_path_factory, href):
    folder = tmp_path_factory.getbasetemp() / "catalog"
    told: list[str] = []
    for base, root in ((ITEM, REMOTE), (str(folder / "items/one.json"), str(folder / "catalog.json"))):
        try:
            place, _, index = split_layer(resolve(href, base, root))
        except Refused as error:
            told.append(str(error))
            continue
        assert index >= 1
        scheme, _, rest = place.partition("://")
        if not rest:
            assert Path(place).resolve().is_relative_to(folder.resolve())
            continue
        assert scheme in ("http", "https", "s3")
        host = rest.split("/")[0].split("?")[0].split("#")[0].partition(":")[0]
        assert not {"@", "[", "\\"} & set(host)
        assert host not in ("127.0.0.1", "0x7f.1", "localhost")
        assert not host.endswith(".localhost")
        assert "sig=abc" not in place.partition("?")[2].partition("#")[0].split("&")
    assert all("?" not in text.partition(" is refused: ")[0] for text in told)


def test_a_signature_of_planetary_computer_is_left_out_and_any_other_refused():
    place = "https://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/B04.tif"
    assert resolve(f"{place}?st=2024&sig=abc", ITEM, REMOTE) == place
    with pytest.raises(Refused, match="carries a signature or key, which would be stored"):
        resolve("https://tiles.planet.com/x.tif?api_key=abc", ITEM, REMOTE)
    kept = "https://e.example/get?file=B04.tif"
    assert resolve(kept, ITEM, REMOTE) == kept


def test_an_installation_may_allow_a_private_host_by_name(monkeypatch):
    monkeypatch.setenv("FUSECUBE_ALLOWED_HOSTS", "10.0.0.7,Minio")
    assert resolve("http://10.0.0.7/x.tif", ITEM, REMOTE) == "http://10.0.0.7/x.tif"
    assert resolve("http://minio:9000/x.tif", ITEM, REMOTE) == "http://minio:9000/x.tif"
    with pytest.raises(Refused, match="name it in FUSECUBE_ALLOWED_HOSTS"):
        resolve("http://10.0.0.8/x.tif", ITEM, REMOTE)


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("/data/B04.tif", ("/data/B04.tif", None, 1)),
        ("/data/all.tif#layer=12", ("/data/all.tif", None, 12)),
        ("/data/a#b.tif#layer=2", ("/data/a#b.tif", None, 2)),
        ("/data/cube.nc#layer=B04:3", ("/data/cube.nc", "B04", 3)),
        ("/data/x.h5#layer=grids/a b/red-1:1", ("/data/x.h5", "grids/a b/red-1", 1)),
    ],
)
def test_the_layer_of_an_address(address, parts):
    assert split_layer(address) == parts


@pytest.mark.parametrize("layer", ["", "0", "x", "x:0", "x:", ":1", "-1", "1.5", 'a"b:1', "a:b:1", "../x:1", "１"])
def test_a_layer_that_cannot_be_one_is_refused(layer):
    with pytest.raises(Refused, match="neither a number nor variable:number"):
        split_layer(f"/data/x.nc#layer={layer}")


def test_a_layer_stays_with_the_address(local):
    item, catalog = local
    place = str(Path(item).resolve().with_name("B02.tif"))
    assert resolve("B02.tif#layer=3", item, catalog) == f"{place}#layer=3"
    assert resolve("https://e.example/x.tif#layer=3", ITEM, REMOTE) == "https://e.example/x.tif#layer=3"
    assert resolve("cube.nc#layer=B04:3", item, catalog).endswith("/items/cube.nc#layer=B04:3")


def write_variables(path):
    """A netCDF file with two variables of two times on 8 x 6 pixels of 10 m."""
    import rioxarray  # noqa: F401
    import xarray as xr

    red = np.arange(96, dtype=np.int16).reshape(2, 6, 8)
    y, x = 5799955.0 - 10 * np.arange(6), 399965.0 + 10 * np.arange(8)
    found = xr.Dataset(
        {"red": (("t", "y", "x"), red), "nir": (("t", "y", "x"), red + 1000)}, {"t": [0, 1], "y": y, "x": x}
    )
    found.rio.write_crs(32633).rio.write_coordinate_system().to_netcdf(path, engine="h5netcdf")
    return red


def test_a_variable_of_a_file_is_opened_with_its_times_as_bands(tmp_path):
    pytest.importorskip("h5netcdf")
    red = write_variables(tmp_path / "cube.nc")
    with open_raster(f"{tmp_path}/cube.nc#layer=nir:2") as source:
        assert source.count == 2
        assert source.crs.to_epsg() == 32633
        np.testing.assert_array_equal(source.read(2), red[1] + 1000)
        assert source.transform.c == 399960
    with pytest.raises(OSError, match="no variable 'blue'"), open_raster(f"{tmp_path}/cube.nc#layer=blue:1"):
        pass


@pytest.mark.parametrize(
    ("start", "said"), [(b"\x0e\x03\x13\x01", "HDF4, which is not read here"), (b"GIF89a", "neither netCDF")]
)
def test_a_variable_of_another_kind_of_file_is_an_error(tmp_path, start, said):
    (tmp_path / "x.nc").write_bytes(start + bytes(1000))
    with pytest.raises(OSError, match=said), open_raster(f"{tmp_path}/x.nc#layer=red:1"):
        pass


def write(path, crs="EPSG:32633", driver="GTiff", transform=None):
    profile = {"driver": driver, "width": 64, "height": 64, "count": 1, "dtype": "uint16", "crs": crs}
    with rasterio.open(path, "w", **profile, transform=transform or from_origin(399960, 5799960, 10, 10)) as target:
        target.write(np.arange(64 * 64, dtype=np.uint16).reshape(1, 64, 64))
    return str(path)


def test_a_vrt_is_refused_whatever_its_name(tmp_path):
    source, vrt = write(tmp_path / "source.tif"), tmp_path / "disguised.tif"
    with rasterio.open(source) as given, WarpedVRT(given) as warped:
        copy(warped, vrt, driver="VRT")
    with rasterio.open(vrt) as opened:
        assert opened.driver == "VRT"  # as GDAL would, left to itself
    with pytest.raises(RasterioError), open_raster(str(vrt)):
        pass


@pytest.mark.parametrize("external", [True, False])
def test_overviews_are_hidden(tmp_path, external):
    path = write(tmp_path / "x.tif")
    with rasterio.Env(TIFF_USE_OVR=external), rasterio.open(path, "r+") as target:
        target.build_overviews([2, 4], Resampling.average)
    assert Path(f"{path}.ovr").exists() == external
    with rasterio.open(path) as plain:
        assert plain.overviews(1) == [2, 4]
    with open_raster(path) as opened:
        assert opened.overviews(1) == []
        assert opened.read(1)[40, 3] == 40 * 64 + 3


def test_a_file_without_a_georeference_is_an_error(tmp_path):
    path = write(tmp_path / "x.tif", crs=None)
    with pytest.raises(OSError, match="no georeference"), open_raster(path):
        pass


DEGREES, METRES = from_origin(12.0, 52.0, 1e-4, 1e-4), from_origin(399960, 5799960, 10, 10)
LOCAL = 'LOCAL_CS["bench",UNIT["metre",1]]'


@pytest.mark.parametrize(
    ("crs", "transform", "said"),
    [
        ("EPSG:4326", METRES, "in degrees, its coordinates are not"),
        (LOCAL, METRES, "neither geographic nor projected"),
        ("EPSG:4978", METRES, "neither geographic nor projected"),  # geocentric
        ("EPSG:32633", Affine(0, 0, 399960, 0, 0, 5799960), "have no extent"),
        ("EPSG:32633", Affine(10, 10, 399960, 10, 10, 5799960), "have no extent"),  # all on one line
        ("EPSG:32633", Affine(1e-30, 0, 399960, 0, -1e-30, 5799960), "have no extent"),
        ("EPSG:32633", Affine(1e30, 0, 399960, 0, -1e30, 5799960), "have no extent"),
        ("EPSG:32633", Affine(float("nan"), 0, 399960, 0, -10, 5799960), "have no extent"),
    ],
)
def test_a_header_that_places_its_pixels_nowhere_is_an_error(tmp_path, crs, transform, said):
    path = write(tmp_path / "x.tif", crs=crs, transform=transform)
    with pytest.raises(OSError, match=said) as told, open_raster(path):
        pass
    assert str(tmp_path) not in str(told.value)


def test_degrees_around_the_earth_and_past_a_pole_in_part_are_a_place(tmp_path):
    for left, top in ((12.0, 52.0), (359.0, 90.05), (-180.0, -89.95)):
        path = write(tmp_path / "x.tif", crs="EPSG:4326", transform=from_origin(left, top, 0.1, 0.1))
        with open_raster(path) as opened:
            assert opened.transform.c == left


SECRETS = ("access-token=x", "Access_Token=x", "auth=x", "jwt=x", "sas=x", "a=1;sig=x", "sastoken=x", "client_secret=x")
MORE = ("X-Amz-Security-Token=x", "Key-Pair-Id=x", "subscription-key=x", "%73ig=x", "sig")


@pytest.mark.parametrize("query", [*SECRETS, *MORE])
def test_whatever_a_secret_is_called_it_does_not_pass(query):
    for place in (
        f"https://e.example/x.tif?{query}",
        f"https://e.example/x.tif;{query}",
        f"https://e.example/x.tif#{query}",
    ):
        with pytest.raises(Refused, match="carries a signature or key") as told:
            resolve(place, ITEM, REMOTE)
        assert "=x" not in str(told.value)


@pytest.mark.parametrize("query", ["file=B04.tif", "keyword=a", "design=b", "author=c", "date=2024;band=4"])
def test_other_parameters_pass(query):
    assert resolve(f"https://e.example/get?{query}", ITEM, REMOTE) == f"https://e.example/get?{query}"


@pytest.mark.parametrize(
    ("address", "whole", "short"),
    [
        ("/srv/x/c.json", "/srv/x/c.json", "…/c.json"),
        ("c.json", "c.json", "c.json"),
        (
            "https://u:p@e.example/a/c.json?token=s3cr3t#s3cr3t",
            "https://e.example/a/c.json",
            "https://e.example/…/c.json",
        ),
        ("https://s3cr3t@e.example/c.json", "https://e.example/c.json", "https://e.example/c.json"),
        ("u:s3cr3t@e.example/c.json?a=1", "e.example/c.json", "…/c.json"),
        ("https://e.example", "https://e.example", "https://e.example"),
    ],
)
def test_an_address_is_told_without_secrets_and_kept_without_folders(address, whole, short):
    assert shown(address) == whole
    assert shortened(address) == short
    # in a sentence, an address that names no host and begins with no slash is left but for its user and query
    kept = redacted(f"item x: '{address}' is refused: 20 m/s (a/b).")
    assert kept == f"item x: '{whole if address.startswith('u:') else short}' is refused: 20 m/s (a/b)."
