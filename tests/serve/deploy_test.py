"""deploy_test.py REPOSITORY M2BERT MAKE_MODELS: the files of deploy/ name metrics, options, packages and paths that exist."""
import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

REPOSITORY = PROGRAM = MAKE_MODELS = None


def output_of(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


class DashboardTest(unittest.TestCase):
    def setUp(self):
        self.dashboard = json.loads((REPOSITORY / "deploy/grafana.json").read_text())
        table = re.findall(r'\{"(\w+)", "(counter|gauge|histogram)"', (REPOSITORY / "m2bert/serve/metrics.cpp").read_text())
        self.assertGreater(len(table), 20)
        self.metrics = {f"{name}{end}": kind for name, kind in table
                        for end in (("_bucket", "_sum", "_count") if kind == "histogram" else ("",))}

    def queries(self):
        return [target["expr"] for panel in self.dashboard["panels"] for target in panel["targets"]]

    def test_queries_metrics_that_exist(self):
        variables = [v["query"]["query"] for v in self.dashboard["templating"]["list"] if v["type"] == "query"]
        for query in self.queries() + variables:
            names = re.findall(r"\b(?:te|m2bert)_\w+", query)
            self.assertTrue(names, query)
            for name in names:
                self.assertIn(name, self.metrics, query)

    def test_takes_rates_of_counters_only(self):
        for query in self.queries():
            for name in re.findall(r"(?<!rate\()\b((?:te|m2bert)_\w+)", query):
                self.assertEqual(self.metrics[name], "gauge", query)
            for name in re.findall(r"rate\(((?:te|m2bert)_\w+)", query):
                self.assertNotEqual(self.metrics[name], "gauge", query)

    def test_panels_do_not_overlap(self):
        taken, ids = set(), [panel["id"] for panel in self.dashboard["panels"]]
        self.assertEqual(len(ids), len(set(ids)))
        for panel in self.dashboard["panels"]:
            place = panel["gridPos"]
            cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
            self.assertFalse(taken & cells, panel["title"])
            self.assertLessEqual(place["x"] + place["w"], 24)
            taken |= cells

    def test_every_query_follows_the_variables(self):
        for query in self.queries():
            self.assertEqual(query.count("{"), query.count('job=~"$job",instance=~"$instance"'), query)


class SettingsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        said = output_of(PROGRAM, "serve", "--help")
        cls.options = set(re.findall(r"--([a-z][a-z0-9-]*)", said))
        cls.variables = {f"M2BERT_{option.upper().replace('-', '_')}" for option in cls.options}

    def test_settings_are_options(self):
        keys = re.findall(r"^(?:# )?([a-z-]+): \S+$", (REPOSITORY / "deploy/serve.yaml").read_text(), re.M)
        self.assertGreater(len(keys), 4)
        self.assertLessEqual(set(keys), self.options)

    def test_variables_are_options(self):
        for name in ("m2bert.service", "Dockerfile"):
            found = set(re.findall(r"\b(M2BERT_[A-Z_]+)\b", (REPOSITORY / "deploy" / name).read_text()))
            self.assertTrue(found)
            self.assertLessEqual(found, self.variables, name)

    def test_unit_leaves_time_to_drain(self):
        unit = (REPOSITORY / "deploy/m2bert.service").read_text()
        said = output_of(PROGRAM, "serve", "--help")
        drain = float(re.search(r"--drain-timeout N=([\d.]+)", said).group(1))
        self.assertGreater(float(re.search(r"TimeoutStopSec=(\d+)", unit).group(1)), drain)
        for option in re.findall(r" --([a-z-]+)", re.search(r"ExecStart=(.*)", unit).group(1)):
            self.assertIn(option, self.options)

    @unittest.skipUnless(shutil.which("systemd-analyze"), "SKIPPED: there is no systemd-analyze")
    def test_systemd_reads_the_unit(self):
        done = subprocess.run(["systemd-analyze", "verify", REPOSITORY / "deploy/m2bert.service"], capture_output=True, text=True)
        complaints = [line for line in (done.stdout + done.stderr).splitlines() if "/usr/local/bin/m2bert is not executable" not in line]
        self.assertEqual(complaints, [])


class DockerfileTest(unittest.TestCase):
    def setUp(self):
        self.text = (REPOSITORY / "deploy/Dockerfile").read_text()

    def test_names_the_packages(self):
        """The script exists that builds the packages, in the folder that is copied, and their names match the patterns."""
        self.assertTrue((REPOSITORY / "script/package").exists())
        self.assertIn(f"/source/{re.search(r'^debs=(.*)$', (REPOSITORY / 'script/package').read_text(), re.M).group(1)} /", self.text)
        patterns = re.findall(r"/packages/(\S+)", self.text.replace('"$(dpkg --print-architecture)"', "amd64"))
        names = ["m2bert_0.1.0-1~debian12_amd64.deb", "libm2bert0.1_0.1.0-1~debian12_amd64.deb", "libm2bert-dev_0.1.0-1~debian12_amd64.deb",
                 "m2bert_0.1.0-1~debian12_arm64.deb"]
        self.assertEqual([[name for name in names if fnmatch.fnmatch(name, pattern)] for pattern in patterns], [names[1:2], names[:1]])

    def test_health_check_asks_the_server(self):
        command = json.loads(re.search(r"HEALTHCHECK .*?CMD (\[.*?\])\nENTRYPOINT", self.text.replace("\\\n", ""), re.S).group(1))
        models = tempfile.mkdtemp(prefix="m2bert-deploy-")
        self.addCleanup(shutil.rmtree, models)
        subprocess.run([MAKE_MODELS, models], check=True)
        server = subprocess.Popen([PROGRAM, "serve", "sentiment", "--port", "0"], cwd=models, stdout=subprocess.PIPE, text=True)
        port = server.stdout.readline().split()[1].rpartition(":")[2]
        check = {"args": command, "env": {**os.environ, "M2BERT_PORT": port}, "stderr": subprocess.DEVNULL}
        self.assertEqual(subprocess.run(**check).returncode, 0)
        server.terminate()
        server.communicate()
        self.assertNotEqual(subprocess.run(**check).returncode, 0)


def main():
    global REPOSITORY, PROGRAM, MAKE_MODELS
    REPOSITORY, PROGRAM, MAKE_MODELS = Path(sys.argv[1]), *sys.argv[2:4]
    unittest.main(argv=sys.argv[:1] + sys.argv[4:], verbosity=2)


main()
