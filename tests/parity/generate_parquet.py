"""Writes tests/golden/parquet with pyarrow: the same table in several encodings, compressions and page versions.

python tests/parity/generate_parquet.py [FOLDER]
"""
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

ROWS = 60


def table():
  rows = range(ROWS)
  tags = [None if i % 7 == 0 else [] if i % 5 == 0 else [None if i % 4 == 0 else f"tag{i % 3}", f"é{i}"] for i in rows]
  columns = {
      "text": (pa.string(), [f"text {i % 10} 蝶 {'x' * (i % 4)}" for i in rows]),
      "other": (pa.string(), [None if i % 3 == 0 else f"prefix {i // 8} {i}" for i in rows]),
      "label": (pa.int64(), [i * i * (-1) ** i for i in rows]),
      "small": (pa.int32(), [None if i % 4 == 0 else i % 5 - 2 for i in rows]),
      "big": (pa.uint32(), [4294967295 - i for i in rows]),
      "score": (pa.float32(), [i / 8 for i in rows]),
      "weight": (pa.float64(), [None if i % 9 == 0 else i / 16 for i in rows]),
      "flag": (pa.bool_(), [None if i % 11 == 0 else i % 3 == 0 for i in rows]),
      "tags": (pa.list_(pa.string()), tags),
      "ids": (pa.list_(pa.field("element", pa.int64(), nullable=False)), [[i] * (i % 3) for i in rows]),
      "none": (pa.string(), [None for _ in rows]),
  }
  schema = pa.schema([pa.field(name, kind, nullable=name != "text") for name, (kind, _) in columns.items()])
  return pa.table([pa.array(values, kind) for kind, values in columns.values()], schema=schema)


DELTA = {"text": "DELTA_LENGTH_BYTE_ARRAY", "other": "DELTA_BYTE_ARRAY", "label": "DELTA_BINARY_PACKED", "small": "DELTA_BINARY_PACKED", "big": "DELTA_BINARY_PACKED",
         "score": "BYTE_STREAM_SPLIT", "weight": "BYTE_STREAM_SPLIT", "flag": "RLE"}
SETTINGS = {
    "plain": {"compression": "none", "use_dictionary": False},
    "dictionary": {"compression": "snappy", "row_group_size": 25, "data_page_size": 64, "write_batch_size": 8},
    "pages2": {"compression": "zstd", "data_page_version": "2.0", "row_group_size": 40, "data_page_size": 64, "write_batch_size": 8},
    "delta": {"compression": "gzip", "data_page_version": "2.0", "use_dictionary": False, "column_encoding": DELTA},
    "delta1": {"compression": "brotli", "use_dictionary": False, "column_encoding": {k: v for k, v in DELTA.items() if v != "RLE"}, "data_page_size": 64,
               "write_batch_size": 16},
}


if __name__ == "__main__":
  folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1] / "golden/parquet"
  folder.mkdir(parents=True, exist_ok=True)
  for name, settings in SETTINGS.items():
    pq.write_table(table(), folder / f"{name}.parquet", write_statistics=False, store_schema=False, **settings)
