"""Commands that teach networks and hold them against one another."""

from pathlib import Path
from typing import Annotated

import typer

from flows.terminal import Changes, bar, complain, say, wait
from pipeline.errors import Refused


def train(
    spec: Annotated[
        Path, typer.Argument(help="Training specification; `fusecube init train` writes one.", metavar="SPEC")
    ],
    change: Changes = None,
) -> None:
    """Teach a network by Wald's protocol, or go on where it stopped; leaves weights, their card and a history."""
    from flows import teach

    wanted = teach.load(spec, tuple(change or ()))
    model = teach.declared(wanted)
    with wait("searching"):
        found = [(source, scene) for source in wanted.sources for scene in teach.scenes(source)]
    with bar("reading scenes", len(found)) as advance:
        known = teach.material(model, wanted, found, advance)
    count = max(len(pairs) for pairs in known.pairs.values())
    say(f"{count} windows of {len(found)} scenes; {wanted.network}, {sum(wanted.steps.values())} steps")
    done: dict[str, int] = {}
    with bar("teaching", sum(wanted.steps.values())) as advance:

        def told(group: str, event: object) -> None:
            if not isinstance(event, int):
                say(f"{group} step {event.step}: loss {event.loss:.5f}, held out {event.validation:.5f}")  # type: ignore[attr-defined]
                return
            for _ in range(event - done.get(group, 0)):  # a resumed training starts further on
                advance()
            done[group] = event

        taught = teach.teach(wanted, model, known, told)
    for name, place in (("weights", taught.file), ("history", taught.history)):
        say(f"{name}: {place}")


def evaluate(
    spec: Annotated[Path, typer.Argument(help="Evaluation; `fusecube init evaluate` writes one.", metavar="SPEC")],
    change: Changes = None,
) -> None:
    """Hold methods against one another on scenes: tables, residual pictures, power spectra."""
    from flows import evaluate as trials
    from flows import tables, teach
    from pipeline.training.windows import lattice_of, windows

    wanted = trials.load(spec, tuple(change or ()))
    models = [trials.declared(method, group) for group in wanted.groups for method in wanted.methods]
    widest = max(models, key=lambda model: len(model.inputs))
    with wait("searching"):
        found = [(source, scene) for source in wanted.sources for scene in teach.scenes(source)]
    done: list[trials.Trial] = []
    with bar("trying", len(found) * trials.count(wanted)) as advance:
        for source, scene in found:
            every = windows(widest, scene, lattice_of(widest, scene), source.windows)
            read = [window for window in every if min(window.inputs[0].shape[1:]) >= trials.LEAST]
            if not read:
                complain(f"{scene.id}: no window of it is large enough, measured and clear; left out.")
                continue
            tried = list(trials.evaluate(wanted, scene, read, advance))
            done += [trial for trial, _ in tried]
            tables.write(wanted.out, done)
            trials.draw(wanted.out, [picture for _, picture in tried if picture])
    if not done:
        raise Refused("no scene has a window that is measured and clear; name others with sources:.")
    print((wanted.out / "tables.md").read_text(encoding="utf-8"))
    say(f"tables and pictures: {wanted.out}")
