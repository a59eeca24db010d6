"""MDS data sets against the package mosaicml-streaming: each reads what the other writes, bit for bit."""
import decimal
import json
import struct
import subprocess

import numpy as np
import pytest

import streaming_package
from conftest import program, run

streaming = streaming_package.load()
from streaming.base.compression import get_compressions  # noqa: E402
from streaming.base.format.mds.encodings import get_mds_encodings, mds_encode  # noqa: E402
from streaming.base.hashing import get_hashes  # noqa: E402

TYPES = ["uint8", "int8", "uint16", "int16", "float16", "uint32", "int32", "float32", "uint64", "int64", "float64"]
IMAGES = {"pil", "jpeg", "jpeg_array", "jpegarray", "png", "list[pil]", "list[jpeg]", "list[png]"}
COLUMNS = {
    "blob": "bytes", "text": "str", "count": "int", "digits": "str_int", "ratio": "str_float", "price": "str_decimal", "meta": "json",
    **{f"scalar_{t}": t for t in TYPES},
    **{f"array_{t}": f"ndarray:{t}" for t in TYPES},
    **{f"fixed_{t}": f"ndarray:{t}:2,3" for t in TYPES},
    "any": "ndarray",
}


@pytest.fixture(scope="module")
def runner():
    return program("m2bert-parity-mds")


def numbers(dtype, shape, seed):
    """Values over the whole range of a dtype; for floats also infinities, NaN, the smallest and the largest."""
    random = np.random.default_rng(seed)
    if np.issubdtype(dtype, np.integer):
        info = np.iinfo(dtype)
        return random.integers(info.min, info.max, shape, dtype, endpoint=True)
    values = random.normal(0, 100, shape).astype(dtype)
    special = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0, np.finfo(dtype).tiny, np.finfo(dtype).max, np.finfo(dtype).smallest_subnormal], dtype)
    flat = values.reshape(-1)
    flat[: flat.size // 2] = random.choice(special, flat.size // 2)
    return values


def sample(i):
    texts = ["", "plain", "Grüße, 日本語 \U0001f98b", "a\0b\n", "x" * 3000]
    blobs = [b"", bytes(range(256)), b"\xff\xfe", b"y" * 5000]
    numbers_of = {t: numbers(t, (8,), i) for t in TYPES}
    shapes = [(1,), (7,), (2, 3), (3, 1, 2), (300,), (70000,) if i == 4 else (5,)]
    return {
        "blob": blobs[i % len(blobs)], "text": texts[i % len(texts)], "count": [0, -1, 2**63 - 1, -(2**63)][i % 4],
        "digits": [0, -7, 10**40, -(10**25)][i % 4], "ratio": [0.1, -1e300, 5e-324, float("inf"), float("nan"), 1e22, -0.0, 123456.789][i % 8],
        "price": decimal.Decimal(["0.10", "-12345678901234567890.123456789", "1E+50", "NaN", "-Infinity", "0E-7"][i % 6]),
        "meta": [{"a": [1, 2.5, None, True], "b": {"c": "é"}}, [], "text", 12345678901, {}][i % 5],
        **{f"scalar_{t}": numbers_of[t][i % 8] for t in TYPES},
        **{f"array_{t}": numbers(t, shapes[(i + k) % len(shapes)], i + k) for k, t in enumerate(TYPES)},
        **{f"fixed_{t}": numbers(t, (2, 3), i + 50) for t in TYPES},
        "any": numbers(TYPES[i % len(TYPES)], shapes[i % len(shapes)], i),
    }


def bits(value):
    return struct.pack("<d", value).hex()


def as_value(encoding, value):
    """A value in the JSON form of m2bert-parity-mds."""
    kind = encoding.split(":")[0]
    if kind == "bytes":
        return {"hex": value.hex()}
    if kind == "str":
        return {"text": value}
    if kind in ("str_int", "str_decimal"):
        return {"text": str(value)}
    if kind == "json":
        return {"json": value}
    if kind == "ndarray":
        return {"array": [value.dtype.name, list(value.shape), value.tobytes().hex()]}
    if kind.startswith(("float", "str_float")):
        return {"float64": bits(float(value))}
    return {"integer": str(int(value))}


def read(runner, folder):
    return [json.loads(line) for line in run(runner, "read", folder).stdout.splitlines()]


def write(runner, folder, columns, samples, **options):
    spec = {"columns": columns, "samples": [{n: as_value(columns[n], v) for n, v in s.items()} for s in samples], **options}
    run(runner, "write", folder, input=json.dumps(spec))


def package_writes(folder, columns, samples, **options):
    with streaming.MDSWriter(out=str(folder), columns=columns, **options) as writer:
        for each in samples:
            writer.write(each)


def package_reads(folder):
    """Reads with the package's shard reader, without StreamingDataset's order of samples and shared memory."""
    index = json.loads((folder / "index.json").read_text())
    samples = []
    for info in index["shards"]:
        raw = folder / info["raw_data"]["basename"]
        if info["compression"]:
            packed = (folder / info["zip_data"]["basename"]).read_bytes()
            raw.write_bytes(streaming.base.compression.decompress(info["compression"], packed))
        reader = streaming.base.format.reader_from_json(str(folder), "", info)
        samples += [reader[i] for i in range(info["samples"])]
    return samples


def same(a, b):
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, (np.generic, float)):
        return np.asarray(a).tobytes() == np.asarray(b, np.asarray(a).dtype).tobytes()
    return str(a) == str(b) if isinstance(a, decimal.Decimal) else a == b


