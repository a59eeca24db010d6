"""Parquet files that pyarrow writes in many ways, against what pyarrow reads from them."""
import itertools
import json
import math
import random

import pytest

from conftest import program, run

pa = pytest.importorskip("pyarrow", reason="pyarrow is absent (tests/parity/requirements.txt)")
pq = pytest.importorskip("pyarrow.parquet")

ENCODINGS = {
    "dictionary": {"use_dictionary": True},
    "plain": {"use_dictionary": False},
    "delta": {"use_dictionary": False, "column_encoding": {"text": "DELTA_LENGTH_BYTE_ARRAY", "id": "DELTA_BINARY_PACKED", "small": "DELTA_BINARY_PACKED",
                                                           "score": "BYTE_STREAM_SPLIT", "weight": "BYTE_STREAM_SPLIT"}},
    "prefixes": {"use_dictionary": False, "column_encoding": {"text": "DELTA_BYTE_ARRAY"}},
}


def random_table(rng, rows):
  def some(value, often=0.2):
    return [None if rng.random() < often else value() for _ in range(rows)]
  def word():
    return "".join(rng.choice("abc é蝶🦋\n\"'") for _ in range(rng.choice([0, 1, 5, 40, 300])))
  return pa.table({
      "text": pa.array([word() for _ in range(rows)], pa.string()),
      "id": pa.array([rng.choice([0, 1, -1, 2**53 - 1, -(2**53)]) + rng.randrange(9) for _ in range(rows)], pa.int64()),
      "small": pa.array(some(lambda: rng.randrange(-2**31, 2**31)), pa.int32()),
      "score": pa.array(some(lambda: rng.uniform(-5, 5)), pa.float32()),
      "weight": pa.array(some(lambda: rng.gauss(0, 1e10)), pa.float64()),
      "flag": pa.array(some(lambda: rng.random() < 0.5), pa.bool_()),
      "names": pa.array(some(lambda: [rng.choice([None, word()]) for _ in range(rng.randrange(4))]), pa.list_(pa.string())),
      "ids": pa.array(some(lambda: [rng.randrange(100) for _ in range(rng.randrange(30))]), pa.list_(pa.int64())),
  })


def ours(path):
  """The rows as data::open_source reads them."""
  return [json.loads(line) for line in run(program("m2bert-parity-rows"), path).stdout.splitlines()]


@pytest.mark.parametrize("encoding,compression,version", list(itertools.product(ENCODINGS, ["none", "snappy", "gzip", "zstd", "brotli"], ["1.0", "2.0"])))
def test_what_pyarrow_writes(tmp_path, encoding, compression, version):
  rng = random.Random(f"{encoding} {compression} {version}")
  for rows, options in ((1, {}), (7, {"data_page_size": 1}), (1000, {"row_group_size": 333, "data_page_size": 200, "write_batch_size": 16})):
    table = random_table(rng, rows)
    path = tmp_path / f"{rows}.parquet"
    pq.write_table(table, path, compression=compression, data_page_version=version, **ENCODINGS[encoding], **options)
    read = ours(path)
    want = pq.read_table(path).to_pylist()
    assert len(read) == len(want) == rows
    for a, b in zip(read, want):
      assert a.keys() == b.keys()
      for name in a:
        if isinstance(b[name], float):
          assert math.isclose(a[name], b[name], rel_tol=1e-15)
        else:
          assert a[name] == b[name]
