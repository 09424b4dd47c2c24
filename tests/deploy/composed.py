"""What holds of every compose file in docker/."""

import yaml

from image import ROOT


def parsed(path):
    return yaml.safe_load((ROOT / path).read_text())


class Composed:
    """What holds of the `services` of any of these files."""

    def test_no_container_has_rights_or_writes_to_its_root(self):
        for name, service in self.services.items():
            self.assertTrue(service["read_only"], name)
            self.assertEqual(service["cap_drop"], ["ALL"], name)
            self.assertEqual(service["security_opt"], ["no-new-privileges:true"], name)

    def test_ports_are_on_loopback_and_each_is_used_once(self):
        ports = [port for service in self.services.values() for port in service.get("ports", [])]
        for port in ports:
            self.assertTrue(port.startswith("127.0.0.1:"), port)
        used = [port.rpartition(":")[0] for port in ports]
        self.assertEqual(len(used), len(set(used)), used)

    def test_what_is_mounted_exists(self):
        for name, service in self.services.items():
            for volume in service.get("volumes", []):
                source, target, *mode = volume.split(":")
                self.assertTrue(target.startswith("/"), volume)
                if source.startswith("."):
                    self.assertTrue((ROOT / "docker" / source).exists(), f"{name}: {source}")
                    self.assertEqual(mode, ["ro"], volume)
                else:
                    self.assertIn(source, self.volumes, name)

    def test_images_have_a_version_and_services_wait_for_others_that_there_are(self):
        for name, service in self.services.items():
            if service["image"] != "millrace":
                self.assertRegex(service["image"], r"^docker\.io/[\w/-]+:v?\d+\.\d+\.\d+$", name)
            self.assertLessEqual(set(service.get("depends_on", [])), set(self.services), name)
