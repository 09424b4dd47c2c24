"""Every field in deploy/kubernetes is one that Kubernetes has. The server of a cluster would say so; here each
object is written as a constant of its type from the npm package kubernetes-models, the ServiceMonitor's from
@kubernetes-models/prometheus-operator, and TypeScript's compiler refuses what the type does not have."""

import copy
import json
import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

import yaml

from manifests import ROOT, base_as_it_stands, example, objects_in
from server import binary
from suite import main

PACKAGES = Path(__file__).resolve().parent / "kubernetes"
INSTALLED = Path(binary()).resolve().parents[1] / "tests" / "deploy" / "kubernetes"
KUSTOMIZE = "kustomize.config.k8s.io"
# Below these stand names that the user chooses, and names of resources.
CHOSEN = {"labels", "matchLabels", "data", "pairs", "requests", "limits"}
RESOURCES = {"cpu", "memory", "ephemeral-storage"}


def install():
    """The packages of package-lock.json, in the build's folder; kept until that file changes."""
    INSTALLED.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json", "kustomize.ts"):
        shutil.copy(PACKAGES / name, INSTALLED)
    lock = (PACKAGES / "package-lock.json").read_text()
    mark = INSTALLED / "installed"
    if mark.exists() and mark.read_text() == lock:
        return
    done = subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=INSTALLED,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise AssertionError(f"npm ci ended with {done.returncode}:\n{done.stdout}")
    mark.write_text(lock)


class Written:
    """An object, and where it stands."""

    def __init__(self, place, value, is_patch=False):
        self.place, self.value, self.is_patch = place, value, is_patch

    def constant(self, number):
        """A line of TypeScript that only compiles if the object has no other fields than its type."""
        group, kind = self.value["apiVersion"], self.value["kind"]
        if group.startswith(KUSTOMIZE):
            module = "../kustomize.js"
        elif group.startswith("monitoring.coreos.com/"):
            module = f"@kubernetes-models/prometheus-operator/{group}"
        else:
            module = f"kubernetes-models/{group}"
        of_type = f'import("{module}").I{kind}'
        if self.is_patch:
            of_type = f'import("../kustomize.js").Patch<{of_type}>'
        return f"export const object{number}: {of_type} = {json.dumps(self.value)}"


def all_written():
    """Every object of deploy/kubernetes; those of base with what makes them whole."""
    found = [Written(f"base: {item['kind']}", item) for item in base_as_it_stands()]
    for file in sorted(ROOT.rglob("*.yaml")):
        if file.parent.name == "base" and file.name != "kustomization.yaml":
            continue
        for item in objects_in(file):
            place = f"{file.relative_to(ROOT)}: {item['kind']}"
            found.append(Written(place, item))
            for patch in item.get("patches", []):
                found.append(Written(f"{place}, patch", yaml.safe_load(patch["patch"]), is_patch=True))
    return found


def complaints(objects):
    """What the compiler says of each, '' where it says nothing."""
    with tempfile.TemporaryDirectory(dir=INSTALLED) as folder:
        lines = [written.constant(number) for number, written in enumerate(objects)]
        (Path(folder) / "objects.ts").write_text("\n".join(lines) + "\n")
        done = subprocess.run([INSTALLED / "node_modules" / ".bin" / "tsc", "--noEmit", "--strict", "--skipLibCheck",
                               "--pretty", "false", "--target", "es2022", "--module", "node16",
                               "objects.ts"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    said = [""] * len(objects)
    for message in re.split(r"^(?=\S)", done.stdout, flags=re.M):
        place = re.match(r"objects\.ts\((\d+),\d+\): error (.*)", message, re.S)
        if place:
            said[int(place[1]) - 1] += place[2]
        elif message.strip():
            raise AssertionError(done.stdout)
    return said


def fields(value, path=()):
    """The path of each field in an object."""
    if isinstance(value, list):
        for number, item in enumerate(value):
            yield from fields(item, path + (number,))
    if isinstance(value, dict):
        for key, item in value.items():
            yield path + (key,)
            chosen = key in CHOSEN and isinstance(item, dict) or key == "selector" and "matchLabels" not in item
            if not chosen:
                yield from fields(item, path + (key,))


def misspelt(written, path):
    """A copy with the last letter of one field doubled, and the name that the field has now."""
    value = copy.deepcopy(written.value)
    place = value
    for key in path[:-1]:
        place = place[key]
    name = path[-1] + path[-1][-1]
    place[name] = place.pop(path[-1])
    return Written(f"{written.place}, {'.'.join(map(str, path))}", value, written.is_patch), name


@unittest.skipUnless(shutil.which("npm"), "npm is not installed, so that there is nothing to hold the fields against")
class Fields(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        install()

    def accept(self, objects):
        said = complaints(objects)
        self.assertEqual([f"{written.place}: {text}" for written, text in zip(objects, said) if text], [])

    def test_every_object_has_only_fields_that_there_are(self):
        objects = all_written()
        kinds = {written.value["kind"] for written in objects}
        self.assertEqual(kinds, {"ConfigMap", "Secret", "StatefulSet", "Service", "PodDisruptionBudget",
                                 "NetworkPolicy", "Namespace", "ServiceMonitor", "Kustomization", "Component"})
        self.assertTrue(any(written.is_patch for written in objects))
        self.accept(objects)

    def test_so_has_the_example_as_it_is_built(self):
        with tempfile.TemporaryDirectory(prefix="millrace-kubernetes-") as folder:
            shutil.copytree(ROOT, folder, dirs_exist_ok=True)
            (Path(folder) / "example" / "passwd").write_text("")
            self.accept([Written(f"the example: {item['kind']}", item) for item in example(Path(folder) / "example")])

    def test_every_field_is_refused_by_name_when_it_is_misspelt(self):
        wrong = [misspelt(written, path) for written in all_written() for path in fields(written.value)
                 if path not in (("apiVersion",), ("kind",))]  # these two say which type it is
        self.assertGreater(len(wrong), 150)
        said = complaints([written for written, _ in wrong])
        self.assertEqual([f"{written.place}, {name}: {text or 'accepted'}" for (written, name), text in zip(wrong, said)
                          if f"""'"{name}"' does not exist in type""" not in text], [])


class ResourceNames(unittest.TestCase):
    """Any name would be of the right type."""

    def test_what_a_container_asks_for_are_resources_that_there_are(self):
        seen = 0
        for written in all_written():
            for path in fields(written.value):
                if path[-1] in ("requests", "limits"):
                    value = written.value
                    for key in path:
                        value = value[key]
                    self.assertLessEqual(set(value), RESOURCES, written.place)
                    seen += 1
        self.assertEqual(seen, 4)


if __name__ == "__main__":
    main()
