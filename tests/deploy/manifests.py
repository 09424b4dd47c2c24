"""What the tests of deploy/kubernetes read: its objects as kubectl builds them, and as they stand in the files."""

import json
import shutil
import subprocess
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2] / "deploy" / "kubernetes"
NAME = {"app.kubernetes.io/name": "millrace"}


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


def base_as_it_stands():
    """The objects of base/, with what its kustomization.yaml adds to them, in the few ways that it does."""
    base = ROOT / "base"
    [kustomization] = objects_in(base / "kustomization.yaml")
    objects = []
    for name in kustomization["resources"]:
        objects += objects_in(base / name)
    for kind, key in (("ConfigMap", "configMapGenerator"), ("Secret", "secretGenerator")):
        for item in kustomization[key]:
            data = {file: (base / file).read_text() for file in item["files"]}
            objects.append({"apiVersion": "v1", "kind": kind, "metadata": {"name": item["name"]}, "data": data})
    for item in objects:
        item["metadata"].setdefault("labels", {}).update(NAME)
        if item["kind"] == "StatefulSet":
            item["spec"]["selector"] = {"matchLabels": dict(NAME)}
            item["spec"]["template"]["metadata"] = {"labels": dict(NAME)}
        if item["kind"] == "Service":
            item["spec"]["selector"] = dict(NAME)
    return objects
