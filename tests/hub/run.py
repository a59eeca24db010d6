"""run.py M2BERT MAKE_MODELS [TEST...]: `m2bert download` and model names after --model, against a hub on this machine (server.py)."""
import concurrent.futures
import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from email.utils import formatdate
from pathlib import Path

from server import Hub, Repository, git_sha1, make_certificate

TOKEN = "hf_TheSecretOfTheTests0123456789"
COMMIT, OTHER_COMMIT = "c" * 40, "d" * 40
WEIGHTS = bytes(i * i % 251 for i in range(1000)) * 400  # 400 kB
PROGRAM = MODELS = None


def small_files():
    return {"config.json": b'{"hidden_size": 16}', "tokenizer.json": b"{}", "model.safetensors": WEIGHTS}


class Outcome:
    def __init__(self, done):
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr


class HubTest(unittest.TestCase):
    def setUp(self):
        self.scratch = Path(tempfile.mkdtemp(prefix="m2bert hub "))
        self.home = self.scratch / "a home with spaces"
        self.hub = Hub({"org/model": Repository(small_files())})
        self.files = self.hub.repositories["org/model"].files
        self.folder = self.home / "hub" / "models--org--model"

    def tearDown(self):
        self.hub.close()
        for path in self.home.rglob("*"):
            if path.is_file() and path != self.home / "token":
                self.assertNotIn(TOKEN.encode(), path.read_bytes(), f"the token is in {path}")
        shutil.rmtree(self.scratch, ignore_errors=True)

    # ---- running the program ----
    def environment(self, **changes):
        wanted = {"PATH": os.environ["PATH"], "HOME": str(self.scratch / "user"), "HF_HOME": str(self.home), "HF_ENDPOINT": self.hub.address,
                  "HF_TOKEN": TOKEN, "HF_HUB_ETAG_TIMEOUT": "3", "HF_HUB_DOWNLOAD_TIMEOUT": "3", **changes}
        for name in ("ASAN_OPTIONS", "LSAN_OPTIONS", "LD_LIBRARY_PATH"):
            if name in os.environ:
                wanted.setdefault(name, os.environ[name])
        return {name: value for name, value in wanted.items() if value is not None}

    def start(self, *arguments, limit=None, **changes):
        def limited():
            if limit:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        return subprocess.Popen([PROGRAM, *arguments], cwd=self.scratch, env=self.environment(**changes), stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=limited)

    def finish(self, process):
        process.stdout_text, process.stderr_text = process.communicate(timeout=120)
        outcome = Outcome(subprocess.CompletedProcess([], process.returncode, process.stdout_text, process.stderr_text))
        for text in (outcome.out, outcome.err):
            self.assertNotIn(TOKEN, text, "the token is shown")
            self.assertNotIn(TOKEN[4:14], text, "a part of the token is shown")
        return outcome

    def run_program(self, *arguments, **options):
        return self.finish(self.start(*arguments, **options))

    def download(self, *arguments, name="org/model", **options):
        outcome = self.run_program("download", name, "--json", *arguments, **options)
        self.assertEqual(outcome.code, 0, outcome.err)
        return json.loads(outcome.out)

    def fails(self, *said, arguments=(), name="org/model", **options):
        """The download ends with exit code 1 and one error that contains these words."""
        outcome = self.run_program("download", name, *arguments, **options)
        self.assertEqual(outcome.code, 1, outcome.out + outcome.err)
        self.assertEqual(outcome.out, "")
        self.assertIn("error: ", outcome.err)
        for words in said:
            self.assertIn(words, outcome.err)
        self.nothing_outside()
        return outcome

    # ---- what is on disk ----
    def snapshot(self, name, commit=COMMIT):
        return self.folder / "snapshots" / commit / name

    def incomplete(self, name="model.safetensors"):
        return self.folder / "blobs" / (self.hub.repositories["org/model"].etag(name) + ".incomplete")

    def has_all(self):
        for name, content in self.files.items():
            self.assertEqual(self.snapshot(name).read_bytes(), content, name)
        self.assertEqual(list((self.folder / "blobs").glob("*.incomplete")), [])

    def nothing_outside(self):
        """Only the cache was written, and in it only names that it may have."""
        self.assertEqual([p for p in self.scratch.iterdir() if p != self.home and p.name not in ("outside", "work", "user", "cache")], [])
        for path in self.home.iterdir() if self.home.exists() else []:
            self.assertIn(path.name, ("hub", "token"))
        if self.folder.exists():
            self.assertLessEqual({p.name for p in self.folder.iterdir()}, {"blobs", "snapshots", "refs"})

    def break_after(self, share, times=1, kind="cdn", method="GET", then=None):
        """The first `times` answers with a body break off after a fraction of it; then `then` answers, or the hub as usual."""
        left = [times]

        def fault(handler, request):
            if request.kind != kind or request.method != method:
                return False
            if left[0] == 0:
                return then(handler, request) if then else False
            left[0] -= 1
            content = WEIGHTS[request.first_byte:]
            headers = {"Content-Range": f"bytes {request.first_byte}-{len(WEIGHTS) - 1}/{len(WEIGHTS)}"} if request.first_byte else {}
            handler.answer(206 if request.first_byte else 200, headers, content[:int(len(content) * share)], length=len(content))
            handler.break_off()
            return True
        self.hub.fault = fault

    def on(self, kind, do, method=None, times=None):
        """do(handler, request) answers the requests of a kind: all, or the first `times`."""
        left = [times]

        def fault(handler, request):
            if request.kind != kind or method not in (None, request.method) or left[0] == 0:
                return False
            if left[0]:
                left[0] -= 1
            return do(handler, request) is not False
        self.hub.fault = fault