def test_every_encoding_of_the_package_is_read_or_refused_by_name(runner, tmp_path):
    covered = {encoding.split(":")[0] for encoding in COLUMNS.values()}
    assert covered | IMAGES | {"pkl"} == get_mds_encodings()
    for number, encoding in enumerate(sorted(IMAGES | {"pkl"})):
        folder = tmp_path / str(number)
        package_writes(folder, {"text": "str", "x": encoding}, [{"text": "a", "x": b"\x80\x04N."}])
        refused = subprocess.run([runner, "read", folder], capture_output=True, text=True)
        assert refused.returncode == 1 and encoding in refused.stderr and "column x" in refused.stderr


def test_reads_what_the_package_writes(runner, tmp_path):
    samples = [sample(i) for i in range(24)]
    package_writes(tmp_path / "d", COLUMNS, samples, size_limit=200_000, hashes=["sha1", "xxh64"])
    got = read(runner, tmp_path / "d")
    assert len(got) == len(samples)
    for want, have in zip(samples, got):
        assert have.keys() == want.keys()
        for name, value in want.items():
            encoding = COLUMNS[name]
            assert have[name]["stored"] == mds_encode(encoding, value).hex(), name
            assert have[name]["value"] == as_value(encoding, value), name


def test_the_package_reads_what_is_written_here(runner, tmp_path):
    samples = [sample(i) for i in range(24)]
    write(runner, tmp_path / "d", COLUMNS, samples, size_limit=200_000, hashes=["sha1"], compression="zstd")
    got = package_reads(tmp_path / "d")
    assert len(got) == len(samples)
    for want, have in zip(samples, got):
        for name, value in want.items():
            assert same(value, have[name]), name


def test_files_are_those_of_the_package_byte_for_byte(runner, tmp_path):
    """Without json and str_float, whose text Python formats differently (with the same value)."""
    columns = {n: e for n, e in COLUMNS.items() if e not in ("json", "str_float")}
    samples = [{n: v for n, v in sample(i).items() if n in columns} for i in range(40)]
    for limit in (100_000, 1 << 26, None):
        ours, theirs = tmp_path / f"ours{limit}", tmp_path / f"theirs{limit}"
        options = {"hashes": sorted(get_hashes())} if limit == 100_000 else {}
        write(runner, ours, columns, samples, size_limit=limit, **options)
        package_writes(theirs, columns, samples, size_limit=limit, **options)
        names = sorted(p.name for p in theirs.iterdir())
        assert sorted(p.name for p in ours.iterdir()) == names and len(names) > (2 if limit == 100_000 else 1)
        for name in names:
            assert (ours / name).read_bytes() == (theirs / name).read_bytes(), name


@pytest.mark.parametrize("compression", ["zstd", "zstd:1", "zstd:22", "gz", "gz:0", "bz2", "bz2:1", "br", "br:0", "snappy"])
def test_compressions(runner, tmp_path, compression):
    assert compression in get_compressions()
    columns = {"text": "str", "n": "int"}
    samples = [{"text": f"text number {i} " * (i % 9), "n": i} for i in range(500)]
    package_writes(tmp_path / "theirs", columns, samples, compression=compression, hashes=["md5"], size_limit=20_000)
    got = read(runner, tmp_path / "theirs")
    assert [(s["text"]["value"]["text"], int(s["n"]["value"]["integer"])) for s in got] == [(s["text"], s["n"]) for s in samples]
    write(runner, tmp_path / "ours", columns, samples, compression=compression, hashes=["md5"], size_limit=20_000)
    assert package_reads(tmp_path / "ours") == samples
    index = json.loads((tmp_path / "ours" / "index.json").read_text())
    for info in index["shards"]:
        packed = (tmp_path / "ours" / info["zip_data"]["basename"]).read_bytes()
        assert info["zip_data"]["hashes"]["md5"] == streaming.base.hashing.get_hash("md5", packed) and info["zip_data"]["bytes"] == len(packed)


def test_the_empty_shard_that_the_package_writes_before_a_large_sample(runner, tmp_path):
    package_writes(tmp_path / "d", {"text": "str"}, [{"text": "x" * 5000}, {"text": "y"}], size_limit=1000)
    assert json.loads((tmp_path / "d" / "index.json").read_text())["shards"][0]["samples"] == 0
    assert [s["text"]["value"]["text"] for s in read(runner, tmp_path / "d")] == ["x" * 5000, "y"]


def test_streaming_dataset_takes_a_folder_written_here(runner, tmp_path):
    samples = [{"text": f"text number {i}"} for i in range(300)]
    write(runner, tmp_path / "d", {"text": "str"}, samples, compression="zstd", hashes=["sha1"], size_limit=3000)
    dataset = streaming.StreamingDataset(local=str(tmp_path / "d"), shuffle=False, validate_hash="sha1", batch_size=1)
    assert [dataset[i] for i in range(len(samples))] == samples
