"""bundle_test.py REPOSITORY: script/bundled/unpack puts together parts that come one after another, and script/bundled/run counts tests and
reads what compute-sanitizer reports."""
import hashlib
import lzma
import os
import subprocess
import sys
import tarfile
import tempfile
import unittest
from pathlib import Path

REPOSITORY = Path(sys.argv.pop(1))
BUNDLED = REPOSITORY / "script" / "bundled"

TESTS = """#!/bin/bash
if [ "$DEVICE" != gpu ]; then exit 9; fi
echo '[       OK ] A.passes'
echo 'x.cpp:3: Failure'
echo '[  FAILED  ] A.fails'
echo '[  SKIPPED ] A.is_skipped'
echo '[----------] Global test environment tear-down'
echo '[  SKIPPED ] A.is_skipped'
echo '[  FAILED  ] A.fails'
exit 1
"""

# Reports $FOUND for racecheck.
SANITIZER = """#!/bin/bash
echo '========= COMPUTE-SANITIZER'
echo '[  SKIPPED ] A.is_skipped'
echo '[  PASSED  ] 3 tests.'
if [ "$2" = memcheck ]; then
  echo '========= ERROR SUMMARY: 0 errors'
  exit
fi
printf "$FOUND"
echo "========= RACECHECK SUMMARY: $DISPLAYED hazards displayed ($DISPLAYED errors, 0 warnings)"
"""
RACE = ("========= Error: Race reported between Read access at {0}+0xb20\n=========     and Write access at {0}+0x2f30 [32 hazards]\n"
        "========= \n")