def no_answer(handler, _):
    handler.break_off()
    return True


class Normal(HubTest):
    def test_downloads_what_a_model_needs_in_the_known_layout(self):
        extra = {"README.md": b"# text", "pytorch_model.bin": WEIGHTS[:9000], "training_args.bin": b"x", "onnx/model.onnx": b"x", "onnx/config.json": b"{}",
                 "1_Pooling/config.json": b'{"a": 1}', "modules.json": b"[]", "vocab.txt": b"[PAD]\n", "recipe.yaml": b"a: 1\n", ".gitattributes": b"x"}
        self.files.update(extra)
        outcome = self.run_program("download", "org/model")
        self.assertEqual(outcome.code, 0, outcome.err)
        self.assertEqual(outcome.out, f"{self.folder / 'snapshots' / COMMIT}\n")
        self.assertIn("7 files", outcome.err)
        taken = {str(p.relative_to(self.snapshot(""))) for p in self.snapshot("").rglob("*") if not p.is_dir()}
        self.assertEqual(taken, {"config.json", "tokenizer.json", "model.safetensors", "1_Pooling/config.json", "modules.json", "vocab.txt", "recipe.yaml"})
        for name in taken:
            etag = self.hub.repositories["org/model"].etag(name)
            self.assertEqual(os.readlink(self.snapshot(name)), "../" * (2 + name.count("/")) + "blobs/" + etag)
            self.assertEqual((self.folder / "blobs" / etag).read_bytes(), self.files[name])
        self.assertEqual((self.folder / "refs" / "main").read_text(), COMMIT)
        self.nothing_outside()

    def test_second_call_downloads_nothing(self):
        first = self.download()
        self.assertEqual(first["bytes_fetched"], first["bytes"])
        self.hub.requests.clear()
        second = self.download()
        self.assertEqual((second["bytes_fetched"], second["bytes"]), (0, first["bytes"]))
        self.assertEqual([r.kind for r in self.hub.requests], ["api"])
        self.assertEqual((second["commit"], second["folder"]), (COMMIT, str(self.snapshot("")).rstrip("/")))

    def test_cached_content_is_not_downloaded_again_for_another_commit(self):
        self.download()
        repository = self.hub.repositories["org/model"]
        repository.commit, repository.files["config.json"] = OTHER_COMMIT, b"{}"
        self.hub.requests.clear()
        result = self.download()
        self.assertEqual(result["commit"], OTHER_COMMIT)
        self.assertEqual(self.hub.asked("cdn"), [])
        self.assertEqual(self.snapshot("model.safetensors", OTHER_COMMIT).read_bytes(), WEIGHTS)
        self.assertEqual((self.folder / "refs" / "main").read_text(), OTHER_COMMIT)

    def test_include_exclude_all(self):
        self.files.update({"README.md": b"text", "sub/a.pt": b"x", "sub/b.txt": b"y"})

        def names(*arguments):
            shutil.rmtree(self.home, ignore_errors=True)
            return [f["name"] for f in self.download(*arguments)["files"]]
        self.assertEqual(names("--include", "sub/*"), ["sub/a.pt", "sub/b.txt"])
        self.assertEqual(names("--include", "*.pt", "--include", "*.md"), ["README.md", "sub/a.pt"])
        self.assertEqual(names("--exclude", "*.safetensors"), ["config.json", "tokenizer.json"])
        self.assertEqual(names("--all"), sorted(self.files))
        self.assertEqual(names("--all", "--exclude", "sub/"), ["README.md", "config.json", "model.safetensors", "tokenizer.json"])
        self.fails("is included", arguments=["--include", "nothing*"])

    def test_revisions(self):
        repository = self.hub.repositories["org/model"]
        repository.revisions += ["v1.0", "refs/pr/1"]
        for revision in ("v1.0", "refs/pr/1"):
            self.assertEqual(self.download(name="org/model@" + revision)["revision"], revision)
            self.assertEqual((self.folder / "refs" / revision).read_text(), COMMIT)
        self.assertEqual(self.download("--revision", COMMIT)["commit"], COMMIT)
        self.assertFalse((self.folder / "refs" / COMMIT).exists())
        self.fails("no revision 'v9'", "Invalid rev id", name="org/model@v9")
        self.assertEqual(self.run_program("download", "org/model@v1.0", "--revision", "main").code, 2)

    def test_bare_name_is_redirected_within_the_hub(self):
        def renamed(handler, request):
            if "org/model" in request.path or request.kind == "cdn":
                return False
            handler.answer(307, {"Location": request.path.replace("model/", "org/model/", 1)})
        self.hub.fault = lambda h, r: renamed(h, r) is not False
        result = self.download(name="model")
        self.assertTrue(result["folder"].startswith(str(self.home / "hub" / "models--model" / "snapshots")))
        self.assertTrue(all(r.token for r in self.hub.requests if r.kind != "cdn"))

    def test_invalid_names(self):
        for name in ("org/model/more", "../up", "org/..", "-x/y", "a--b", "org/x.git", "org/model@", "org/model@a..b/../c", "org/model@../../x", "o" * 97, ""):
            self.assertIn(self.run_program("download", name).code, (1, 2), name)
        self.assertEqual(self.hub.requests, [])

    def test_where_the_cache_is(self):
        cache, name = self.scratch / "cache", "models--org--model"
        for changes, place in (({"HF_HUB_CACHE": str(cache / "a")}, cache / "a"), ({"HUGGINGFACE_HUB_CACHE": str(cache / "b")}, cache / "b"),
                               ({"HF_HOME": None, "XDG_CACHE_HOME": str(cache / "c")}, cache / "c/huggingface/hub"),
                               ({"HF_HOME": None}, self.scratch / "user/.cache/huggingface/hub"), ({"HF_HOME": "~/x"}, self.scratch / "user/x/hub")):
            self.download(**changes)
            self.assertTrue((place / name / "refs/main").is_file(), place)
        self.assertIn("set HF_HOME", self.run_program("download", "org/model", HOME=None, HF_HOME=None).err)

    def test_token_goes_to_the_hub_alone(self):
        self.download()
        self.assertEqual({r.token for r in self.hub.requests if r.kind != "cdn"}, {"Bearer " + TOKEN})
        self.assertTrue(self.hub.asked("cdn"))
        for request in self.hub.asked("cdn"):
            self.assertTrue(request.host.startswith("localhost"))
            self.assertIsNone(request.token)

    def test_redirect_of_a_question_to_another_host_carries_no_token(self):
        def away(handler, request):
            if request.host.startswith("localhost"):
                return False
            handler.answer(302, {"Location": self.hub.elsewhere + request.path})
        self.on("api", away)
        self.download()
        self.assertEqual([r.token for r in self.hub.asked("api")], ["Bearer " + TOKEN, None])

    def test_where_the_token_is_from(self):
        self.home.mkdir()
        (self.home / "token").write_text(TOKEN + "\n")
        other = self.scratch / "work"
        other.write_text("hf_other")

        def sent(**changes):
            self.hub.requests.clear()
            self.download(**changes)
            return self.hub.asked("api")[0].token
        self.assertEqual(sent(HF_TOKEN=None), "Bearer " + TOKEN)
        self.assertEqual(sent(HF_TOKEN=None, HF_TOKEN_PATH=str(other)), "Bearer hf_other")
        self.assertEqual(sent(HF_TOKEN=" hf_third\n"), "Bearer hf_third")
        self.assertIsNone(sent(HF_TOKEN=None, HF_HUB_DISABLE_IMPLICIT_TOKEN="1"))
        self.fails("HF_TOKEN", HF_TOKEN=TOKEN + "\r\nX-Evil: 1")
        self.fails("HF_TOKEN", HF_TOKEN=TOKEN + " x")

    def test_two_processes_at_once(self):
        def slowly(handler, request):
            time.sleep(1)
            return False
        self.on("cdn", slowly)
        outcomes = [self.finish(p) for p in [self.start("download", "org/model") for _ in range(3)]]
        self.assertEqual([o.code for o in outcomes], [0, 0, 0], outcomes[0].err + outcomes[1].err)
        self.assertEqual(len(self.hub.asked("cdn", "GET")), 1)
        self.assertIn("waiting for another process", "".join(o.err for o in outcomes))
        self.has_all()

    def test_through_a_proxy(self):
        result = self.download(HF_ENDPOINT="http://hub.invalid", http_proxy=self.hub.address, no_proxy="localhost")
        self.assertEqual(result["commit"], COMMIT)
        self.assertTrue(all(r.proxied == (r.kind != "cdn") for r in self.hub.requests))
        self.fails("hub.invalid", HF_ENDPOINT="http://hub.invalid", http_proxy=self.hub.address, no_proxy="hub.invalid")

    def test_invalid_settings(self):
        for changes, said in (({"HF_ENDPOINT": "ftp://x"}, "HF_ENDPOINT"), ({"HF_ENDPOINT": "nonsense"}, "HF_ENDPOINT"),
                              ({"HF_ENDPOINT": f"http://me:{TOKEN}@127.0.0.1"}, "HF_ENDPOINT"), ({"HF_HUB_ETAG_TIMEOUT": "soon"}, "HF_HUB_ETAG_TIMEOUT")):
            self.fails(said, **changes)

    @unittest.skipUnless(sys.platform == "linux", "libcurl is hidden in a way of Linux's loader")
    def test_without_libcurl(self):
        """What needs it ends with an error that names the package; a model in the cache is used without it."""
        self.download()
        hidden = self.scratch / "work"
        hidden.mkdir()
        for name in ("libcurl.so.4", "libcurl-gnutls.so.4"):
            (hidden / name).touch()  # the loader looks no further, and an empty file is no library
        changes = {"HF_ENDPOINT": None, "LD_LIBRARY_PATH": str(hidden)}
        needs = "downloads need libcurl, which is not installed: install the system's package (Debian and Ubuntu: libcurl4)\n"
        self.fails("error: " + needs, **changes)
        outcome = self.run_program("embed", "--model", "org/other", "--text", "x", **changes)
        self.assertEqual((outcome.code, outcome.out), (1, ""))
        self.assertEqual(outcome.err, "error: org/other: is no file or folder here, and downloading it from the hub fails: " + needs)
        self.download(HF_HUB_OFFLINE="1", **changes)

    def test_offline(self):
        self.fails("HF_HUB_OFFLINE", "m2bert download org/model", HF_HUB_OFFLINE="1")
        self.download()
        self.hub.requests.clear()
        result = self.download(HF_HUB_OFFLINE="1")
        self.assertEqual([f["name"] for f in result["files"]], sorted(self.files))
        self.assertEqual(result["bytes_fetched"], 0)
        self.assertEqual(self.hub.requests, [])
        self.fails("not in the cache", name="org/other", HF_HUB_OFFLINE="YES")


