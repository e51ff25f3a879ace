"""MPIFNet: multistage progressive interactive fusion (Liu et al. 2023, doi:10.1109/JSTARS.2023.3326965).

A branch a resolution; the coarse ones climb to the fine grid in stages, features of the finer branch injected at each
stage; then a recurrent unit hands the finest branch's state to the others. Where the paper is silent: width 64, the
multi-scale block's input is concatenated, gates have no bias, one weight an injected branch. These choices give the size
that the paper states for the 60 m network (6.25 M).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pipeline.models.gates import ChannelGate, SpatialGate
from pipeline.models.layers import GridResize

EPSILON = 1e-4
"""Keeps the weighted sum from dividing by zero (eq. 1)."""


class MultiScale(nn.Module):
    """Multiscale residual space-spectrum attention: 3×3, 5×5 and 7×7 in parallel, each gated, fused with their input."""

    def __init__(self, width: int, bottleneck: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(width, width, k, padding=k // 2) for k in (3, 5, 7))
        self.spectral = nn.ModuleList(ChannelGate(width, bottleneck) for _ in self.convs)
        self.spatial = nn.ModuleList(SpatialGate() for _ in self.convs)
        self.fuse = nn.Conv2d(4 * width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        scales = []
        for conv, spectral, spatial in zip(self.convs, self.spectral, self.spatial, strict=True):
            features = torch.relu(conv(x))
            features = features * spectral(features)
            scales.append(features * spatial(features))
        return self.fuse(torch.cat([*scales, x], dim=1))  # (B, 4 C, H, W) to (B, C, H, W)


class Injection(nn.Module):
    """Sum of branches by learned positive weights that add up to one (eq. 1); without weights, their mean."""

    def __init__(self, branches: int, weighted: bool) -> None:
        super().__init__()
        equal = torch.ones(branches)
        if weighted:
            self.weights = nn.Parameter(equal)
        else:
            self.register_buffer("weights", equal, persistent=False)

    def forward(self, *branches: Tensor) -> Tensor:
        """(B, C, H, W) each to the same."""
        positive = torch.relu(self.weights)
        shares = positive / (positive.sum() + EPSILON)
        total = branches[0] * shares[0].to(branches[0].dtype)
        for share, branch in zip(shares[1:], branches[1:], strict=True):
            total = total + branch * share.to(branch.dtype)
        return total


class Shuffle(nn.Sequential):
    """Upsampling by a convolution to ratio² channels each, laid out as pixels (Shi et al. 2016)."""

    def __init__(self, width: int, ratio: int) -> None:
        super().__init__(nn.Conv2d(width, width * ratio**2, 3, padding=1), nn.PixelShuffle(ratio))


class Recurrent(nn.Module):
    """A convolutional gated recurrent unit (eqs. 2 to 5)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reset = nn.Conv2d(2 * width, width, 3, padding=1)
        self.update = nn.Conv2d(2 * width, width, 3, padding=1)
        self.candidate = nn.Conv2d(2 * width, width, 3, padding=1)

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        """Input and the state of the finer branch, (B, C, H, W) each, to the new state."""
        both = torch.cat([state, x], dim=1)  # (B, 2 C, H, W)
        reset, update = torch.sigmoid(self.reset(both)), torch.sigmoid(self.update(both))
        candidate = torch.tanh(self.candidate(torch.cat([reset * state, x], dim=1)))
        return (1 - update) * state + update * candidate


class Interaction(nn.Module):
    """Hands the state of the finest branch to each coarser one, with convolutions before and after and a short cut.

    ``chain`` hands it on from branch to branch instead, the other way in which the paper's text can be read.
    """

    def __init__(self, branches: int, width: int, chain: bool) -> None:
        super().__init__()
        self.chain = chain
        self.before = nn.ModuleList(_two_convolutions(width) for _ in range(branches))
        self.units = nn.ModuleList(Recurrent(width) for _ in range(branches))
        self.after = nn.ModuleList(_two_convolutions(width) for _ in range(branches))

    def forward(self, branches: Sequence[Tensor]) -> list[Tensor]:
        """[(B, C, H, W)], finest first, to the same."""
        state = torch.zeros_like(branches[0])
        out = []
        for index, (x, before, unit, after) in enumerate(
            zip(branches, self.before, self.units, self.after, strict=True)
        ):
            found = unit(before(x), state)
            if index == 0 or self.chain:
                state = found
            out.append(after(found) + x)
        return out


