"""examples/ray_embed.py and examples/spark_embed.py on local clusters: the vectors of one Embedder, also if a worker is killed."""
import importlib.util
import json
import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path

import m2bert
import numpy as np
import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
ROWS = 3000


def needs(*packages):
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)}: not installed (script/test --python --scaling installs them)")


@pytest.fixture(scope="module")
def rows():
    words = "monarch butterfly river winter migrate milkweed south forest garden stone".split()
    return [{"id": i, "text": " ".join(words[(i * 7 + j * j) % len(words)] for j in range(1 + i % 20))} for i in range(ROWS)]


@pytest.fixture(scope="module")
def texts(rows, tmp_path_factory):
    """The rows in several files, so that several workers have something to do."""
    folder = tmp_path_factory.mktemp("texts")
    for part in range(6):
        lines = (json.dumps(row) + "\n" for row in rows[part::6])
        (folder / f"part{part}.jsonl").write_text("".join(lines))
    return folder


@pytest.fixture(scope="module")
def expected(rows, m2):
    """M2-BERT at its maximum length: which texts are in a batch only changes the last bits of a vector."""
    with m2bert.Embedder(**m2, threads=1) as embedder:
        return embedder.embed([row["text"] for row in rows])


def run(script, arguments, environment, kill, folder):
    """Runs the example. With `kill`, one of its workers kills itself between two batches (killing/sitecustomize.py)."""
    killed = folder / "killed"
    environment = {**os.environ, **environment}
    if kill:
        environment.update(PYTHONPATH=str(Path(__file__).with_name("killing")), M2BERT_TEST_KILLED=str(killed))
    done = subprocess.run([sys.executable, EXAMPLES / script, *map(str, arguments)], env=environment, text=True, timeout=900,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode == 0:
        assert killed.exists() == kill
    return done


def check(output, rows, expected):
    import pyarrow.parquet as pq

    table = pq.read_table(output).sort_by("id")
    assert table["id"].to_pylist() == [row["id"] for row in rows]
    assert table["text"].to_pylist() == [row["text"] for row in rows]
    np.testing.assert_allclose(np.array(table["embedding"].to_pylist(), dtype=np.float32), expected, rtol=0, atol=1e-6)


@needs("ray", "pyarrow")
@pytest.mark.parametrize("kill", [False, True], ids=["undisturbed", "an actor is killed"])
def test_ray(kill, texts, rows, expected, m2, tmp_path):
    # A driver that knows no cluster starts a local one. On a busy machine a worker may need more than a minute to start.
    environment = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_raylet_start_wait_time_s": "60",
                   "RAY_worker_register_timeout_seconds": "600"}
    arguments = [m2["model"], texts, tmp_path / "out", "--config", m2["config"], "--actors", 2, "--cpus", 4, "--batch-size", 50]
    for _ in range(5):
        done = run("ray_embed.py", arguments, environment, kill, tmp_path)
        # On a busy machine Ray's own processes may take longer than the 15 s that it gives them (ray-project/ray#65983).
        if "The current node timed out during startup" not in done.stdout:
            break
    assert done.returncode == 0, done.stdout
    check(tmp_path / "out", rows, expected)


@needs("pyspark", "pandas", "pyarrow")
@pytest.mark.skipif(not (os.environ.get("JAVA_HOME") or shutil.which("java")), reason="Java is not installed (default-jre-headless)")
@pytest.mark.parametrize("kill", [False, True], ids=["undisturbed", "a worker is killed"])
def test_spark(kill, texts, rows, expected, m2, tmp_path):
    # Two tasks at a time, each of which may fail three times, with 15 batches each.
    submit = ("--master local[2,4] --conf spark.ui.enabled=false --conf spark.driver.host=127.0.0.1 "
              "--conf spark.sql.execution.arrow.maxRecordsPerBatch=50 pyspark-shell")
    environment = {"PYSPARK_SUBMIT_ARGS": submit, "PYSPARK_PYTHON": sys.executable}
    arguments = [m2["model"], texts, tmp_path / "out", "--config", m2["config"], "--partitions", 4]
    done = run("spark_embed.py", arguments, environment, kill, tmp_path)
    assert done.returncode == 0, done.stdout
    check(tmp_path / "out", rows, expected)
