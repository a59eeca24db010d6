"""The loader for pretraining against StreamingDataset, Hugging Face's tokenizer and DataCollatorForLanguageModeling, combined as in
upstream's src/text_data.py."""
import json

import numpy as np
import pytest

import streaming_package
from conftest import REPOSITORY, program, run

streaming = streaming_package.load()
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

CLS, SEP, PAD, MASK, VOCABULARY = 101, 102, 0, 103, 30522
TEXTS = ["Monarchs migrate south.", "", "The quick brown fox jumps over the lazy dog, again and again and again, until the evening comes.",
         "Grüße aus 東京 \U0001f98b", "[MASK] and [SEP] in a text", "unaffable " * 40, "a"]


@pytest.fixture(scope="module")
def runner():
    return program("m2bert-parity-text-data")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    vocab = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    vocab.write_bytes((REPOSITORY / "m2bert/tokenize/bert_base_uncased_vocab.txt").read_bytes())
    return transformers.BertTokenizerFast(vocab=str(vocab), vocab_file=str(vocab))


class Batch:
    def __init__(self, values):
        rows, length, sequences = (int(v) for v in values[:3])
        size = rows * length
        parts = [values[3 + i * size : 3 + (i + 1) * size].reshape(rows, length) for i in range(4 if sequences else 3)]
        self.ids, self.mask, self.labels = parts[:3]
        self.sequences = parts[3] if sequences else None
        self.used = 3 + len(parts) * size


def batches(runner, tmp_path, dataset, global_batch=4, rank=0, ranks=1, epoch=0, samples=0, most=10**6, **loader):
    config = tmp_path / "loader.json"
    config.write_text(json.dumps({"name": "text", "dataset": dataset, **loader}))
    out = tmp_path / "batches"
    run(runner, config, out, global_batch, rank, ranks, epoch, samples, most)
    values, found = np.fromfile(out, np.int32), []
    while values.size:
        found.append(Batch(values))
        values = values[found[-1].used :]
    return found


def rows(found, what):
    return np.concatenate([getattr(b, what) for b in found])


def write(folder, column, encoding, values, **options):
    with streaming.MDSWriter(out=str(folder), columns={column: encoding}, **options) as writer:
        for value in values:
            writer.write({column: value})


def upstream_batches(folder, tokenizer, length, size, mlm_probability):
    """src/text_data.py: StreamingTextDataset.__getitem__ and its collator, in order."""
    dataset = streaming.StreamingDataset(local=str(folder), shuffle=False, batch_size=size)
    examples = [tokenizer(dataset[i]["text"], truncation=True, padding="max_length", max_length=length) for i in range(dataset.num_samples)]
    collator = transformers.DataCollatorForLanguageModeling(tokenizer=tokenizer, mlm=mlm_probability is not None, mlm_probability=mlm_probability)
    return [collator(examples[i : i + size]) for i in range(0, len(examples), size)]


def test_text_is_tokenized_truncated_and_padded_as_upstream_does(runner, tokenizer, tmp_path):
    write(tmp_path / "d", "text", "str", TEXTS * 5, compression="zstd", size_limit=2000)
    ours = batches(runner, tmp_path, {"local": str(tmp_path / "d"), "max_seq_len": 24}, num_workers=3)
    theirs = upstream_batches(tmp_path / "d", tokenizer, 24, 4, None)
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs):
        assert np.array_equal(a.ids, b["input_ids"].numpy()) and np.array_equal(a.mask, b["attention_mask"].numpy())
        assert np.array_equal(a.labels, b["labels"].numpy())  # without mlm_probability: the ids, and -100 at padding


def test_tokens_are_truncated(runner, tmp_path):
    samples = [np.arange(1000 + i, 1000 + i + 40, dtype=np.int64) for i in range(10)]
    write(tmp_path / "d", "tokens", "bytes", [s.tobytes() for s in samples])
    ours = batches(runner, tmp_path, {"local": str(tmp_path / "d"), "max_seq_len": 32, "mlm_probability": 1e-12})
    assert np.array_equal(rows(ours, "ids"), np.stack(samples)[:, :32])
    assert (rows(ours, "mask") == 1).all() and (rows(ours, "labels") == -100).all()
    write(tmp_path / "a", "tokens", "ndarray:uint16", [s.astype(np.uint16) for s in samples])
    assert np.array_equal(rows(batches(runner, tmp_path, {"local": str(tmp_path / "a"), "max_seq_len": 32}), "ids"), np.stack(samples)[:, :32])


@pytest.mark.parametrize("which", ["eos", "bos"])
def test_sequence_ids_count_separators(runner, tmp_path, which):
    random = np.random.default_rng(0)
    samples = [np.where(random.random(64) < 0.1, SEP, random.integers(2000, 3000, 64)).astype(np.int64) for _ in range(12)]
    write(tmp_path / "d", "tokens", "bytes", [s.tobytes() for s in samples])
    ours = batches(runner, tmp_path, {"local": str(tmp_path / "d"), "max_seq_len": 64, "mlm_probability": 0.3, f"{which}_token_id": SEP})
    separators = torch.eq(torch.tensor(np.stack(samples)), SEP).cumsum(1)
    if which == "eos":
        separators = torch.cat([separators.new_zeros((len(samples), 1)), separators[:, :-1]], dim=1)
    assert np.array_equal(rows(ours, "sequences"), separators.numpy())


