"""build_library_example.py REPOSITORY MAKE_MODELS CMAKE COMPILER TREE: builds the C++ program and CMakeLists.txt of README.md against the
installed tree, and runs the program on the models of make_models.cpp."""
import subprocess
import sys
import tempfile
from pathlib import Path

import markdown

repository, make_models, cmake, compiler, tree = sys.argv[1:]
blocks, _ = markdown.read(Path(repository) / "README.md")
with tempfile.TemporaryDirectory(prefix="m2bert-docs-") as name:
    folder = Path(name)
    for language, file in (("cpp", "main.cpp"), ("cmake", "CMakeLists.txt")):
        found = [b.text for b in blocks if b.language == language]
        if len(found) != 1:
            sys.exit(f"README.md has {len(found)} blocks of {language}, one is wanted")
        (folder / file).write_text(found[0] + "\n", encoding="utf-8")
    subprocess.run([make_models, folder], check=True)
    subprocess.run([cmake, "-G", "Ninja", "-S", folder, "-B", folder / "build", f"-DCMAKE_CXX_COMPILER={compiler}", f"-DCMAKE_PREFIX_PATH={tree}"],
                   check=True)
    subprocess.run([cmake, "--build", folder / "build"], check=True)
    said = subprocess.run([folder / "build" / "embed"], cwd=folder, check=True, capture_output=True, text=True).stdout
    print(said)
    if said.split()[:2] != ["2", "x"]:
        sys.exit("expected a line that begins '2 x'")