def _two_convolutions(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU()
    )


class MPIFNet(nn.Module):
    """The residual to the cubic interpolation of the coarsest input's bands.

    Parameters
    ----------
    bands
        Bands of each input, finest first.
    ratios
        Ground sampling distance of each input over that of the output: (1, 2) or (1, 2, 6).
    width
        Channels of every feature.
    progressive
        Climb in stages with injection of the finer branches (the paper's MP); else in one step without.
    interactive
        The recurrent interaction of branches (IIM).
    weighted
        Learned weights in injections (DWM); else the mean.
    chain
        Hand the recurrent state on from branch to branch; else the finest branch's to all.
    """

    def __init__(
        self,
        bands: Sequence[int],
        ratios: Sequence[int],
        width: int = 64,
        progressive: bool = True,
        interactive: bool = True,
        weighted: bool = True,
        chain: bool = False,
    ) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Conv2d(n, width, 3, padding=1) for n in bands)
        self.stages = nn.ModuleList()
        at = list(ratios)
        while max(at) > 1:
            stage = Stage(bands, at, width, progressive, weighted)
            self.stages.append(stage)
            at = stage.reached
        self.last = nn.ModuleList(MultiScale(width, n) for n in bands)
        self.interaction = Interaction(len(bands), width, chain) if interactive else None
        self.reconstruct = nn.Sequential(
            nn.Conv2d(len(bands) * width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, bands[-1], 3, padding=1)
        )
        self.resize = GridResize(ratios[-1])

    def forward(self, *inputs: Tensor) -> Tensor:
        """[(B, C_i, H / ratio_i, W / ratio_i)] to (B, C_last, H, W)."""
        branches = [head(x) for head, x in zip(self.heads, inputs, strict=True)]
        for stage in self.stages:
            branches = stage(branches)
        branches = [block(x) for block, x in zip(self.last, branches, strict=True)]  # all (B, C, H, W)
        if self.interaction is not None:
            branches = self.interaction(branches)
        return self.resize(inputs[-1]) + self.reconstruct(torch.cat(branches, dim=1))


class Stage(nn.Module):
    """Attention on every branch; then the coarsest ones climb to the next finer grid and take the finer ones in."""

    def __init__(self, bands: Sequence[int], at: Sequence[int], width: int, progressive: bool, weighted: bool) -> None:
        super().__init__()
        # the coarsest branches meet the next finer one; in one step, every branch goes straight to the finest grid
        goal = max(ratio for ratio in at if ratio < max(at)) if progressive else 1
        self.reached = [min(ratio, goal) for ratio in at]
        self.blocks = nn.ModuleList(MultiScale(width, n) for n in bands)
        self.climb = nn.ModuleDict(
            {str(i): Shuffle(width, ratio // goal) for i, ratio in enumerate(at) if ratio > goal}
        )
        meeting = [i for i, ratio in enumerate(at) if ratio >= goal]  # all that are on the goal's grid afterwards
        sources = {int(i): [int(i), *(j for j in meeting if j < int(i))] for i in self.climb}
        self.sources = sources if progressive else {}
        self.inject = nn.ModuleDict({str(i): Injection(len(s), weighted) for i, s in self.sources.items()})

    def forward(self, branches: Sequence[Tensor]) -> list[Tensor]:
        """Features of every branch on its grid, finest first, to those on the grids of ``reached``."""
        out = [block(x) for block, x in zip(self.blocks, branches, strict=True)]
        for name, climb in self.climb.items():
            out[int(name)] = climb(out[int(name)])
        for name, inject in self.inject.items():
            out[int(name)] = inject(*(out[i] for i in self.sources[int(name)]))
        return out