class Breaks(HubTest):
    def test_cut_once_resumes_with_a_range(self):
        self.break_after(0.6)
        self.download()
        self.assertEqual([r.first_byte for r in self.hub.asked("cdn", "GET")], [0, int(len(WEIGHTS) * 0.6)])
        self.has_all()

    def test_cut_for_good_is_kept_and_resumed_by_the_next_run(self):
        self.break_after(0.6, then=no_answer)
        self.fails("are kept; the same command resumes")
        kept = self.incomplete().stat().st_size
        self.assertGreater(kept, len(WEIGHTS) // 2)
        self.assertFalse(self.snapshot("model.safetensors").exists())
        self.assertFalse((self.folder / "refs" / "main").exists())
        self.hub.fault = None
        self.hub.requests.clear()
        outcome = self.run_program("download", "org/model")
        self.assertIn("resuming after", outcome.err)
        self.assertEqual([r.first_byte for r in self.hub.asked("cdn", "GET")], [kept])
        self.has_all()

    def test_server_without_ranges_starts_over(self):
        def whole(handler, request):
            handler.answer(200, {}, WEIGHTS)
        self.break_after(0.6, then=lambda h, r: whole(h, r) is None)
        self.download()
        self.has_all()

    def test_small_file_cut(self):
        def cut(handler, request):
            if not request.path.endswith("config.json"):
                return False
            content = self.files["config.json"]
            handler.answer(200, {"ETag": f'"{git_sha1(content)}"', "X-Repo-Commit": COMMIT}, content[:5], length=len(content))
            handler.break_off()
        self.on("resolve", cut, "GET", times=2)
        self.download()
        self.has_all()

    def test_wrong_content_length(self):
        for length in (len(WEIGHTS) - 1000, len(WEIGHTS) + 1000, 10 ** 18):
            def lie(handler, request, length=length):
                handler.answer(200, {}, WEIGHTS, length=length)
                handler.break_off()
            self.on("cdn", lie)
            self.fails("model.safetensors", "while the hub says")
            self.assertFalse(self.snapshot("model.safetensors").exists())

    def test_wrong_size_promised(self):
        for size in (len(WEIGHTS) - 1, len(WEIGHTS) + 1, 10 ** 15, -3, "many"):
            def promise(handler, request, size=size):
                handler.answer(302, {"X-Linked-Etag": f'"{self.hub.repositories["org/model"].etag("model.safetensors")}"', "X-Linked-Size": size,
                                     "Location": f"{self.hub.elsewhere}/cdn/org/model/files/model.safetensors"})
            self.hub.fault = lambda h, r: r.path.endswith("/model.safetensors") and r.kind == "resolve" and promise(h, r) is None
            if isinstance(size, int) and size > 0:
                self.fails("")
                self.assertFalse(self.snapshot("model.safetensors").exists())
            else:  # not a number, so the size is unknown: the checksum decides
                self.download()
                self.has_all()

    def test_more_bytes_than_announced(self):
        def pour(handler, request):
            handler.answer(200, {"Transfer-Encoding": "chunked"}, length=None)
            for _ in range(10):
                handler.wfile.write(b"%x\r\n%s\r\n" % (len(WEIGHTS), WEIGHTS))
            handler.wfile.write(b"0\r\n\r\n")
        self.on("cdn", pour)
        self.fails("sends more than its")
        self.assertFalse(self.snapshot("model.safetensors").exists())

    def test_fewer_bytes_in_chunks(self):
        def stop(handler, request):
            part = WEIGHTS[request.first_byte:][:100]
            headers = {"Content-Range": f"bytes {request.first_byte}-{len(WEIGHTS) - 1}/{len(WEIGHTS)}"} if request.first_byte else {}
            handler.answer(206 if request.first_byte else 200, {**headers, "Transfer-Encoding": "chunked"}, length=None)
            handler.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(part), part))
        self.on("cdn", stop)
        self.fails("ended early", "500 B of the file are kept")
        self.hub.fault = None
        self.download()
        self.has_all()

    def test_wrong_bytes(self):
        for name, kind in (("model.safetensors", "cdn"), ("config.json", "resolve")):
            def other(handler, request, name=name):
                if not request.path.endswith(name):
                    return False
                content = self.files[name]
                etag = {"ETag": f'"{self.hub.repositories["org/model"].etag(name)}"', "X-Repo-Commit": COMMIT} if name == "config.json" else {}
                handler.answer(200, etag, b"X" + content[1:])
            self.on(kind, other, "GET")
            self.fails(name, "checksum")
            self.assertFalse(self.snapshot(name).exists())
            self.assertFalse(self.incomplete(name).with_suffix("").exists())
            self.assertFalse(self.incomplete(name).exists())
            self.hub.fault = None
            self.download()
            self.has_all()
            shutil.rmtree(self.home)

    def test_part_of_an_earlier_run_that_does_not_fit(self):
        for content in (b"Z" * 5000, b"Z" * len(WEIGHTS), b"Z" * (len(WEIGHTS) + 5)):
            shutil.rmtree(self.home, ignore_errors=True)
            self.incomplete().parent.mkdir(parents=True)
            self.incomplete().write_bytes(content)
            self.download()
            self.has_all()

    def test_part_of_an_earlier_run_that_is_complete(self):
        self.incomplete().parent.mkdir(parents=True)
        self.incomplete().write_bytes(WEIGHTS)
        self.download()
        self.assertEqual(self.hub.asked("cdn"), [])
        self.has_all()

    def test_file_changed_between_two_runs(self):
        self.break_after(0.6, then=no_answer)
        self.fails("are kept")
        old = self.incomplete()
        self.hub.fault = None
        self.files["model.safetensors"] = WEIGHTS[::-1]
        self.download()
        self.assertEqual(self.snapshot("model.safetensors").read_bytes(), WEIGHTS[::-1])
        self.assertTrue(old.exists())  # useless for this commit, but not for the blob of that name

    def test_file_changed_between_question_and_answer(self):
        changed = []

        def change(handler, request):
            if request.path.endswith("model.safetensors") and not changed:
                changed.append(True)
                self.files["model.safetensors"] = WEIGHTS[::-1]
            return False
        self.on("resolve", change, "GET")
        self.download()
        self.has_all()

    def test_file_that_never_stays_the_same(self):
        count = [0]

        def change(handler, request):
            if request.path.endswith("model.safetensors"):
                count[0] += 1
                self.files["model.safetensors"] = WEIGHTS + bytes(str(count[0]), "ascii")
            return False
        self.on("resolve", change, "GET")
        self.fails("changed on the hub")

    def test_another_range_than_asked_for(self):
        def other(handler, request):
            handler.answer(206, {"Content-Range": f"bytes 5-{len(WEIGHTS) - 1}/{len(WEIGHTS)}"}, WEIGHTS[5:])
        self.break_after(0.6, then=lambda h, r: other(h, r) is None)
        self.fails("was asked for the bytes from")
        self.hub.fault = None
        self.download()
        self.has_all()

    def test_range_refused(self):
        self.incomplete().parent.mkdir(parents=True)
        self.incomplete().write_bytes(WEIGHTS[:5000])
        self.on("cdn", lambda h, r: h.answer(416) if r.first_byte else False)
        self.download()
        self.has_all()

    def test_silence(self):
        for kind in ("api", "resolve"):
            self.on(kind, lambda h, r: (time.sleep(3), no_answer(h, r)), times=1)
            shutil.rmtree(self.home, ignore_errors=True)
            began = time.monotonic()
            self.download(HF_HUB_ETAG_TIMEOUT="1")
            self.assertLess(time.monotonic() - began, 30)
            self.has_all()

    def test_silence_for_good(self):
        self.on("api", lambda h, r: (time.sleep(20), no_answer(h, r)))
        began = time.monotonic()
        self.fails("127.0.0.1", HF_HUB_ETAG_TIMEOUT="1")
        self.assertLess(time.monotonic() - began, 40)

    def test_silence_in_the_middle(self):
        def stall(handler, request):
            handler.answer(200, {}, WEIGHTS[:100000], length=len(WEIGHTS))
            handler.wfile.flush()
            time.sleep(4)
            handler.break_off()
        self.on("cdn", stall, times=1)
        self.download(HF_HUB_DOWNLOAD_TIMEOUT="1")
        self.assertEqual([r.first_byte for r in self.hub.asked("cdn", "GET")], [0, 100000])
        self.has_all()

    def trickle(self, handler, request):
        handler.answer(200, {}, WEIGHTS[:200000], length=len(WEIGHTS))
        handler.wfile.flush()
        self.half_way.set()
        time.sleep(10)
        handler.break_off()

    def test_killed_half_way_and_resumed(self):
        for how, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)):
            self.half_way = threading.Event()
            shutil.rmtree(self.home, ignore_errors=True)
            self.on("cdn", self.trickle)
            process = self.start("download", "org/model", HF_HUB_DOWNLOAD_TIMEOUT="20")
            self.assertTrue(self.half_way.wait(30))
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline and not (self.incomplete().exists() and self.incomplete().stat().st_size >= 200000):
                time.sleep(0.02)
            process.send_signal(how)
            outcome = self.finish(process)
            self.assertEqual(outcome.code, code, outcome.err)
            if how != signal.SIGKILL:
                self.assertIn("are kept", outcome.err)
            self.assertEqual(self.incomplete().stat().st_size, 200000)
            self.hub.fault = None
            self.hub.requests.clear()
            self.download()
            self.assertEqual([r.first_byte for r in self.hub.asked("cdn", "GET")], [200000])
            self.has_all()

    def test_full_disk(self):
        outcome = self.fails("cannot write", "are kept", limit=150000)
        self.assertEqual(outcome.err.count("error: "), 1)
        self.assertEqual(self.incomplete().stat().st_size, 150000)
        self.download()
        self.assertEqual(self.hub.asked("cdn", "GET")[-1].first_byte, 150000)
        self.has_all()

    def test_more_than_the_disk_has(self):
        def huge(handler, request):
            handler.answer(302, {"X-Linked-Etag": '"' + "a" * 64 + '"', "X-Linked-Size": 1 << 52, "Location": self.hub.elsewhere + "/cdn/x"})
        self.hub.fault = lambda h, r: r.path.endswith("model.safetensors") and huge(h, r) is None
        self.fails("the disk has")


