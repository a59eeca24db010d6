"""Writes inputs to begin fuzzing with: python corpus.py FOLDER. Small valid files of each kind, made without any package."""
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


def corpora():
  torch_files = {p.name: p.read_bytes() for p in GOLDEN.glob("*.pt")}
  plain = [{"a": [1, 2.5, None, True], "b": ("x", b"y", 1 << 70)}, [{"k": {1, 2}}], complex(1, 2), frozenset([1])]
  pickles = {f"plain{i}_{p}": pickle.dumps(v, protocol=p) for i, v in enumerate(plain) for p in range(6)}
  for name in ("composer.pt", "dtypes.pt"):
    archive = zipfile.ZipFile(GOLDEN / name)
    pickles[name] = archive.read(next(n for n in archive.namelist() if n.endswith("data.pkl")))
  zips = {"two": stored_zip({"a/data.pkl": b"N.", "a/data/0": b"\0" * 8}), "none": stored_zip({}), "dtypes.pt": torch_files["dtypes.pt"]}
  tensors = {"w": ("F32", [2, 3], b"\0" * 24), "b": ("I64", [1], b"\0" * 8), "e": ("BOOL", [0], b"")}
  return {"pickle": pickles, "zip": zips, "torch_file": torch_files,
          "safetensors": {"three": safetensors(tensors, {"format": "pt"}), "none": safetensors({}), "one": safetensors({"x": ("U8", [1], b"1")}, pad=1)}}


if __name__ == "__main__":
  for target, files in corpora().items():
    folder = pathlib.Path(sys.argv[1]) / target
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
      (folder / name).write_bytes(content)
