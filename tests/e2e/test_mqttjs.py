"""MQTT.js over ws://: mqttjs/mqttjs.test.mjs with a server. MQTTJS_FOLDER is the folder in which npm
has installed the package."""

import os
import re
import shutil
import subprocess

from case import Case, EVENT_TIMEOUT_S, main


class MqttJs(Case):
    def test_everything_that_mqttjs_can_do(self):
        folder = os.environ["MQTTJS_FOLDER"]
        if not shutil.which("node"):
            self.skipTest("node is not installed")
        shutil.copy(os.path.join(os.path.dirname(os.path.abspath(__file__)), "mqttjs",
                                 "mqttjs.test.mjs"), folder)
        done = subprocess.run(
            ["node", "--test", "mqttjs.test.mjs"], cwd=folder, timeout=5 * EVENT_TIMEOUT_S, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={**os.environ, "SERVER_WS_URL": f"ws://127.0.0.1:{self.server.ws_port}/mqtt"})
        self.assertEqual(done.returncode, 0, done.stdout)
        passed = int(re.search(r"^(?:#|ℹ) pass (\d+)", done.stdout, re.M)[1])
        self.assertGreaterEqual(passed, 1, done.stdout)
        print(f"MQTT.js: {passed} passed")


if __name__ == "__main__":
    main()
