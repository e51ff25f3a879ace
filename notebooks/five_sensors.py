# %% [markdown]
# # Five sensors on one reference grid
#
# A simulated country, watched for a spring by Sentinel-1, Sentinel-2, Landsat, MODIS and PlanetScope: every sensor with
# its own bands, blur, pixel grid, projection, clouds and coding. One line puts them on one grid; nothing is read until it is
# looked at. Against a real catalog the same lines hold: name its address instead of the path.

# %%
from datetime import UTC, date, datetime
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import odc.geo.xr  # noqa: F401  (the .odc accessor)

from pipeline.catalog import Query
from pipeline.flags import CLOUDY
from pipeline.radiometry import decibels
from pipeline.sensors import SENTINEL2
from pipeline.simulated.archive import simulate_campaign
from pipeline.simulated.look import truth
from pipeline.simulated.streams import FIVE, Campaign
from pipeline.tree import assemble

SIZE = 120  # pixels of 10 m; make it larger for a larger country

campaign = Campaign(date(2024, 4, 1), date(2024, 5, 20), size=SIZE, clouds=0.25)
folder = Path("runs/five-sensors")
catalog = folder / "catalog.json"
if not catalog.exists():
    folder.mkdir(parents=True, exist_ok=True)
    simulate_campaign(folder, campaign)

# %% [markdown]
# ## The tree
#
# A branch a sensor, a node a resolution. Times are images: optical scenes of a solar day mosaicked, radar scenes of a pass.

# %%
query = Query(str(catalog), SENTINEL2, datetime(2024, 4, 1, tzinfo=UTC), datetime(2024, 5, 20, 23, tzinfo=UTC))
tree = assemble(query, sensors=FIVE)
tree  # noqa: B018  (a notebook shows it)

# %% [markdown]
# ## The same ground, seen by five sensors
#
# True colour of the clearest image of each; the radar in decibels.

# %%
COLOURS = {
    "sentinel-2/10m": ("B04", "B03", "B02"),
    "landsat/30m": ("red", "green", "blue"),
    "modis/500m": ("B01", "B04", "B03"),
    "planetscope/3m": ("red", "green", "blue"),
}


def edges(node):
    """Left, right, bottom, top of a node, as matplotlib wants them."""
    bounds = node.to_dataset().odc.geobox.boundingbox
    return bounds.left, bounds.right, bounds.bottom, bounds.top


figure, axes = plt.subplots(1, 5, figsize=(20, 4.6), layout="constrained")
west, north = campaign.world.left, campaign.world.top
for panel, (name, bands) in zip(axes, COLOURS.items(), strict=False):
    node = tree[name]
    best = int(np.argmin(node.cloud_cover.values))
    image = node.reflectance.isel(time=best).sel(band=list(bands)).transpose("y", "x", "band").compute()
    panel.imshow(np.clip(np.nan_to_num(image.values, nan=1.0) / 0.22, 0, 1), extent=edges(node))
    panel.set_title(f"{name}, {str(node.time.values[best])[:10]}")
radar = tree["sentinel-1/10m"]
backscatter = decibels(radar.gamma_nought.isel(time=0, band=0).compute().values)
axes[4].imshow(backscatter, cmap="gray", vmin=-20, vmax=-4, extent=edges(radar))
axes[4].set_title(f"sentinel-1/10m VV, {str(radar.time.values[0])[:10]}")
for panel in axes:
    panel.set(xlim=(west, west + SIZE * 10), ylim=(north - SIZE * 10, north), xticks=[], yticks=[])
figure.savefig(folder / "five-sensors.png", dpi=72)

# %% [markdown]
# ## A time series without clouds, beside the truth
#
# Reflectance and flags share their pixels, so what is cloudy drops out in a line. The land is simulated, so the truth of
# any day is known for any sensor: here NDVI over the middle of the land.

# %%
half = SIZE * 5
sentinel2 = tree["sentinel-2/10m"]
middle = {"x": slice(west + half - 150, west + half + 150), "y": slice(north - half + 150, north - half - 150)}
node = sentinel2.to_dataset().sel(**middle)
clear = node.reflectance.where((node.flags & CLOUDY) == 0)
ndvi = ((clear.sel(band="B08") - clear.sel(band="B04")) / (clear.sel(band="B08") + clear.sel(band="B04"))).mean(
    ("x", "y")
)
ndvi = ndvi.compute().dropna("time")

box = node.odc.geobox
days = [date(2024, 4, 1 + k) for k in range(0, 30, 3)] + [date(2024, 5, 1 + k) for k in range(0, 20, 3)]
known = []
for day in days:
    nir, red = truth(campaign.world, SENTINEL2, ["B08", "B04"], day, box)
    known.append(float(((nir - red) / (nir + red)).mean()))

figure, panel = plt.subplots(figsize=(9, 3.5), layout="constrained")
panel.plot(np.array(days, "datetime64[D]"), known, color="0.6", label="truth, every third day")
panel.plot(ndvi.time, ndvi, "o", color="tab:green", label="Sentinel-2, clear pixels")
panel.set_ylabel("NDVI")
panel.legend()
figure.savefig(folder / "ndvi.png", dpi=90)
