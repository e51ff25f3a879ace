"""The manifests and the image: that they are valid, and run nothing as root. No Kubernetes and no Docker is needed."""

import re
import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

import cluster
from cluster.environment import MEMORY, SETTINGS
from cluster.kubernetes import kubernetes, manifest
from flows.spec import validate
from pipeline import __version__
from pipeline.errors import Refused

FOLDER = Path(cluster.__file__).parent
ROOT = FOLDER.parent
OBJECTS = {
    f"{file.stem}-{found['kind']}": found
    for file in sorted((FOLDER / "manifests").glob("*.yaml"))
    for found in yaml.safe_load_all(file.read_text())
}
DASK = {name: found for name, found in OBJECTS.items() if found["apiVersion"] == "kubernetes.dask.org/v1"}
VERSION = "1.30"  # of Kubernetes


def pods(found: Any) -> list[dict]:
    """Every specification of pods in an object."""
    if isinstance(found, dict):
        return [found] if "containers" in found else [pod for value in found.values() for pod in pods(value)]
    return []


@pytest.mark.parametrize("name", sorted(OBJECTS.keys() - DASK.keys()))
def test_an_object_of_kubernetes_fits_its_schema(name):
    kubernetes_validate.validate(OBJECTS[name], VERSION, strict=True)


@pytest.mark.parametrize("name", sorted(DASK))
def test_pods_of_dask_fit_the_schema_of_pods(name):
    for pod in pods(DASK[name]):
        wrapped = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": pod}
        kubernetes_validate.validate(wrapped, VERSION, strict=True)


@pytest.mark.parametrize("name", sorted(DASK))
def test_an_object_of_dask_fits_the_operators_schema(name):
    package = find_spec("dask_kubernetes")
    if package is None or package.origin is None:
        pytest.skip("the schema comes with dask-kubernetes, which is not installed")
    charts = Path(package.origin).parent / "operator/deployment/helm/dask-kubernetes-operator/crds"
    definition = yaml.safe_load((charts / f"{DASK[name]['kind'].lower()}.yaml").read_text())
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    jsonschema.validate(DASK[name], schema)


def test_a_schema_refuses_what_is_wrong():
    broken = OBJECTS["namespace-Namespace"] | {"specc": {}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSION, strict=True)


@pytest.mark.parametrize("name", sorted(name for name, found in OBJECTS.items() if pods(found)))
def test_no_pod_runs_as_root_or_writes_to_its_image(name):
    for pod in pods(OBJECTS[name]):
        about = pod["securityContext"]
        assert (about["runAsNonRoot"], about["runAsUser"] > 0, about["seccompProfile"]["type"]) == (
            True,
            True,
            "RuntimeDefault",
        )
        for container in pod["containers"]:
            guarded = container["securityContext"]
            assert guarded["readOnlyRootFilesystem"]
            assert not guarded["allowPrivilegeEscalation"]
            assert guarded["capabilities"] == {"drop": ["ALL"]}
            assert "/tmp" in {mount["mountPath"] for mount in container["volumeMounts"]}
            assert {mount["name"] for mount in container["volumeMounts"]} == {v["name"] for v in pod["volumes"]}
            assert container["resources"]["limits"]["memory"]
            assert container["image"].split(":")[1].split("-")[0] == __version__


def test_workers_are_set_up_as_everywhere():
    settings = {f"DASK_{key.upper().replace('.', '__').replace('-', '_')}": str(v) for key, v in SETTINGS.items()}
    failures = "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES"
    for name, found in DASK.items():
        (container,) = found["spec"]["worker"]["spec"]["containers"]
        told = {entry["name"]: entry["value"] for entry in container["env"]}
        assert told == MEMORY | {key: value for key, value in settings.items() if key != failures}
        words = [*container["command"], *container["args"]]
        assert ("GPU=1" in words) == (name == "gpu-workers-DaskWorkerGroup")
        assert ("nvidia.com/gpu" in container["resources"]["limits"]) == ("GPU=1" in words)
    (container,) = DASK["cluster-DaskCluster"]["spec"]["scheduler"]["spec"]["containers"]
    assert container["env"] == [{"name": failures, "value": settings[failures]}]
    assert DASK["cluster-DaskCluster"]["spec"]["scheduler"]["service"]["type"] == "ClusterIP"


def test_the_specification_that_is_shipped_is_one():
    raw = yaml.safe_load(OBJECTS["run-ConfigMap"]["data"]["my.yaml"])
    raw["out"] = "a.zarr"  # whether a bucket will do is not this test's
    assert validate(raw).cluster.kind == "kubernetes"


def test_a_cluster_for_a_run_is_the_manifest_as_asked_for():
    found = manifest(7, image="mine:1", memory="8 GB")
    name = found["metadata"]["name"]
    assert name != manifest(1)["metadata"]["name"]
    assert found["spec"]["scheduler"]["service"]["selector"]["dask.org/cluster-name"] == name
    (container,) = found["spec"]["worker"]["spec"]["containers"]
    assert (found["spec"]["worker"]["replicas"], container["image"]) == (7, "mine:1")
    assert {bound["memory"] for bound in container["resources"].values()} == {"8G"}
    (container,) = manifest(1, gpu=True)["spec"]["worker"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_without_dask_kubernetes_the_remedy_is_told():
    if find_spec("dask_kubernetes"):
        pytest.skip("dask-kubernetes is installed")
    with pytest.raises(Refused, match=r"pip install 'fusecube\[kubernetes\]'"), kubernetes(namespace="fusecube"):
        pass


def instructions() -> list[tuple[str, str]]:
    """Those of the Dockerfile, in order."""
    joined = (FOLDER / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in joined.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split()[0], line.partition(" ")[2]) for line in lines]


def test_the_image_is_built_of_what_there_is_and_runs_fusecube_as_nobody():
    found = instructions()
    known = {"ARG", "FROM", "ENV", "RUN", "WORKDIR", "COPY", "USER", "ENTRYPOINT"}
    assert {word for word, _ in found} <= known
    sent = (FOLDER / "Dockerfile.dockerignore").read_text().split()
    for word, rest in found:
        if word == "COPY" and not rest.startswith("--from"):
            for source in shlex.split(rest)[:-1]:
                assert (ROOT / source).exists(), source
                assert f"!{source}" in sent
    packages = re.search(r"packages = \[(.*?)\]", (ROOT / "pyproject.toml").read_text())
    assert packages is not None
    tops = {name.strip(' "').split(".")[0] for name in packages[1].split(",")}
    assert tops <= {shlex.split(rest)[0] for word, rest in found if word == "COPY"}
    last = dict(found)
    assert last["ENTRYPOINT"] == '["fusecube"]'
    user = OBJECTS["run-CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]["securityContext"]
    assert last["USER"] == f"{user['runAsUser']}:{user['runAsGroup']}"
