"""Imports run one way, as ``pipeline/__init__.py`` states."""

import ast
import re
from pathlib import Path

import pipeline

ROOT = Path(pipeline.__file__).parent


def stated_order() -> dict[str, int]:
    """Module to the line of the statement it stands in; deeper lines may import from those above."""
    block = (pipeline.__doc__ or "").split("::", 1)[1].split("``flows``")[0]
    lines = [line for line in block.splitlines() if line.strip()]
    return {word: row for row, line in enumerate(lines) for word in re.findall(r"[a-z][a-z0-9_]+", line.split("(")[0])}


def imported(path: Path) -> set[str]:
    """Modules of the project that a file imports, as ``pipeline.x`` or ``flows``."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.split(".")[0] in ("pipeline", "flows", "cluster")}


def test_every_file_stands_in_the_statement_and_imports_from_above():
    order = stated_order()
    for path in ROOT.glob("*.py"):
        if path.stem == "__init__":
            continue
        assert path.stem in order, f"{path.stem} is missing in the order of imports"
        for name in imported(path):
            parts = name.split(".")
            assert parts[0] == "pipeline", f"{path.stem} imports {name}"
            if len(parts) > 1:
                assert order[parts[1]] < order[path.stem], (
                    f"{path.stem} imports {parts[1]}, which stands beside or below it"
                )


def test_cluster_and_flows_build_on_the_pipeline():
    for path in (ROOT.parent / "cluster").glob("*.py"):
        assert all(not name.startswith("flows") for name in imported(path))
    for folder in ("models", "simulated", "training"):
        for path in (ROOT / folder).glob("*.py"):
            assert all(name.startswith("pipeline") for name in imported(path))


def test_declarations_load_no_torch():
    for path in (ROOT / "models" / f"{name}.py" for name in ("declaration", "architectures", "weights", "registry")):
        top = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
        assert not any("torch" in ast.dump(node) for node in top)
