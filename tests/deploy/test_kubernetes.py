"""deploy/kubernetes: what one object says of another is so, pods have no rights, and the server accepts its
configuration. The objects are taken as they stand, and with kubectl also as it builds them."""

import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

import yaml

from manifests import ROOT, base_as_it_stands, builds, example_as_it_stands, kubectl_knows_components
from server import binary, environment
from suite import main


needs_kubectl = unittest.skipUnless(kubectl_knows_components(), "no kubectl that builds components is installed")


class Base(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.objects = base_as_it_stands()

    def of_kind(self, kind):
        return [item for item in self.objects if item["kind"] == kind]

    @property
    def pods(self):
        [stateful] = self.of_kind("StatefulSet")
        return stateful["spec"]["template"]

    def test_every_kind_is_there_once(self):
        kinds = sorted({item["kind"] for item in self.objects})
        for kind in ("ConfigMap", "NetworkPolicy", "PodDisruptionBudget", "Secret", "Service", "StatefulSet"):
            self.assertIn(kind, kinds)
        names = [(item["kind"], item["metadata"]["name"]) for item in self.objects]
        self.assertEqual(len(names), len(set(names)))

    def test_selectors_find_the_pod(self):
        [stateful] = self.of_kind("StatefulSet")
        labels = self.pods["metadata"]["labels"].items()
        selectors = [stateful["spec"]["selector"]["matchLabels"]]
        selectors += [service["spec"]["selector"] for service in self.of_kind("Service")]
        selectors += [item["spec"]["selector"]["matchLabels"] for item in self.of_kind("PodDisruptionBudget")]
        selectors += [item["spec"]["podSelector"]["matchLabels"] for item in self.of_kind("NetworkPolicy")]
        self.assertGreaterEqual(len(selectors), 6)
        for selector in selectors:
            self.assertTrue(selector)
            self.assertLessEqual(selector.items(), labels)
        self.assertIn(stateful["spec"]["serviceName"], [item["metadata"]["name"] for item in self.of_kind("Service")])

    def test_ports_have_the_names_that_others_use(self):
        ports = {port["name"]: port["containerPort"] for container in self.pods["spec"]["containers"]
                 for port in container.get("ports", [])}
        for service in self.of_kind("Service"):
            for port in service["spec"]["ports"]:
                self.assertEqual(ports[port["targetPort"]], port["port"], service["metadata"]["name"])
        for policy in self.of_kind("NetworkPolicy"):
            for rule in policy["spec"]["ingress"]:
                self.assertLessEqual({port["port"] for port in rule["ports"]}, set(ports))
        for container in self.pods["spec"]["containers"]:
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                if probe in container:
                    self.assertIn(container[probe]["httpGet"]["port"], ports)

    def test_mounts_have_volumes_and_these_have_content(self):
        volumes = {volume["name"]: volume for volume in self.pods["spec"]["volumes"]}
        used = set()
        for container in self.pods["spec"]["containers"]:
            for mount in container["volumeMounts"]:
                self.assertIn(mount["name"], volumes)
                used.add(mount["name"])
        self.assertEqual(used, set(volumes))
        names = {(item["kind"], item["metadata"]["name"]) for item in self.objects}
        for volume in volumes.values():
            if "configMap" in volume:
                self.assertIn(("ConfigMap", volume["configMap"]["name"]), names)
            if "secret" in volume:
                self.assertIn(("Secret", volume["secret"]["secretName"]), names)

    def test_no_container_has_rights(self):
        spec = self.pods["spec"]
        self.assertFalse(spec["automountServiceAccountToken"])
        self.assertTrue(spec["securityContext"]["runAsNonRoot"])
        self.assertEqual(spec["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
        for container in spec["containers"]:
            self.assertEqual(container["securityContext"], {
                "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}})

    def test_the_user_is_the_images(self):
        self.assertIn(f'USER {self.pods["spec"]["securityContext"]["runAsUser"]}:',
                      (ROOT.parents[1] / "Dockerfile").read_text())


@needs_kubectl
class BaseAsBuilt(Base):
    @classmethod
    def setUpClass(cls):
        cls.objects = builds(ROOT / "base")


class Configuration(unittest.TestCase):
    @staticmethod
    def check(**variables):
        file = str(ROOT / "base" / "millrace.json")
        return subprocess.run([binary(), "check", "--config", file, "--set",
                               f"access.password_file={ROOT / 'base' / 'passwd'}"], stdout=subprocess.PIPE, text=True,
                              env={**environment(), **variables})

    def test_the_server_accepts_it_and_listens_on_the_pods_ports(self):
        done = self.check()
        self.assertEqual(done.returncode, 0, done.stdout)
        for port in ("tcp on 0.0.0.0:1883", "ws on 0.0.0.0:8083", "http on 0.0.0.0:9464", "clients: password\n"):
            self.assertIn(port, done.stdout)

    def test_what_kubernetes_says_of_the_services_is_not_taken_for_keys(self):
        done = self.check(MILLRACE_SERVICE_HOST="10.0.0.1", MILLRACE_METRICS_PORT="tcp://10.0.0.1:9464",
                          MILLRACE_PORT_1883_TCP_ADDR="10.0.0.1")
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_it_ends_before_it_is_killed(self):
        text = (ROOT / "base" / "statefulset.yaml").read_text()
        grace = yaml.safe_load(text)["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
        self.assertIn('"drain_seconds": 20\n', (ROOT / "base" / "millrace.json").read_text())
        self.assertGreater(grace, 20)


class Example(Base):
    """The overlay, with a file of users as its first lines say."""

    objects_in = staticmethod(example_as_it_stands)

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="millrace-kubernetes-")
        cls.addClassCleanup(folder.cleanup)
        copy = Path(folder.name) / "kubernetes"
        shutil.copytree(ROOT, copy)
        subprocess.run([binary(), "passwd", "--create", "--batch", str(copy / "example" / "passwd"), "alice", "secret"],
                       check=True, stdout=subprocess.DEVNULL)
        cls.objects = cls.objects_in(copy / "example")

    def test_the_users_are_the_overlays(self):
        [secret] = self.of_kind("Secret")
        self.assertTrue(secret["data"]["passwd"].startswith("YWxpY2U6"))  # alice:

    def test_the_tap_reaches_the_servers_socket(self):
        server, tap = self.pods["spec"]["containers"]
        [variable] = [item["value"] for item in server["env"] if item["name"] == "MILLRACE_LOCAL_SOCKET"]
        folder = os.path.dirname(variable)
        shared = [{mount["name"] for mount in container["volumeMounts"] if mount["mountPath"] == folder}
                  for container in (server, tap)]
        self.assertEqual(shared, [{"local"}, {"local"}])
        [volume] = [volume for volume in self.pods["spec"]["volumes"] if volume["name"] == "local"]
        self.assertIn("emptyDir", volume)
        # Where `millrace tap` looks if it is not told.
        text = subprocess.run([binary(), "tap", "--help"], stdout=subprocess.PIPE, text=True).stdout
        self.assertIn(variable, text)

    def test_prometheus_finds_the_metrics_and_the_policy_lets_it_in(self):
        [monitor] = self.of_kind("ServiceMonitor")
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        [service] = [item for item in self.of_kind("Service") if wanted <= item["metadata"]["labels"].items()]
        self.assertEqual([port["name"] for port in service["spec"]["ports"]],
                         [endpoint["port"] for endpoint in monitor["spec"]["endpoints"]])

    def test_everything_is_in_its_namespace(self):
        [namespace] = self.of_kind("Namespace")
        for item in self.objects:
            if item is not namespace:
                self.assertEqual(item["metadata"]["namespace"], namespace["metadata"]["name"], item["kind"])


@needs_kubectl
class ExampleAsBuilt(Example):
    objects_in = staticmethod(builds)


if __name__ == "__main__":
    main()
