"""The cache is compatible with huggingface_hub: each finds what the other has downloaded. Uses the server of tests/hub, not the network."""
import json
import os
import subprocess
import sys

import pytest
from conftest import REPOSITORY, program

sys.path.insert(0, str(REPOSITORY / "tests" / "hub"))
from server import Hub, Repository  # noqa: E402

huggingface_hub = pytest.importorskip("huggingface_hub")
COMMIT = "c" * 40
FILES = {"config.json": b"{}", "1_Pooling/config.json": b'{"a": 1}', "model.safetensors": bytes(i % 251 for i in range(50000)), "vocab.txt": b"[PAD]\n",
         "modules.json": b"[]"}
REVISIONS = ["main", "v1.0", "refs/pr/1"]


@pytest.fixture
def hub():
    hub = Hub({"org/model": Repository(FILES, COMMIT, REVISIONS)})
    yield hub
    hub.close()


@pytest.fixture
def environment(hub, tmp_path):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TRANSFORMERS_")) and "proxy" not in k.lower()}
    return {**kept, "HF_HOME": str(tmp_path / "a home"), "HF_ENDPOINT": hub.address, "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1"}


def python(code, environment):
    """Runs huggingface_hub in a process of its own, because it reads the environment only when it is imported."""
    done = subprocess.run([sys.executable, "-c", "import json, huggingface_hub as h\n" + code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1])


def m2bert(environment, *arguments):
    done = subprocess.run([program("m2bert"), "download", "--json", *arguments], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("revision", [*REVISIONS, COMMIT])
def test_they_find_ours(hub, environment, revision):
    folder = m2bert(environment, "org/model", "--revision", revision)["folder"]
    hub.requests.clear()
    for name, content in FILES.items():
        arguments = f"'org/model', {name!r}, revision={revision!r}"
        found = python(f"print(json.dumps([h.try_to_load_from_cache({arguments}), h.hf_hub_download({arguments}, local_files_only=True)]))", environment)
        assert found == [f"{folder}/{name}"] * 2
        assert open(found[0], "rb").read() == content
    offline = {**environment, "HF_HUB_OFFLINE": "1"}
    assert python(f"print(json.dumps(h.snapshot_download('org/model', revision={revision!r})))", offline) == folder
    assert hub.requests == []
    scan = python("r, = h.scan_cache_dir().repos; print(json.dumps([r.repo_id, len(r.revisions), r.size_on_disk]))", environment)
    assert scan == ["org/model", 1, sum(map(len, FILES.values()))]


def test_they_take_nothing_that_we_have(hub, environment):
    m2bert(environment, "org/model")
    hub.requests.clear()
    python("print(json.dumps(h.snapshot_download('org/model')))", environment)
    assert hub.asked("cdn") == [] and hub.asked("resolve", "GET") == []


@pytest.mark.parametrize("revision", [*REVISIONS, COMMIT])
def test_we_find_theirs(hub, environment, revision):
    folder = python(f"print(json.dumps(h.snapshot_download('org/model', revision={revision!r})))", environment)
    hub.requests.clear()
    offline = m2bert({**environment, "HF_HUB_OFFLINE": "1"}, f"org/model@{revision}")
    assert hub.requests == []
    assert offline["folder"] == folder and sorted(f["name"] for f in offline["files"]) == sorted(FILES)
    online = m2bert(environment, f"org/model@{revision}")
    assert online["folder"] == folder and online["bytes_fetched"] == 0
    assert [r.kind for r in hub.requests] == ["api"]


def test_names_are_judged_alike():
    from huggingface_hub.utils import validate_repo_id
    from huggingface_hub.errors import HFValidationError

    def theirs(name):
        try:
            validate_repo_id(name)
            return True
        except HFValidationError:
            return False
    names = ["a", "a/b", "a.b/c-d_e", "_a", "a_", "-a", "a-", ".a", "a.", "a--b", "a..b", "a/b/c", "a b", "x.git", "a" * 96, "a" * 97, "a" * 96 + "/" + "b" * 96,
             "é", "a/", "/a", "", "a\\b", "a:b", "9", "a/9"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    for name in names:
        done = subprocess.run([program("m2bert"), "download", "--", name], env=environment, capture_output=True, text=True)
        assert (("is not the name of a model" not in done.stderr) and done.returncode == 1) == theirs(name), (name, done.stderr)
