"""What the import says when something is wrong: one sentence, which names what to install."""
import importlib.metadata
import os
import subprocess
import sys

import m2bert
import pytest
from m2bert import _core_import


def import_error(tmp_path, prepare):
    """The last line of a new Python's import of m2bert, after `prepare`."""
    done = subprocess.run([sys.executable, "-c", f"import sys\n{prepare}\nimport m2bert"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1, done
    return done.stderr.strip().splitlines()[-1]


HIDE = """
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name == {0!r} or name.startswith({0!r} + "."):
            raise ModuleNotFoundError("No module named " + name, name=name)
sys.meta_path.insert(0, Hide())
"""


def test_without_mlx(tmp_path):
    said = import_error(tmp_path, "import importlib.util as u; f = u.find_spec\n"
                                               "u.find_spec = lambda n, p=None: None if n == 'mlx' else f(n, p)")
    assert said.startswith("ImportError: m2bert needs MLX 0.32.4, which is not installed; run: pip install mlx==0.32.4")


def test_another_mlx(tmp_path):
    said = import_error(tmp_path, "import types\nm = types.ModuleType('mlx.core'); m.__version__ = '0.33.0'\nimport mlx\n"
                                               "mlx.core = m; sys.modules['mlx.core'] = m")
    assert said.startswith("ImportError: m2bert needs MLX 0.32.4, and this is MLX 0.33.0; run: pip install")


def test_without_its_library(tmp_path):
    said = import_error(tmp_path, HIDE.format("mlx.core"))
    assert "mlx.core cannot be imported (No module named mlx.core); run: pip install" in said


def test_without_the_backend(tmp_path):
    said = import_error(tmp_path, HIDE.format("nanobind_backend") + "import importlib.metadata as m; v = m.version\n"
                        "def version(name):\n    if name == 'nanobind-backend': raise m.PackageNotFoundError(name)\n    return v(name)\n"
                        "m.version = version")
    assert said == "ImportError: m2bert needs nanobind-backend, which is not installed; run: pip install nanobind-backend"


def test_arrays_that_are_not_shared(monkeypatch):
    class Core:
        @staticmethod
        def shares_arrays(array):
            raise TypeError("incompatible function arguments")

    monkeypatch.setattr(_core_import, "_load", lambda: Core)
    with pytest.raises(ImportError, match="cannot share arrays.*different versions of nanobind"):
        _core_import.import_core()


def test_a_module_that_does_not_load(monkeypatch):
    def load():
        raise ImportError("undefined symbol: _ZN3mlx4core5array")

    monkeypatch.setattr(_core_import, "_load", load)
    with pytest.raises(ImportError, match="extension module cannot be loaded: undefined symbol"):
        _core_import.import_core()
    version = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.32.3" if name == "mlx-cpu" else version(name))
    with pytest.raises(ImportError, match="m2bert needs mlx-cpu 0.32.4, and this is mlx-cpu 0.32.3"):
        _core_import.import_core()


def test_the_environment_stays_as_it_was():
    assert "GOMP_SPINCOUNT" not in os.environ or os.environ["GOMP_SPINCOUNT"] != "5000"


def test_versions_agree():
    """The version of MLX that the code asks for is the one that the wheel depends on."""
    try:
        requires = importlib.metadata.requires("m2bert") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("m2bert is not installed")
    assert f"mlx=={_core_import.MLX_VERSION}" in requires
    assert importlib.metadata.version("m2bert") == m2bert.__version__


def test_adapters_are_not_imported(tmp_path):
    code = "import sys, m2bert; print(*[m for m in ('torch', 'sentence_transformers', 'mteb', 'langchain_core', 'tqdm', 'pandas') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=tmp_path).stdout == "\n"


def test_no_file_of_the_checkout_is_used(bert, tmp_path):
    """Where M2BERT_CHECKOUT names the checkout that the wheel was built in, nothing is loaded from there."""
    checkout = os.environ.get("M2BERT_CHECKOUT")
    if not checkout:
        pytest.skip("M2BERT_CHECKOUT is not set")
    code = """
import m2bert, sys
m2bert.Embedder(sys.argv[1]).embed("a")
print(*(getattr(module, "__file__", None) or "" for module in sys.modules.values()), sep="\\n")
print(*(line.split()[-1] for line in open("/proc/self/maps")), sep="\\n") if sys.platform == "linux" else None
"""
    files = subprocess.run([sys.executable, "-c", code, bert], check=True, capture_output=True, text=True, cwd=tmp_path).stdout.splitlines()
    inside = [file for file in files if file.startswith(checkout + "/") and not file.startswith(checkout + "/.venv-parity")]
    assert files and inside == []
