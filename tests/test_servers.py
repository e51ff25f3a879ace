"""The servers of the tests are what they say: a real STAC API over real items, found by the catalog as any other."""

import json
from pathlib import Path

import pystac
import pytest
from servers import Faults, Files, serve_files, serve_stac

from flows.spec import period
from pipeline.catalog import Query, find
from pipeline.sensors import SENTINEL2


@pytest.mark.filterwarnings("ignore::pystac_client.warnings.DoesNotConformTo")
def test_scenes_are_found_through_a_stac_api(archive: Path, tmp_path: Path) -> None:
    with serve_files(archive) as files:
        items = []
        for path in sorted(archive.glob("sentinel-2-l2a/S2A_*/S2A_*.json")):
            item = pystac.Item.from_file(str(path)).to_dict(transform_hrefs=False)
            item["links"] = []
            for asset in item["assets"].values():
                asset["href"] = f"{files.address}/sentinel-2-l2a/{path.stem}/{Path(asset['href']).name}"
            items.append(item)
        with serve_stac(items, tmp_path) as address:
            start, end = period("2024-06")
            scenes = find(Query(address, SENTINEL2, start, end, bbox=(13.4, 52.2, 13.7, 52.5)))
            start, end = period("2024-06-06")
            later = find(Query(address, SENTINEL2, start, end))
    assert [scene.id for scene in scenes] == ["S2A_33UVT_20240601_SIM_L2A", "S2A_33UVT_20240606_SIM_L2A"]
    assert [scene.id for scene in later] == ["S2A_33UVT_20240606_SIM_L2A"]
    assert json.dumps(items).count(files.address) > 20


def test_faults_come_in_the_share_that_is_asked_for_and_the_same_each_time(tmp_path: Path) -> None:
    drawn = []
    for _ in range(2):
        files = Files(tmp_path)
        files.misbehave(Faults(unavailable=0.1, reset=0.1, seed=4))
        drawn.append([files.draw("GET", "/x.tif") for _ in range(1000)])
    assert drawn[0] == drawn[1]
    # 200 of 1,000 with a standard deviation of sqrt(1000 * 0.2 * 0.8) = 12.6: within four of it
    assert abs(sum(fault != "none" for fault in drawn[0]) - 200) < 51
