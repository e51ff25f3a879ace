"""sharpen: every band of Sentinel-2 on one fine grid.

Clouds are sharpened like the ground below them; they are flagged, and written as nodata only where ``mask`` says so.
"""

from collections.abc import Sequence
from fractions import Fraction

from flows.area import place
from flows.spec import Spec
from pipeline.encoding import encoding
from pipeline.errors import Refused
from pipeline.harmonise.steps import Harmony
from pipeline.job import Job
from pipeline.lattice import Lattice, Layout
from pipeline.models.declaration import FusionModel
from pipeline.models.registry import PLAIN, declare, offered, sharpening, with_weights
from pipeline.models.weights import shipped
from pipeline.scene import Scene
from pipeline.sensors import SENTINEL2
from pipeline.sensors.responses import known

SENSOR = SENTINEL2

ADAPT = 600
"""Steps of adaptation unless the specification says otherwise."""

EXAMPLE = """\
# Every band of Sentinel-2 on one 10 m grid.  Check it: fusecube plan {name}   Run it: fusecube run {name}

flow: sharpen

# Where the scenes are: a STAC API, a static catalog, or a file with an item collection.
catalog: https://earth-search.aws.element84.com/v1

# Where on the ground. One of:
area:
  bbox: [13.53, 52.28, 13.62, 52.34]   # west, south, east, north in degrees
  # tile: 33UUB                        # a whole Sentinel-2 tile
  # scene: S2B_33UUB_20240611_0_L2A    # the whole of one item
  # geojson: area.geojson              # a polygon, to which the result is clipped

# When: a date, or two with a slash between. Every solar day with a scene becomes a time of the result.
time: 2024-06-01/2024-06-15

# How: light (a small network for machines without a GPU), mpifnet (larger, sharper), dsen2,
# bicubic (cubic convolution), or identity (coarse pixels repeated).
model: light
# adapt: 600            # steps for which the network is first taught these very scenes, one scale down; 0 for none
# consistent: true      # project the result so that, degraded, it gives back every band as it was measured
# weights: my.safetensors   # your own, from fusecube train

# level: L2A            # L1C or L2A; by default the highest there is
# bands: [B02, B03, B04, B08, B11]
# max_cloud: 30         # percent of a scene
# mask: [cloud, shadow, near]   # flags whose pixels become nodata
# dilate: 100             # metres around clouds and shadows that are flagged as near
# harmonise: {{platform: sentinel-2a, coregister: check}}   # steps that make dates comparable; all off by default
#   nbar: true needs bands: without B01 and B09, and items that state the angles of sun and view

grid: {{crs: auto, resolution: 10}}   # zones: each fuses every UTM zone on its own pixels and lays them together on crs
chunk: 1200             # pixels; larger reads less, smaller needs less memory; a network works in tiles of 600
cluster: local          # or {{kind: local, workers: 2, memory: 8 GB}}; cuda, slurm, kubernetes, tcp://host:port, tls://host:port
out: runs/berlin.zarr   # or s3://bucket/berlin.zarr; credentials and endpoint from the environment (AWS_*)
"""


def job(spec: Spec, scenes: Sequence[Scene]) -> Job:
    """The job of a specification over the scenes that were found; raises ``Refused`` where they do not fit together."""
    bands = spec.bands or tuple(band.name for band in SENSOR.bands)
    for name in bands:
        SENSOR.band(name)
    model = _model(spec, bands)
    where = place(spec.area, scenes, spec.grid.crs)
    anchor = (Fraction(spec.grid.anchor[0]), Fraction(spec.grid.anchor[1]))
    step = Lattice.common_step(model.step_resolutions)
    lattice = Lattice(where.crs, Fraction(spec.grid.resolution), step, anchor)
    model.check(lattice, scenes)
    core = lattice.chunk_steps(spec.chunk, model.align)
    area = lattice.box(where.bounds).outward(max(1, model.align // lattice.pixels()))
    return Job(
        flow=spec.flow,
        model=model,
        layout=Layout.over(lattice, area, core),
        level=scenes[0].level,
        encoding=encoding(spec.encoding),
        mask=tuple(sorted(set(spec.mask))),
        dilate=spec.dilate,
        clip=where.clip,
        harmony=Harmony(
            nbar=spec.harmonise.nbar,
            platform=known(spec.harmonise.platform) if spec.harmonise.platform else "",
            corrects=spec.harmonise.coregister == "correct",
        ),
        coregister=spec.harmonise.coregister,
        projected=spec.consistent,
        adapt=(ADAPT if spec.adapt is None else spec.adapt) if model.weights else 0,
    )


def _model(spec: Spec, bands: Sequence[str]) -> FusionModel:
    """The model of a specification, with its weights where it is a network."""
    if spec.model in PLAIN:
        if spec.weights or spec.adapt:
            raise Refused(f"model '{spec.model}' has no weights to take or to adapt; take weights: and adapt: out.")
        return declare(spec.model, SENSOR, bands, spec.grid.resolution)
    model = sharpening(spec.model, SENSOR, bands, spec.precision, spec.gates)
    file = spec.weights or shipped(spec.model)
    if file is None:
        raise Refused(
            f"fusecube comes without weights for '{spec.model}'; train some ('fusecube init train') and name them with "
            f"weights:, or choose one of {', '.join(name for name in offered() if name in PLAIN or shipped(name))}."
        )
    return with_weights(model, file)
