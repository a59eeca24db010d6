"""remote.py M2BERT: runs `m2bert data show` on data sets behind a local HTTP server that also misbehaves."""
import http.server
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest
from pathlib import Path

PROGRAM = None


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        name = self.path.removeprefix("/d/")
        self.server.asked.append((name, self.headers.get("Range")))
        for odd in self.server.odd:
            if odd(self, name):
                return
        path = self.server.folder / name
        if not self.path.startswith("/d/") or not path.is_file():
            return self.answer(404, b"no")
        content, begin = path.read_bytes(), 0
        if self.server.ranges and self.headers.get("Range"):
            begin = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
            if begin >= len(content):
                return self.answer(416, b"")
            return self.answer(206, content[begin:], {"Content-Range": f"bytes {begin}-{len(content) - 1}/{len(content)}"})
        self.answer(200, content)

    def answer(self, status, content, headers=None, promised=None):
        self.send_response(status)
        for key, value in {"Content-Length": str(promised or len(content)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(content)
        if promised:
            self.close_connection = True


class RemoteTest(unittest.TestCase):
    def setUp(self):
        self.scratch = Path(tempfile.mkdtemp(prefix="m2bert remote "))
        lines = "".join(f"Document number {i} is about butterflies.\n" for i in range(3000))
        (self.scratch / "in.txt").write_text(lines)
        self.run_program("data", "build", self.scratch / "in.txt", "--out", self.scratch / "data", "--shard-size", "16kb", "--compression", "zstd")
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.folder, self.server.asked, self.server.odd, self.server.ranges = self.scratch / "data" / "train", [], [], True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/d"

    def tearDown(self):
        self.server.shutdown()
        self.server.server_close()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def start(self, *arguments):
        environment = {**os.environ, "XDG_CACHE_HOME": str(self.scratch / "cache"), "no_proxy": "*", "NO_PROXY": "*"}
        return subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, env=environment, timeout=120)

    def run_program(self, *arguments):
        done = self.start(*arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def check(self):
        return json.loads(self.run_program("data", "show", self.url, "--check", "--json"))

    def fails(self, *parts, check=True):
        done = self.start("data", "show", self.url, *(["--check"] if check else []))
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        for part in parts:
            self.assertIn(part, done.stderr + done.stdout)
        return done

    def cached(self):
        return sorted(p.name for p in (self.scratch / "cache").rglob("*") if p.is_file())

    def index(self):
        return json.loads((self.server.folder / "index.json").read_text())

    def write_index(self, index):
        (self.server.folder / "index.json").write_text(json.dumps(index))

    def test_reads_a_data_set_behind_an_address(self):
        report = self.check()
        self.assertEqual((report["samples"], report["samples_checked"], report["problem_count"]), (3000, 3000, 0))
        self.assertEqual(self.cached(), ["index.json"])  # keep_zip and keep_raw are off
        shards = [name for name, _ in self.server.asked if name.startswith("shard")]
        self.assertEqual(len(shards), report["shards"])
        self.assertEqual(len(set(shards)), report["shards"])

    def test_shows_the_index_without_fetching_shards(self):
        self.run_program("data", "show", self.url)
        self.assertEqual([name for name, _ in self.server.asked], ["index.json"])

    def test_resumes_when_the_connection_breaks(self):
        broken = set()

        def breaks(handler, name):
            if not name.startswith("shard") or name in broken or len(broken) == 2:
                return False
            broken.add(name)
            content = (handler.server.folder / name).read_bytes()
            handler.answer(200, content[: len(content) // 2], promised=len(content))
            return True

        self.server.odd.append(breaks)
        self.assertEqual(self.check()["problem_count"], 0)
        self.assertTrue(any(r and r != "bytes=0-" for n, r in self.server.asked if n.startswith("shard")))

    def test_servers_without_ranges(self):
        self.server.ranges = False
        self.test_resumes_when_the_connection_breaks()

    def test_statuses(self):
        (self.server.folder / "index.json").unlink()
        self.fails("index.json: the server answers with status 404")
        self.assertEqual(self.cached(), [])

    def test_a_missing_shard_is_reported(self):
        (self.server.folder / "shard.00003.mds.zstd").unlink()
        self.fails("shard.00003.mds.zstd: the server answers with status 404", "1 problem was found")

    def test_more_or_fewer_bytes_than_the_index_says(self):
        for name, change in (("shard.00001.mds.zstd", lambda c: c + b"x"), ("shard.00002.mds.zstd", lambda c: c[:-1])):
            path = self.server.folder / name
            path.write_bytes(change(path.read_bytes()))
        done = self.fails("2 problems were found", "the server sends more than")
        self.assertRegex(done.stdout, r"shard\.00002\.mds\.zstd")
        self.assertNotIn("shard.00001.mds.zstd", self.cached())

    def test_damaged_content_is_found_and_removed(self):
        path = self.server.folder / "shard.00001.mds.zstd"
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 0x10
        path.write_bytes(bytes(content))
        self.fails("shard.00001.mds.zstd", "1 problem was found")
        self.assertEqual(self.cached(), ["index.json"])

    def test_names_that_lead_out_of_the_folder(self):
        for name in ("../../../evil", "/tmp/m2bert-evil", "a/../../evil", "..\\evil", "a\nb", ""):
            index = self.index()
            index["shards"][0]["zip_data"]["basename"] = name
            self.write_index(index)
            shutil.rmtree(self.scratch / "cache", ignore_errors=True)
            self.fails("nothing is read from it")
            self.assertEqual([n for n, _ in self.server.asked if n != "index.json"], [])

    def test_malformed_indexes(self):
        for content in (b"", b"<html>", b"[]", b'{"version": 3, "shards": []}', b"\xff" * 100):
            (self.server.folder / "index.json").write_bytes(content)
            shutil.rmtree(self.scratch / "cache", ignore_errors=True)
            self.fails("index.json", check=False)

    def test_unsupported_addresses(self):
        for url in ("s3://bucket/x", "ftp://host/x", "http://", "http://name:secret@host/x"):
            done = self.start("data", "show", url)
            self.assertEqual(done.returncode, 1)
            self.assertNotIn("secret", done.stderr)


if __name__ == "__main__":
    PROGRAM = sys.argv.pop(1)
    unittest.main()
