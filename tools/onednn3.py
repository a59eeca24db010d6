#!/usr/bin/env python3
"""Compiles the files that use oneDNN against the headers of oneDNN 3, which Ubuntu 24.04 has; Debian 12 has oneDNN 2.
    tools/onednn3.py BUILD          BUILD: a configured build folder with compile_commands.json
    tools/onednn3.py BUILD --run    also links m2bert_ops with that library and runs test_ops of the build
The headers come from PyPI (190 kB; the library 39 MB), once, into .cache/onednn3."""
import json
import os
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".cache" / "onednn3"
VERSION = "2023.2.0"  # of the wheels, with oneDNN 3.2


def fetched(package):
    """The folder with a wheel's files."""
    folder = CACHE / package
    if not folder.exists():
        python = ROOT / ".venv" / "bin" / "python"
        pip = [python if python.exists() else sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps", "--retries", "1", "--timeout", "20"]
        done = subprocess.run([*map(str, pip), "--dest", str(CACHE), f"{package}=={VERSION}"], capture_output=True, text=True)
        if done.returncode != 0:
            print(f"SKIPPED: {package} {VERSION} cannot be downloaded: {done.stderr.strip()[-300:]}")
            sys.exit(0)
        wheel = next(CACHE.glob(package.replace("-", "_") + "-*.whl"))
        part = CACHE / (package + ".part")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(part)
        part.rename(folder)
        wheel.unlink()
    return next(folder.glob("*.data/data"))


def users_of_onednn(build):
    """The compile commands of the files that include oneDNN's header, as (folder, file, words)."""
    for entry in json.loads((build / "compile_commands.json").read_text()):
        file = Path(entry["directory"], entry["file"])
        if file.is_relative_to(ROOT / "m2bert") and re.search(r"^#include <dnnl", file.read_text(), re.M):
            words = shlex.split(entry["command"])
            compiler = next(i for i, word in enumerate(words) if re.search(r"(^|/)(c|g|clang)\+\+[-.0-9]*$", word))
            yield entry["directory"], file, words[compiler:]


def compile_all(build, headers, objects):
    """Returns how many files do not compile. objects: a folder for the results; None: only check."""
    failed = []
    for folder, file, words in users_of_onednn(build):
        out = words.index("-o")
        words[out:out + 2] = ["-o", str(objects / (file.name + ".o"))] if objects else ["-fsyntax-only"]
        words[1:1] = ["-I", str(headers)]
        done = subprocess.run(words, cwd=folder)
        print(("ok      " if done.returncode == 0 else "FAILED  ") + str(file.relative_to(ROOT)), flush=True)
        if done.returncode != 0:
            failed.append(file)
    return len(failed)


def run_tests(build, objects):
    """Links m2bert_ops with oneDNN 3 in place of the system's library, and runs the tests of the build with it."""
    library = fetched("onednn-cpu-gomp") / "lib" / "libdnnl.so.3"
    lines = subprocess.run(["ninja", "-C", str(build), "-t", "commands", "m2bert_ops"], capture_output=True, text=True, check=True).stdout
    link = next(line for line in reversed(lines.splitlines()) if " -shared " in line).removeprefix(": && ").split(" && ")[0]
    words = shlex.split(link)
    replaced = {path.name: path for path in objects.glob("*.o")}
    words = [str(replaced.get(Path(word).name, word)) if word.endswith(".o") else word for word in words]
    words = [str(library) if re.search(r"libdnnl\.so", word) else word for word in words]
    words[words.index("-o") + 1] = str(objects / "libm2bert_ops.so")
    subprocess.run(words, cwd=build, check=True)
    soname = subprocess.run(["readelf", "-d", str(objects / "libm2bert_ops.so")], capture_output=True, text=True, check=True).stdout
    name = re.search(r"SONAME.*\[(.*)\]", soname)[1]
    if not (objects / name).exists():
        os.symlink("libm2bert_ops.so", objects / name)
    environment = {**os.environ, "LD_LIBRARY_PATH": f"{objects}:{library.parent}"}
    return subprocess.run([str(build / "tests" / "ops" / "test_ops")], env=environment).returncode


def main():
    build = Path(sys.argv[1]).resolve()
    run = sys.argv[2:] == ["--run"]
    headers = fetched("onednn-devel-cpu-gomp") / "include"
    objects = None
    if run:
        objects = CACHE / "objects"
        objects.mkdir(exist_ok=True)
    if not any(users_of_onednn(build)):
        print("SKIPPED: this build has no file that uses oneDNN")
        return 0
    failed = compile_all(build, headers, objects)
    if failed or not run:
        return 1 if failed else 0
    return run_tests(build, objects)


if __name__ == "__main__":
    sys.exit(main())