# ---- masks ----

def counts(ids, masked, labels, special):
    """Counts how often a collator selected tokens, and what it replaced them with."""
    chosen = labels != -100
    assert not chosen[special].any() and np.array_equal(labels[chosen], ids[chosen]) and np.array_equal(masked[~chosen], ids[~chosen])
    to_mask, kept = chosen & (masked == MASK), chosen & (masked == ids)
    other = chosen & ~to_mask & ~kept
    return {"tokens": (~special).sum(), "chosen": chosen.sum(), "mask": to_mask.sum(), "kept": kept.sum(), "random": other.sum(), "words": masked[other]}


@pytest.mark.parametrize("probability", [0.15, 0.3])
def test_masks_have_the_distribution_of_the_collator(runner, tokenizer, tmp_path, probability):
    random = np.random.default_rng(1)
    words = [t for t in tokenizer.get_vocab() if t.isalpha()]
    texts = [" ".join(random.choice(words, 110)) + " [UNK] ☃ [MASK]" for _ in range(3000)]
    write(tmp_path / "d", "text", "str", texts)
    plain = rows(batches(runner, tmp_path, {"local": str(tmp_path / "d"), "max_seq_len": 128}, global_batch=500), "ids")
    special = np.isin(plain, tokenizer.all_special_ids)
    assert (plain == tokenizer.unk_token_id).any() and (plain == MASK).any()
    ours = batches(runner, tmp_path, {"local": str(tmp_path / "d"), "max_seq_len": 128, "mlm_probability": probability}, global_batch=500)
    torch.manual_seed(0)
    collator = transformers.DataCollatorForLanguageModeling(tokenizer=tokenizer, mlm_probability=probability)
    theirs = [collator([{"input_ids": row} for row in plain[i : i + 500].tolist()]) for i in range(0, len(plain), 500)]
    found = {"ours": counts(plain, rows(ours, "ids"), rows(ours, "labels"), special),
             "theirs": counts(plain, np.concatenate([b["input_ids"] for b in theirs]), np.concatenate([b["labels"] for b in theirs]), special)}

    def near(count, total, p):
        assert abs(count - total * p) < 4.5 * np.sqrt(total * p * (1 - p)), (count, total, p)

    for each in found.values():  # the same bounds for both: the binomial distribution of the rule
        near(each["chosen"], each["tokens"], probability)
        near(each["mask"], each["chosen"], 0.8 + 0.1 / VOCABULARY)
        near(each["kept"], each["chosen"], 0.1 + 0.1 / VOCABULARY)
        buckets = np.histogram(each["words"], bins=50, range=(0, VOCABULARY))[0]
        expected = each["random"] / 50
        chi_square = ((buckets - expected) ** 2 / expected).sum()
        assert chi_square < 49 + 4.5 * np.sqrt(2 * 49), chi_square  # uniform over the whole vocabulary
    per_place = (rows(ours, "labels") != -100).sum(0)[1:100]  # no place of a row is favoured
    assert abs(per_place - len(plain) * probability).max() < 5 * np.sqrt(len(plain) * probability * (1 - probability))


def test_masks_follow_from_seed_epoch_and_place_alone(runner, tmp_path):
    write(tmp_path / "d", "text", "str", [f"text number {i} about butterflies and moths" for i in range(300)], size_limit=1500)
    data = {"local": str(tmp_path / "d"), "max_seq_len": 16, "mlm_probability": 0.3, "shuffle": True, "shuffle_block_size": 60}
    whole = batches(runner, tmp_path, data, global_batch=10, num_workers=0)
    for epoch, other in ((1, data), (0, {**data, "shuffle_seed": 1}), (0, {**data, "mask_seed": 5})):
        assert not np.array_equal(rows(whole, "labels"), rows(batches(runner, tmp_path, other, global_batch=10, epoch=epoch), "labels"))
    for global_batch, workers in ((7, 3), (300, 1), (1, 2)):
        again = batches(runner, tmp_path, data, global_batch=global_batch, num_workers=workers)
        for what in ("ids", "mask", "labels"):
            assert np.array_equal(rows(whole, what), rows(again, what))


def test_every_masks_each_kth_token(runner, tokenizer, tmp_path):
    write(tmp_path / "d", "text", "str", TEXTS)
    data = {"local": str(tmp_path / "d"), "max_seq_len": 24}
    plain = rows(batches(runner, tmp_path, data), "ids")
    fixed = batches(runner, tmp_path, {**data, "mlm_probability": 0.25, "masking": "every"})
    chosen = (np.arange(24) % 4 == 1) & ~np.isin(plain, tokenizer.all_special_ids)
    assert chosen.any() and np.array_equal(rows(fixed, "ids"), np.where(chosen, MASK, plain))
    assert np.array_equal(rows(fixed, "labels"), np.where(chosen, plain, -100))


