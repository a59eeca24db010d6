"""The package's own types, and those that its users see, under mypy --strict and pyright."""
import ast
import importlib.util
import inspect
import shutil
import subprocess
import sys
from pathlib import Path

import m2bert
import pytest

USER = '''
import numpy as np
import numpy.typing as npt
import m2bert

embedder = m2bert.Embedder("model", pad="longest", max_length=128)
vectors: npt.NDArray[np.float32] = embedder.embed(["a", "b"], progress=True)
vectors = embedder.embed(str(i) for i in range(3))
similarity: npt.NDArray[np.float32] = embedder.similarity(vectors, vectors[0])
with m2bert.Classifier("model") as classifier:
    scores: npt.NDArray[np.float32] = classifier.scores("a")
    labels: list[str] = classifier.labels
tokenizer = m2bert.Tokenizer()
ids: npt.NDArray[np.int32] = tokenizer("a").ids
encodings: list[m2bert.Encoding] = tokenizer(["a", "b"], max_length=8)
dim: int = embedder.dim
try:
    m2bert.set_threads(1)
except m2bert.Error as error:
    print(error)
'''

WRONG = '''
import m2bert

m2bert.Embedder("model", pad="none")
m2bert.Embedder("model").embed(3)
m2bert.Tokenizer()(["a"]).ids
'''


# The adapters whose libraries are not in this environment.
LIBRARIES = {"langchain.py": "langchain_core", "mteb.py": "mteb", "sentence_transformers.py": "sentence_transformers"}
WITHOUT = {file for file, library in LIBRARIES.items() if importlib.util.find_spec(library) is None}


def checker(name):
    if name == "mypy":
        pytest.importorskip("mypy")
        return [sys.executable, "-m", "mypy", "--strict", "--no-incremental"]
    pytest.importorskip("pyright")
    return [sys.executable, "-m", "pyright", "--pythonpath", sys.executable]


@pytest.mark.parametrize("name", ["mypy", "pyright"])
def test_a_users_program(name, tmp_path):
    command = checker(name)
    (tmp_path / "user.py").write_text(USER)
    done = subprocess.run([*command, "user.py"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    (tmp_path / "wrong.py").write_text(WRONG)
    said = subprocess.run([*command, "wrong.py"], capture_output=True, text=True, cwd=tmp_path).stdout
    lines = {line.split(":")[1] for line in said.splitlines() if "wrong.py:" in line and "error" in line}
    assert {"4", "5", "6"} <= lines, said


@pytest.mark.parametrize("name", ["mypy", "pyright"])
def test_the_package(name, tmp_path):
    command = checker(name)
    shutil.copytree(Path(m2bert.__file__).parent, tmp_path / "m2bert", ignore=shutil.ignore_patterns("*.so", "lib", "bin", "__pycache__"))
    files = sorted(str(file.relative_to(tmp_path)) for file in (tmp_path / "m2bert").glob("*.py") if file.name not in WITHOUT)
    done = subprocess.run([*command, *files], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["_core", "ops"])
def test_stubs_have_the_docstrings(name):
    """Those of the compiled module (tools/python_stubs.py writes them)."""
    module = getattr(m2bert, name)
    tree = ast.parse(Path(m2bert.__file__).with_name(f"{name}.pyi").read_text())
    nodes = {}
    for node in tree.body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            nodes.setdefault(node.name, node)
    assert ast.get_docstring(tree) == inspect.getdoc(module)
    for of_stub, node in nodes.items():
        if not hasattr(module, of_stub):  # a type of the stub alone
            continue
        thing = getattr(module, of_stub)
        signatures = getattr(thing, "__nb_signature__", None)
        doc = signatures[0][1] if signatures else thing.__doc__
        assert ast.get_docstring(node) == (inspect.cleandoc(doc) if doc else None), of_stub


def test_stubs_list_what_the_module_has():
    """Every name of m2bert._core is in its stub, and the other way round."""
    tree = ast.parse(Path(m2bert.__file__).with_name("_core.pyi").read_text())
    stubs = {node.name: node for node in tree.body if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and
             not any(isinstance(base, ast.Name) and base.id == "TypedDict" for base in getattr(node, "bases", []))}
    public = {name for name in vars(m2bert._core) if not name.startswith("_") and not isinstance(getattr(m2bert._core, name), type(ast))}
    assert public == set(stubs)
    for name, node in stubs.items():
        if isinstance(node, ast.ClassDef) and name != "Error":
            members = {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
            found = {member for member in vars(getattr(m2bert._core, name)) if not member.startswith("_")}
            assert found == {member for member in members if not member.startswith("_")}, name
