"""Writes the seed corpus: python corpus.py FOLDER. Small valid files of each kind, made with the standard library only."""
import bz2
import gzip
import io
import json
import pathlib
import pickle
import struct
import sys
import zipfile

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
GOLDEN = REPOSITORY / "tests/golden/checkpoint"


def safetensors(entries, metadata=None, pad=8):
  header, at, data = {}, 0, b""
  if metadata:
    header["__metadata__"] = metadata
  for name, (dtype, shape, values) in entries.items():
    header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(values)]}
    data += values
    at += len(values)
  text = json.dumps(header, separators=(",", ":")).encode()
  text += b" " * (-len(text) % pad)
  return struct.pack("<Q", len(text)) + text + data


def stored_zip(names):
  out = io.BytesIO()
  with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
    for name, content in names.items():
      archive.writestr(name, content)
  return out.getvalue()


def data_set(columns, samples):
  """An index and its only shard, in the format of mds_fuzz.cpp."""
  sizes = [8 if encoding == "int" else None for _, encoding in columns]
  begin = 4 + 4 * (len(samples) + 1)
  offsets, at = [], begin
  for sample in samples:
    offsets.append(at)
    at += len(sample)
  shard = struct.pack(f"<{len(samples) + 2}I", len(samples), *offsets, at) + b"".join(samples)
  raw = {"basename": "shard.00000.mds", "bytes": len(shard), "hashes": {}}
  info = {"column_encodings": [e for _, e in columns], "column_names": [n for n, _ in columns], "column_sizes": sizes, "compression": None,
          "format": "mds", "hashes": [], "raw_data": raw, "samples": len(samples), "size_limit": None, "version": 2, "zip_data": None}
  index = json.dumps({"shards": [info], "version": 2}).encode()
  return struct.pack("<I", len(index)) + index + shard


def data_sets():
  def variable(*values):
    return struct.pack(f"<{len(values)}I", *map(len, values)) + b"".join(values)
  plain = [("n", "int"), ("text", "str")]
  others = [(e, e) for e in ("bytes", "json", "ndarray", "ndarray:int16", "str_decimal", "str_float", "str_int")]
  values = [b"abc", b'{"a": [1, null]}', b"\x08\x04\x02ab", b"\x04\x01ab", b"1.5E+3", b"0.25", b"-12"]
  return {"text": data_set(plain, [struct.pack("<I", 2) + struct.pack("<q", i) + b"hi" for i in range(3)]), "others": data_set(others, [variable(*values)]),
          "none": data_set(plain, [])}


def packed():
  text = b"Monarchs migrate south. " * 20
  parts = {0: bytes.fromhex("28b52ffd60e000d500009c4d6f6e617263687320"), 1: gzip.compress(text, mtime=0), 2: bz2.compress(text), 3: b"\x06", 4: b"\x05\x10abcde"}
  return {str(codec): bytes([codec]) + struct.pack("<H", len(text)) + content for codec, content in parts.items()}


def http_requests():
  host = b" HTTP/1.1\r\nHost: x\r\n"
  return {"get": b"\x10GET /a%20b?q=1" + host + b"\r\n", "absolute": b"\x03\r\nGET http://x/a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
          "sized": b"\x20POST /a" + host + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\nabcGET",
          "chunked": b"\x07POST /a" + host + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=\"y\"\r\n0123456789\r\n0\r\nT: 1\r\n\r\n"}


def corpora():
  torch_files = {p.name: p.read_bytes() for p in GOLDEN.glob("*.pt")}
  plain = [{"a": [1, 2.5, None, True], "b": ("x", b"y", 1 << 70)}, [{"k": {1, 2}}], complex(1, 2), frozenset([1])]
  pickles = {f"plain{i}_{p}": pickle.dumps(v, protocol=p) for i, v in enumerate(plain) for p in range(6)}
  for name in ("composer.pt", "dtypes.pt"):
    archive = zipfile.ZipFile(GOLDEN / name)
    pickles[name] = archive.read(next(n for n in archive.namelist() if n.endswith("data.pkl")))
  zips = {"two": stored_zip({"a/data.pkl": b"N.", "a/data/0": b"\0" * 8}), "none": stored_zip({}), "dtypes.pt": torch_files["dtypes.pt"]}
  tensors = {"w": ("F32", [2, 3], b"\0" * 24), "b": ("I64", [1], b"\0" * 8), "e": ("BOOL", [0], b"")}
  parquet = {p.name: p.read_bytes() for p in (REPOSITORY / "tests/golden/parquet").glob("*.parquet")}
  return {"mds": data_sets(), "http_request": http_requests(), "parquet": parquet, "codec": packed(), "pickle": pickles, "zip": zips, "torch_file": torch_files,
          "table": {"csv": b'id,text\r\n1,"a ""b""\nc"\r2,d\n', "bom": b"\xef\xbb\xbftext\tid\na\t1\n", "open": b'text,id\n"never closed,1\nthe fox,2\n'},
          "jsonl": {"dots": b'{"a.b": "x", "a": {"b": "y"}, "text": "z"}'},
          "safetensors": {"three": safetensors(tensors, {"format": "pt"}), "none": safetensors({}), "one": safetensors({"x": ("U8", [1], b"1")}, pad=1)}}


if __name__ == "__main__":
  for target, files in corpora().items():
    folder = pathlib.Path(sys.argv[1]) / target
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
      (folder / name).write_bytes(content)