class Refusals(HubTest):
    def refuse(self, status, code="", message="", kind="api"):
        headers = {k: v for k, v in (("X-Error-Code", code), ("X-Error-Message", message)) if v}
        self.on(kind, lambda h, r: h.answer(status, headers, b"<html>" + TOKEN.encode()))

    def test_not_allowed(self):
        self.refuse(401, "RepoNotFound", "Invalid username or password.")
        self.fails("HF_TOKEN", "accept its terms", "Invalid username", HF_TOKEN=None)
        self.fails("refuses access with the token that is set")

    def test_gated(self):
        for kind in ("api", "resolve"):
            self.refuse(403, "GatedRepo", "Access to model org/model is restricted.", kind)
            self.fails("gated", "Accept its terms at " + self.hub.address + "/org/model", "HF_TOKEN", "restricted")
            self.fails("gated", "HF_TOKEN", HF_TOKEN=None)

    def test_not_there(self):
        self.fails("no such repository", name="org/nothing")
        self.on("resolve", lambda h, r: h.answer(404, {"X-Error-Code": "EntryNotFound"}))
        self.fails("the hub lists this file, but does not have it")

    def test_message_of_the_server_is_made_harmless(self):
        self.refuse(403, "GatedRepo", "\x1b[31mred\x07")
        self.assertNotIn("\x1b", self.fails("\\x1b").err)

    def test_other_statuses(self):
        for status in (400, 418, 204, 304):
            self.refuse(status)
            self.fails(f"status {status}")

    def test_too_many_requests(self):
        for kind in ("api", "resolve", "cdn"):
            shutil.rmtree(self.home, ignore_errors=True)
            self.on(kind, lambda h, r: h.answer(429, {"Retry-After": "1"}), times=1)
            began = time.monotonic()
            self.download()
            self.assertGreaterEqual(time.monotonic() - began, 1)
            self.has_all()

    def test_wait_given_as_a_date(self):
        self.on("api", lambda h, r: h.answer(429, {"Retry-After": formatdate(time.time() + 3, usegmt=True)}), times=1)
        began = time.monotonic()
        self.download()
        self.assertGreaterEqual(time.monotonic() - began, 1.5)

    def test_wait_that_is_too_long(self):
        self.on("api", lambda h, r: h.answer(429, {"Retry-After": "86400"}))
        began = time.monotonic()
        self.fails("24h00m")
        self.assertLess(time.monotonic() - began, 10)
        self.assertEqual(len(self.hub.requests), 1)

    def test_too_many_requests_for_good(self):
        self.on("api", lambda h, r: h.answer(429))
        self.fails("status 429")
        self.assertEqual(len(self.hub.requests), 5)

    def test_out_of_order_for_a_moment(self):
        for kind in ("api", "resolve", "cdn"):
            shutil.rmtree(self.home, ignore_errors=True)
            self.on(kind, lambda h, r: h.answer(503, {}, b"x" * 200000), times=2)
            self.download()
            self.has_all()

    def test_out_of_order_for_good(self):
        self.on("api", lambda h, r: h.answer(500))
        self.fails("out of order", "500")

    def test_nobody_there(self):
        self.hub.close()
        self.fails("127.0.0.1")

    def test_no_hub_at_all(self):
        for body in (b"", b"<html>hello</html>", b"[]", b"{}", b'{"sha": 5, "siblings": []}', b'{"sha": "' + b"c" * 40 + b'"}',
                     b'{"sha": "' + b"c" * 40 + b'", "siblings": [{}]}', b'{"a":' * 100000):
            self.on("api", lambda h, r, body=body: h.answer(200, {}, body))
            self.fails("")

    def test_no_http_at_all(self):
        for line in (b"SSH-2.0-OpenSSH_9\r\n", b"HTTP/1.1 banana\r\n\r\n", b"\0" * 4000):
            def speak(handler, request, line=line):
                handler.wfile.write(line)
                handler.break_off()
            self.on("api", speak)
            self.fails("", HF_HUB_ETAG_TIMEOUT="1")

    def test_endless_answers(self):
        def headers_without_end(handler, request):
            handler.answer(200, {f"X-{i}": "y" * 100 for i in range(3000)}, b"{}")
        self.on("api", headers_without_end)
        self.fails("")

        def body_without_end(handler, request):
            handler.answer(200, {"Transfer-Encoding": "chunked"}, length=None)
            for _ in range(100):
                handler.wfile.write(b"100000\r\n" + b" " * (1 << 20) + b"\r\n")
        self.on("api", body_without_end)
        self.fails("more than")