def test_given_labels_are_taken_from_the_data(runner, tmp_path):
    ids = [np.array([CLS, 2000 + i, MASK, 2001, SEP]) for i in range(6)]
    labels = [np.array([-100, -100, 3000 + i, -100, -100]) for i in range(6)]
    with streaming.MDSWriter(out=str(tmp_path / "d"), columns={"tokens": "bytes", "labels": "bytes"}) as writer:
        for a, b in zip(ids, labels):
            writer.write({"tokens": a.astype(np.int64).tobytes(), "labels": b.astype(np.int64).tobytes()})
    ours = batches(runner, tmp_path, {"local": str(tmp_path / "d"), "max_seq_len": 8, "masking": "given", "mlm_probability": 0.15})
    pad = [(0, 0), (0, 3)]
    assert np.array_equal(rows(ours, "ids"), np.pad(np.stack(ids), pad)) and np.array_equal(rows(ours, "mask")[0], [1] * 5 + [0] * 3)
    assert np.array_equal(rows(ours, "labels"), np.pad(np.stack(labels), pad, constant_values=-100))


# ---- order ----

def numbered(tmp_path, name, start, count, **options):
    write(tmp_path / name, "tokens", "bytes", [np.array([1000 + start + i] * 3, np.int64).tobytes() for i in range(count)], **options)
    return str(tmp_path / name)


def order(found):
    return (rows(found, "ids")[:, 0] - 1000).tolist()


def test_every_sample_once_and_every_epoch_another_order(runner, tmp_path):
    data = {"local": numbered(tmp_path, "d", 0, 1000, size_limit=1500), "max_seq_len": 3, "shuffle": True, "shuffle_block_size": 150}
    orders = [order(batches(runner, tmp_path, data, global_batch=64, epoch=e)) for e in range(3)]
    for each in orders:
        assert sorted(each) == list(range(1000))
    assert len({tuple(o) for o in orders}) == 3
    assert order(batches(runner, tmp_path, data, global_batch=64, epoch=1)) == orders[1]
    assert order(batches(runner, tmp_path, {**data, "shuffle": False})) == list(range(1000))


@pytest.mark.parametrize("drop_last", [True, False])
def test_ranks_are_disjoint_and_a_run_resumes_with_other_sizes(runner, tmp_path, drop_last):
    data = {"local": numbered(tmp_path, "d", 0, 1000, size_limit=1500), "max_seq_len": 3, "shuffle": True, "shuffle_block_size": 150}
    whole = order(batches(runner, tmp_path, data, global_batch=1))
    ranks = [batches(runner, tmp_path, data, global_batch=48, rank=r, ranks=3, most=7) for r in range(3)]
    assert sum((order([b]) for step in zip(*ranks) for b in step), []) == whole[: 7 * 48]
    rest = [batches(runner, tmp_path, data, global_batch=100, rank=r, ranks=2, samples=7 * 48, drop_last=drop_last) for r in range(2)]
    assert len(rest[0]) == len(rest[1])
    got = sum((order([b]) for step in zip(*rest) for b in step), [])
    full = (1000 - 7 * 48) // 100 * 100
    assert got == whole[7 * 48 : 7 * 48 + full if drop_last else 1000]


def test_streams_are_weighted_as_the_package_weights_them(runner, tmp_path):
    sizes = {"a": 500, "b": 120, "c": 60}
    places = {n: numbered(tmp_path, n, 1000 * k, size, size_limit=700) for k, (n, size) in enumerate(sizes.items())}
    cases = [({"a": {"proportion": 0.5}, "b": {"proportion": 0.3}, "c": {"proportion": 0.2}}, None),
             ({"a": {"proportion": 1}, "b": {"proportion": 1}, "c": {"proportion": 0}}, 333),
             ({"a": {"repeat": 0.5}, "b": {"repeat": 2.5}, "c": {"samples": 7}}, None),
             ({"a": {}, "b": {"repeat": 3}, "c": {}}, None), ({"a": {}, "b": {}, "c": {}}, 1000), ({"a": {}, "b": {}, "c": {}}, None)]
    for weights, epoch_size in cases:
        streams = [streaming.Stream(local=places[n], **{"choose" if k == "samples" else k: v for k, v in w.items()}) for n, w in weights.items()]
        total = streaming.Stream.apply_weights(streams, np.array(list(sizes.values())), epoch_size, 1)
        for shuffle in (False, True):
            data = {"streams": {n: {"local": places[n], **w} for n, w in weights.items()}, "max_seq_len": 3, "shuffle": shuffle,
                    "samples_per_epoch": epoch_size}
            got = np.array(order(batches(runner, tmp_path, data, global_batch=50)))
            assert len(got) == total
            for k, (stream, size) in enumerate(zip(streams, sizes.values())):
                mine = got[(got >= 1000 * k) & (got < 1000 * k + 1000)] - 1000 * k
                assert abs(len(mine) - stream.choose) <= 1
                times = np.bincount(mine, minlength=size)  # counts of samples differ by at most one
                assert times.max() - times.min() <= 1
