"""The command m2bert that the wheel brings."""
import os
import shutil
import subprocess
import sys
from pathlib import Path

import m2bert
import m2bert_program
import pytest


@pytest.fixture
def command():
    command = Path(sys.executable).parent / "m2bert"
    if not command.exists():
        pytest.skip("m2bert is not installed as a wheel")
    return command


def test_the_command_is_the_program(command, bert, tmp_path):
    said = subprocess.run([command, "--version"], check=True, capture_output=True, text=True).stdout
    assert m2bert.__version__ in said and "0.32.4" in said
    done = subprocess.run([command, "embed", "--model", bert, "--text", "x", "-o", "x.npy"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0 and (tmp_path / "x.npy").is_file(), done.stderr


def test_exit_codes(command):
    assert subprocess.run([command, "no-such-command"], capture_output=True).returncode == 2
    assert subprocess.run([command, "embed", "--model", "no/such/folder/", "--text", "x"], capture_output=True).returncode == 1


def test_mlx_in_another_folder(command, bert, tmp_path):
    """The package copied to a folder without MLX, which another entry of sys.path has."""
    site = Path(m2bert.__file__).parents[1]
    for name in ("m2bert", "m2bert_program", "m2bert.libs"):
        if (site / name).exists():
            shutil.copytree(site / name, tmp_path / name)
    done = subprocess.run([sys.executable, "-c", "import m2bert_program; m2bert_program.main()", "embed", "--model", bert, "--text", "x"],
                          capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert done.returncode == 0 and done.stdout.startswith('{"index":0'), done.stderr


def test_without_mlx(monkeypatch):
    monkeypatch.setattr(m2bert_program, "_folder", lambda package: None if package == "mlx" else "/x")
    with pytest.raises(SystemExit, match="mlx is not installed"):
        m2bert_program.main()