class Hostile(HubTest):
    NAMES = ("../evil", "../../../../../../evil", "/tmp/m2bert-evil", "a/../../evil", "a/..", "..", ".", "a/./b", "a//b", "a/", "", "a\\b", "..\\evil",
             "a\nb", "a\x00b", "\x1b[31m", "x" * 300, "a/" * 600 + "b", "\x7f", "\ud800")

    def list_files(self, names, sha=COMMIT):
        body = json.dumps({"sha": sha, "siblings": [{"rfilename": n} for n in names]}).encode()
        self.on("api", lambda h, r: h.answer(200, {}, body))

    def test_names_that_lead_out(self):
        for name in self.NAMES:
            self.list_files(["config.json", name])
            outcome = self.fails("", arguments=["--all"])
            self.assertNotIn("\x1b", outcome.err)
            self.assertEqual(self.hub.asked("resolve"), [], name)
            self.assertFalse(self.home.exists(), name)

    def test_file_that_is_a_folder_too(self):
        self.files.clear()
        self.files.update({"a": b"1", "a/b": b"2"})
        self.fails("", arguments=["--all"])

    def test_etags_that_lead_out(self):
        for etag in ("../../evil", "/tmp/m2bert-evil", "a/b", "", "..", ".", "a b", "x" * 200, "a\\b", "\x1b[31m", "abc.incomplete", '"', '""', "ä", "../" + "a" * 64):
            for header in ("X-Linked-Etag", "ETag"):
                def answer(handler, request, etag=etag, header=header):
                    handler.answer(200, {header: f'"{etag}"' if etag != '"' else etag, "X-Repo-Commit": COMMIT}, b"{}")
                self.on("resolve", answer)
                outcome = self.fails("ETag", arguments=["--include", "config.json"])
                self.assertNotIn("\x1b", outcome.err)
                self.assertFalse((self.folder / "blobs").exists() and list((self.folder / "blobs").iterdir()))

    def test_etag_that_is_no_checksum_is_taken(self):
        content = b"{}"

        def answer(handler, request):
            handler.answer(200, {"ETag": 'W/"v1.2-x_3"', "X-Repo-Commit": COMMIT}, content)
        self.on("resolve", answer)
        self.download("--include", "config.json")
        self.assertEqual(os.readlink(self.snapshot("config.json")), "../../blobs/v1.2-x_3")

    def test_no_etag(self):
        self.on("resolve", lambda h, r: h.answer(200, {}, b"{}"))
        self.fails("no ETag")

    def test_commits_that_are_none(self):
        for sha in ("../../evil", "main", "C" * 40, "c" * 39, "", "/", "c" * 39 + "\n"):
            self.list_files(["config.json"], sha)
            self.fails("as its commit, which is none")
            self.assertFalse(self.home.exists())

    def test_another_commit_than_asked_for(self):
        self.list_files(["config.json"], OTHER_COMMIT)
        self.fails("gives the commit", name="org/model@" + COMMIT)
        self.hub.fault = None
        self.on("resolve", lambda h, r: h.answer(200, {"ETag": '"a"', "X-Repo-Commit": "../x"}, b"{}"))
        self.fails("instead of")

    def test_redirects_without_end(self):
        for kind in ("api", "cdn"):
            self.on(kind, lambda h, r: h.answer(302, {"Location": r.path}))
            self.fails("redirects in a row")
        self.on("resolve", lambda h, r: h.answer(307, {"Location": r.path + "x"}))
        self.fails("redirects in a row")

    def test_redirects_to_what_is_no_http(self):
        secret = self.scratch / "outside"
        secret.write_text("secret of the machine")
        for location in (f"file://{secret}", "ftp://127.0.0.1/x", "gopher://127.0.0.1/", "javascript:alert(1)", "http://", "//", "data:,x",
                         f"http://user:pazzword@127.0.0.1:{self.hub.port}/x", "\x1b[31m"):
            for kind in ("api", "resolve", "cdn"):
                self.on(kind, lambda h, r, location=location: h.answer(302, {"Location": location}))
                outcome = self.fails("")
                for part in ("secret of the machine", "pazzword", "\x1b"):
                    self.assertNotIn(part, outcome.err)

    def test_signatures_of_redirects_are_not_shown(self):
        self.on("cdn", lambda h, r: h.answer(403))
        self.assertNotIn("s3cret", self.fails("").err)
        self.on("cdn", no_answer)
        self.assertNotIn("s3cret", self.fails("").err)

    def test_links_in_the_cache_are_not_followed(self):
        outside = self.scratch / "outside"
        self.files["1_Pooling/config.json"] = b'{"p": 1}'
        for link in ("blobs", "snapshots", f"snapshots/{COMMIT}", f"snapshots/{COMMIT}/1_Pooling", "refs"):
            shutil.rmtree(self.home, ignore_errors=True)
            shutil.rmtree(outside, ignore_errors=True)
            outside.mkdir()
            (self.folder / link).parent.mkdir(parents=True)
            (self.folder / link).symlink_to(outside)
            self.fails("is not a folder")
            self.assertEqual(list(outside.iterdir()), [], link)

    def test_files_that_are_links_elsewhere_are_replaced_not_written(self):
        outside = self.scratch / "outside"
        outside.write_text("mine")
        self.snapshot("").mkdir(parents=True)
        self.snapshot("config.json").symlink_to(outside)
        self.incomplete().parent.mkdir()
        self.incomplete().symlink_to(outside)
        (self.folder / "blobs" / self.hub.repositories["org/model"].etag("tokenizer.json")).symlink_to(outside)
        self.download()
        self.has_all()
        self.assertEqual(outside.read_text(), "mine")
        (self.folder / "refs/main").unlink()
        (self.folder / "refs/main").symlink_to(outside)
        self.fails("is a link")
        self.assertEqual(outside.read_text(), "mine")