class Bundle(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)

    def write_parts(self, files):
        """Folders that each hold one half of a bundle, as script/bundle writes them."""
        source = self.folder / "source"
        for archive, names in files.items():
            for name, content in names.items():
                path = source / archive / "m2bert-bundle" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(content)
                path.chmod(0o755)
            with lzma.open(source / f"{archive}.tar.xz", "wb") as file, tarfile.open(fileobj=file, mode="w") as tar:
                tar.add(source / archive / "m2bert-bundle", "m2bert-bundle")
        with tarfile.open(source / "all.tar", "w") as tar:
            for archive in files:
                tar.add(source / f"{archive}.tar.xz", f"{archive}.tar.xz")
        content = (source / "all.tar").read_bytes()
        halves = {"part.00": content[:5000], "part.01": content[5000:]}
        sums = "".join(f"{hashlib.sha256(half).hexdigest()}  {name}\n" for name, half in halves.items())
        folders = []
        for name, half in halves.items():
            folders.append(self.folder / f"call-{name}")
            folders[-1].mkdir()
            (folders[-1] / name).write_bytes(half)
            (folders[-1] / "parts.sha256").write_text(sums)
            (folders[-1] / "unpack").write_text((BUNDLED / "unpack").read_text())
        return folders

    def unpack(self, folder):
        return subprocess.run(["bash", folder / "unpack", self.folder / "target"], capture_output=True, text=True)

    def test_parts_come_one_after_another(self):
        first, second = self.write_parts({"libraries": {"lib/a.so": "a"}, "programs": {"lib/b.so": "b", "run": "c"}})
        done = self.unpack(second)
        self.assertEqual((done.returncode, done.stdout), (3, "still missing: part.00\n"), done.stderr)
        done = self.unpack(first)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual({str(p.relative_to(self.folder / "target")): p.read_text() for p in (self.folder / "target").rglob("*") if p.is_file()},
                         {"lib/a.so": "a", "lib/b.so": "b", "run": "c"})
        self.assertFalse((self.folder / "target.parts").exists())

    def test_the_target_is_any_new_folder_or_an_older_bundle(self):
        folders = self.write_parts({"libraries": {"lib/a.so": "a"}, "programs": {"run": "c", "built-in": "/x"}})
        for folder in folders:
            done = subprocess.run(["bash", folder / "unpack", "here/"], capture_output=True, text=True, cwd=self.folder)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual((self.folder / "here" / "run").read_text(), "c")
        for folder in folders:
            done = subprocess.run(["bash", folder / "unpack", self.folder / "here"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        (self.folder / "mine").mkdir()
        (self.folder / "mine" / "precious").write_text("p")
        done = subprocess.run(["bash", folders[0] / "unpack", self.folder / "mine"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn("mine is there already and is no bundle", done.stderr)
        self.assertEqual((self.folder / "mine" / "precious").read_text(), "p")

    def test_a_damaged_part_is_an_error(self):
        first, second = self.write_parts({"libraries": {"lib/a.so": "a"}, "programs": {"run": "c"}})
        self.unpack(second)
        (first / "part.00").write_bytes(b"x" + (first / "part.00").read_bytes()[1:])
        done = self.unpack(first)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("part.00", done.stdout + done.stderr)
        self.assertFalse((self.folder / "target").exists())

    def run_bundle(self, programs, *arguments, **environment):
        for name, content in {**programs, "run": (BUNDLED / "run").read_text(), "built-in": str(self.folder)}.items():
            path = self.folder / "bundle" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
            path.chmod(0o755)
        return subprocess.run([self.folder / "bundle" / "run", *arguments], capture_output=True, text=True,
                              env={**os.environ, "OUT": str(self.folder / "out"), **environment})

    def test_tests_are_counted(self):
        done = self.run_bundle({"bin/test_ops": TESTS}, "tests", "--limit", "20", "ops")
        self.assertRegex(done.stdout, r"^test_ops: exit code 1 in \d+ s, 1 passed, 1 failed, 1 skipped\n")
        self.assertIn("  | x.cpp:3: Failure\n", done.stdout)
        self.assertIn("  skipped: A.is_skipped\n", done.stdout)
        self.assertEqual((self.folder / "out" / "tests.txt").read_text(), done.stdout)

    def test_tests_that_fail_or_are_not_there_give_an_exit_code(self):
        good = "#!/bin/bash\necho '[       OK ] A.passes'\n"
        self.assertEqual(self.run_bundle({"bin/test_nn": good}, "tests", "nn").returncode, 0)
        self.assertEqual(self.run_bundle({"bin/test_ops": TESTS}, "tests", "ops", "nn").returncode, 1)
        done = self.run_bundle({}, "tests", "nn", "oops")
        self.assertEqual((done.returncode, done.stderr), (2, "run: there are no tests oops\n"))
        self.assertEqual(self.run_bundle({}, "tests", "--limit").returncode, 2)
        self.assertEqual(self.run_bundle({}, "bench").returncode, 2)

    def sanitize(self, found="", displayed=0, sanitizer=SANITIZER):
        return self.run_bundle({"path/compute-sanitizer": sanitizer}, "sanitizers", "--limit", "20", FOUND=found, DISPLAYED=str(displayed),
                               PATH=f"{self.folder}/bundle/path:{os.environ['PATH']}")

    def test_races_in_cublas_are_left_out(self):
        done = self.sanitize(RACE.format("nvjet_sm90_tst"), 1)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("memcheck: found nothing\n", done.stdout)
        self.assertIn("racecheck: found nothing; reports in kernels of cuBLAS left out: 1\n", done.stdout)
        self.assertNotIn("nvjet", done.stdout)
        self.assertNotIn("SKIPPED", done.stdout)
        self.assertEqual((self.folder / "out" / "sanitizers.txt").read_text(), done.stdout)

    def test_other_races_are_errors(self):
        done = self.sanitize(RACE.format("nvjet_sm90_tst") + RACE.format("mixer_toeplitz"), 2)
        self.assertEqual(done.returncode, 1)
        self.assertIn("Read access at mixer_toeplitz+0xb20", done.stdout)
        self.assertIn("Write access at mixer_toeplitz+0x2f30", done.stdout)
        self.assertIn("racecheck: failed; reports in kernels of cuBLAS left out: 1\n", done.stdout)

    def test_what_racecheck_reports_in_other_words_is_an_error(self):
        for found, displayed in [("========= Error: Potential RAW hazard\n", 1), ("", 1),
                                 (RACE.format("nvjet_sm90_tst").replace("========= \n", "[  FAILED  ] A.fails\n"), 1)]:
            with self.subTest(found):
                done = self.sanitize(found, displayed)
                self.assertEqual(done.returncode, 1)
                self.assertIn("racecheck: failed", done.stdout)

    def test_a_sanitizer_that_finds_errors_no_tests_or_no_end_fails(self):
        for change, verdict in [(("SUMMARY: 0 errors", "SUMMARY: 2 errors"), "memcheck: failed\n"),
                                (("[  PASSED  ] 3", "[  PASSED  ] 0"), "memcheck: no test ran\n"),
                                (("echo '========= ERROR SUMMARY: 0 errors'", ""), "memcheck: no summary\n"),
                                (("  exit\n", "  exit 139\n"), "memcheck: ended with exit code 139\n"),
                                (("  exit\n", "  echo '========= ERROR SUMMARY: 2 errors'\n  exit\n"), "memcheck: failed\n"),
                                (("  exit\n", "  echo -n '[ RUN'\n  exit 124\n"), "memcheck: did not end within 20 s\n")]:
            with self.subTest(verdict):
                done = self.sanitize(sanitizer=SANITIZER.replace(*change))
                self.assertEqual(done.returncode, 1)
                self.assertIn(verdict, done.stdout)


if __name__ == "__main__":
    unittest.main()
