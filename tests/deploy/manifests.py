"""What the tests of deploy/kubernetes read: its objects as kubectl builds them, and as they stand in the files."""

import base64
import json
import shutil
import subprocess
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2] / "deploy" / "kubernetes"
NAME = {"app.kubernetes.io/name": "millrace"}
# Lists whose items a patch adds to or changes, and by which of their fields it finds them.
MERGED_BY = {"containers": "name", "env": "name", "volumes": "name", "volumeMounts": "mountPath"}


def builds(folder):
    done = subprocess.run(["kubectl", "kustomize", str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True)
    if done.returncode:
        raise AssertionError(done.stderr)
    return [item for item in yaml.safe_load_all(done.stdout) if item]


def kubectl_knows_components():
    """Those before 1.21 do not."""
    if not shutil.which("kubectl"):
        return False
    done = subprocess.run(["kubectl", "version", "--client", "-o", "json"], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True)
    return bool(json.loads(done.stdout or "{}").get("kustomizeVersion"))


def objects_in(file):
    return [item for item in yaml.safe_load_all(file.read_text()) if item]


def data_of(folder, item, kind):
    """What a generator makes of its files."""
    data = {file: (folder / file).read_text() for file in item["files"]}
    if kind == "Secret":
        data = {file: base64.b64encode(text.encode()).decode() for file, text in data.items()}
    return data


def base_as_it_stands():
    """The objects of base/, with what its kustomization.yaml adds to them, in the few ways that it does."""
    base = ROOT / "base"
    [kustomization] = objects_in(base / "kustomization.yaml")
    objects = []
    for name in kustomization["resources"]:
        objects += objects_in(base / name)
    for kind, key in (("ConfigMap", "configMapGenerator"), ("Secret", "secretGenerator")):
        for item in kustomization[key]:
            objects.append({"apiVersion": "v1", "kind": kind, "metadata": {"name": item["name"]},
                            "data": data_of(base, item, kind)})
    for item in objects:
        item["metadata"].setdefault("labels", {}).update(NAME)
        if item["kind"] == "StatefulSet":
            item["spec"]["selector"] = {"matchLabels": dict(NAME)}
            item["spec"]["template"]["metadata"] = {"labels": dict(NAME)}
        if item["kind"] == "Service":
            item["spec"]["selector"] = dict(NAME)
    return objects


def patched(value, patch, key=None):
    """A strategic merge: fields are changed one by one, and so are the items of some lists."""
    if isinstance(value, dict) and isinstance(patch, dict):
        changed = {name: patched(value[name], item, name) if name in value else item for name, item in patch.items()}
        return {**value, **changed}
    if key not in MERGED_BY:
        return patch
    more = {item[MERGED_BY[key]]: item for item in patch}
    items = [patched(item, more.pop(item[MERGED_BY[key]], {})) for item in value]
    return items + list(more.values())


def with_component(objects, folder):
    """The objects with those of a component, and changed by its patches."""
    [component] = objects_in(folder / "kustomization.yaml")
    for patch in component.get("patches", []):
        wanted = patch["target"]
        found = [item for item in objects if item["kind"] == wanted["kind"]
                 and item["metadata"]["name"] == wanted["name"]]
        assert found, f"{folder}: there is no {wanted['kind']} {wanted['name']} to patch"
        for item in found:
            objects[objects.index(item)] = patched(item, yaml.safe_load(patch["patch"]))
    return objects + [item for name in component.get("resources", []) for item in objects_in(folder / name)]


def example_as_it_stands(folder):
    """The objects of the overlay example/, which stands in `folder` with a file of users: with its components
    and its namespace, but with the images of the base."""
    [kustomization] = objects_in(folder / "kustomization.yaml")
    objects = base_as_it_stands()
    for name in kustomization["resources"]:
        if name != "../base":
            objects += objects_in(folder / name)
    for name in kustomization["components"]:
        objects = with_component(objects, folder / name)
    for item in kustomization["secretGenerator"]:
        [secret] = [one for one in objects if one["kind"] == "Secret" and one["metadata"]["name"] == item["name"]]
        secret["data"] = data_of(folder, item, "Secret")
    for item in objects:
        if item["kind"] != "Namespace":
            item["metadata"]["namespace"] = kustomization["namespace"]
    return objects


def example(folder):
    """As kubectl builds it, or without one that can as it stands."""
    return builds(folder) if kubectl_knows_components() else example_as_it_stands(folder)