class Encrypted(HubTest):
    def setUp(self):
        super().setUp()
        self.plain, work = self.hub, self.scratch / "work"
        work.mkdir()
        if not make_certificate(work / "key.pem"):
            self.skipTest("the program openssl is absent")
        self.hub = Hub(self.plain.repositories, work / "key.pem")
        self.trusted = {"CURL_CA_BUNDLE": str(work / "key.pem.crt")}

    def tearDown(self):
        self.plain.close()
        super().tearDown()

    def test_certificates_that_are_trusted_and_not(self):
        began = time.monotonic()
        self.fails("certificate")
        self.assertLess(time.monotonic() - began, 5)  # no retries
        for name in ("CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
            shutil.rmtree(self.home, ignore_errors=True)
            self.download(**{name: self.trusted["CURL_CA_BUNDLE"]})
            self.has_all()

    def test_never_from_https_to_http(self):
        for kind in ("api", "resolve", "cdn"):
            self.on(kind, lambda h, r: h.answer(302, {"Location": self.plain.address + r.path}))
            self.fails("from https to http", **self.trusted)
        self.assertEqual(self.plain.requests, [])

    def test_through_a_proxys_tunnel(self):
        self.download(HF_ENDPOINT=f"https://hub.invalid:{self.hub.port}", https_proxy=self.plain.address, **self.trusted)
        self.has_all()
        self.assertTrue(self.plain.tunnels)
        self.assertTrue(all(headers.get("Authorization") is None for headers in self.plain.tunnels))
        self.assertEqual(self.plain.requests, [])
        self.assertIn("Bearer " + TOKEN, {r.token for r in self.hub.requests})


class ModelNames(HubTest):
    """Model names on the hub after --model."""

    def setUp(self):
        super().setUp()
        self.local = MODELS / "sentiment"
        config = json.loads((self.local / "config.json").read_text())
        config["auto_map"] = {"AutoModelForSequenceClassification": "bert_layers.BertForSequenceClassification"}
        self.files.clear()  # like M2-BERT's own repositories: weights named as a pickle, code, no vocabulary
        self.files.update({"config.json": json.dumps(config).encode(), "pytorch_model.bin": (self.local / "model.safetensors").read_bytes(),
                           "bert_layers.py": b"raise SystemExit('must not run')", "README.md": b"text"})

    def classify(self, model, **options):
        outcome = self.run_program("classify", "--json", "--model", model, "--text", "A lovely film.", **options)
        return outcome

    def labels(self, model, **options):
        outcome = self.classify(model, **options)
        self.assertEqual(outcome.code, 0, outcome.err)
        return outcome.out

    def test_name_gives_what_the_folder_gives(self):
        wanted = self.labels(str(self.local))
        self.assertEqual(self.hub.requests, [])
        self.assertEqual(self.labels("org/model"), wanted)
        self.assertEqual({p.name for p in self.snapshot("").iterdir()}, {"config.json", "pytorch_model.bin"})
        self.hub.requests.clear()
        self.assertEqual(self.labels("org/model"), wanted)
        self.assertEqual([r.kind for r in self.hub.requests], ["api"])
        self.hub.requests.clear()
        self.assertEqual(self.labels("org/model@" + COMMIT), wanted)
        self.assertEqual(self.labels("org/model", HF_HUB_OFFLINE="1"), wanted)
        self.assertEqual(self.hub.requests, [])

    def test_unreachable_hub_means_the_cache_and_one_warning(self):
        wanted = self.labels("org/model")
        self.on("api", lambda h, r: h.answer(502))
        outcome = self.classify("org/model")
        self.assertEqual((outcome.code, outcome.out), (0, wanted))
        self.assertEqual(outcome.err.count("warning: "), 1)
        self.assertIn("as it is in the cache", outcome.err)
        self.hub.close()
        outcome = self.classify("org/model")
        self.assertEqual((outcome.code, outcome.out), (0, wanted))
        self.assertEqual(outcome.err.count("warning: "), 1)

    def test_refusal_is_no_reason_for_the_cache(self):
        self.labels("org/model")
        self.on("api", lambda h, r: h.answer(403, {"X-Error-Code": "GatedRepo"}))
        outcome = self.classify("org/model")
        self.assertEqual(outcome.code, 1)
        self.assertIn("gated", outcome.err)

    def test_half_a_download_leaves_the_old_state_in_use(self):
        wanted = self.labels("org/model")
        repository = self.hub.repositories["org/model"]
        repository.commit, repository.files["pytorch_model.bin"] = OTHER_COMMIT, b"X" * 500000
        self.on("cdn", no_answer)
        self.assertEqual(self.run_program("download", "org/model").code, 1)
        outcome = self.classify("org/model")
        self.assertEqual((outcome.code, outcome.out), (0, wanted), outcome.err)
        self.assertEqual(self.labels("org/model", HF_HUB_OFFLINE="1"), wanted)

    def test_offline_download_of_half_a_snapshot(self):
        self.download("--include", "config.json")
        self.fails("HF_HUB_OFFLINE", HF_HUB_OFFLINE="1")
        self.assertEqual([f["name"] for f in self.download("--include", "*.json", HF_HUB_OFFLINE="1")["files"]], ["config.json"])

    def test_half_a_snapshot_is_no_model(self):
        self.on("cdn", no_answer)
        self.assertEqual(self.run_program("download", "org/model@" + COMMIT).code, 1)
        outcome = self.classify("org/model@" + COMMIT, HF_HUB_OFFLINE="1")
        self.assertEqual(outcome.code, 1)
        self.assertIn("HF_HUB_OFFLINE", outcome.err)
        self.hub.fault = None
        self.labels("org/model@" + COMMIT)

    def test_local_folder_wins(self):
        shutil.copytree(self.local, self.scratch / "work" / "model")
        self.labels("work/model")
        self.assertEqual(self.hub.requests, [])

    def test_neither_local_nor_on_the_hub(self):
        outcome = self.classify("org/nothing")
        self.assertEqual(outcome.code, 1)
        for part in ("org/nothing", "no file or folder", "no such repository"):
            self.assertIn(part, outcome.err)
        self.hub.requests.clear()
        for name in ("missing.pt", "./org/model", "a/b/c", "folder/model.safetensors", "recipe.yaml"):
            self.assertEqual(self.classify(name).code, 1, name)
        self.assertEqual(self.hub.requests, [])

    def test_inspect_and_convert(self):
        outcome = self.run_program("inspect", "org/model", "--summary")
        self.assertEqual(outcome.code, 0, outcome.err)
        self.assertIn("M2-BERT", outcome.out)
        (self.scratch / "work").mkdir()
        outcome = self.run_program("convert", "org/model", "work/again", "--to", "hugging-face")
        self.assertEqual(outcome.code, 0, outcome.err)
        self.assertEqual(self.labels("work/again"), self.labels("org/model"))


def run_test(test):
    stream = io.StringIO()
    result = unittest.TextTestRunner(stream=stream, verbosity=0).run(test)
    return test.id(), result.wasSuccessful(), stream.getvalue(), [reason for _, reason in result.skipped]


def main():
    global PROGRAM, MODELS
    PROGRAM = os.path.abspath(sys.argv[1])
    work = Path(tempfile.mkdtemp(prefix="m2bert-hub-models-"))
    MODELS = work
    subprocess.run([os.path.abspath(sys.argv[2]), work], check=True)
    tests = [t for suite in unittest.defaultTestLoader.loadTestsFromModule(sys.modules["__main__"]) for t in suite]
    if sys.argv[3:]:
        tests = [t for t in tests if any(word in t.id() for word in sys.argv[3:])]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:  # most of them only wait
        results = list(pool.map(run_test, tests))
    shutil.rmtree(work, ignore_errors=True)
    failed = [(name, text) for name, good, text, _ in results if not good]
    for name, _, _, skipped in results:
        if skipped:
            print(f"SKIPPED {name}: {skipped[0]}")
    for name, text in failed:
        print(f"==== {name}\n{text}")
    print(f"{len(results) - len(failed)} of {len(results)} tests passed")
    sys.exit(1 if failed or not results else 0)


if __name__ == "__main__":
    main()
