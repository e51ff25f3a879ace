"""Which addresses may be opened, and what opening them shows."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.shutil import copy
from rasterio.transform import from_origin
from rasterio.vrt import WarpedVRT

from pipeline.access import open_raster, resolve
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


def write(path, crs="EPSG:32633", driver="GTiff"):
    profile = {"driver": driver, "width": 64, "height": 64, "count": 1, "dtype": "uint16", "crs": crs}
    with rasterio.open(path, "w", **profile, transform=from_origin(399960, 5799960, 10, 10)) as target:
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
