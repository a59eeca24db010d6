#!/usr/bin/env python3
"""How fast are batches for masked-LM pretraining loaded from an MDS data set of text? m2bert's loader beside PyTorch's (StreamingDataset,
Hugging Face's tokenizer and collator in a DataLoader with as many workers). Texts: the language reference that Python ships, in documents of
about 1,000 characters.

The ids are compared first. Usage: M2BERT_BUILD=build/release bench/data_loader.py [--runs 2] [--workers 2] [--record FOLDER]
"""
import argparse
import datetime
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import harness

sys.path.insert(0, str(harness.REPOSITORY / "tests/parity"))
import english  # noqa: E402
import streaming_package  # noqa: E402

BATCH = 64


def documents(count, size=1000):
    pool, texts, at = english.sentences(), [], 0
    for _ in range(count):
        text = ""
        while len(text) < size:
            text += pool[at % len(pool)] + " "
            at += 1
        texts.append(text.strip())
    return texts


class Peer:
    """The loader of upstream's src/text_data.py, built from the same parts."""

    def __init__(self, folder, length, workers):
        streaming, import_torch = streaming_package.load(), __import__("torch")
        import transformers
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        vocab = str(harness.REPOSITORY / "m2bert/tokenize/bert_base_uncased_vocab.txt")
        tokenizer = transformers.BertTokenizerFast(vocab=vocab, vocab_file=vocab)

        class Texts(streaming.StreamingDataset):
            def __getitem__(self, index):
                return tokenizer(super().__getitem__(index)["text"], truncation=True, padding="max_length", max_length=length)

        self.version = f"mosaicml-streaming {streaming.__version__}, transformers {transformers.__version__}, torch {import_torch.__version__}"
        dataset = Texts(local=str(folder), shuffle=True, batch_size=BATCH, num_canonical_nodes=1)
        collator = transformers.DataCollatorForLanguageModeling(tokenizer=tokenizer, mlm_probability=0.3)
        self.loader = import_torch.utils.data.DataLoader(dataset, collate_fn=collator, batch_size=BATCH, num_workers=workers, prefetch_factor=2,
                                                         persistent_workers=True)
        self.plain = lambda: [dataset[i]["input_ids"] for i in range(dataset.num_samples)]

    def run(self):
        start = time.perf_counter()
        for _ in self.loader:
            pass
        return time.perf_counter() - start


def measure(folder, length, workers, runs, rows):
    config = {"name": "text", "num_workers": workers, "dataset": {"local": str(folder), "max_seq_len": length, "mlm_probability": 0.3, "shuffle": True}}
    plain = {**config, "dataset": {"local": str(folder), "max_seq_len": length, "mlm_probability": 0.0}}
    program, peer = harness.find_program("m2bert-bench-data-loader"), Peer(folder, length, workers)
    (folder / "loader.json").write_text(json.dumps(config))
    (folder / "plain.json").write_text(json.dumps(plain))
    check = harness.Program("m2bert", [program, folder / "plain.json", BATCH])
    expected = peer.plain()
    if check.ask("sum") != f"{len(expected)} {sum(map(sum, expected))}":
        raise SystemExit(f"length {length}: the ids differ from the tokenizer's")
    check.stop()
    ours, theirs = harness.Program("m2bert", [program, folder / "loader.json", BATCH]), []
    ours.run(), peer.run()  # starts the workers and reads the files once
    ours.times.clear()
    for _ in range(runs):
        ours.run()
        theirs.append(peer.run())
    ours.stop()
    speeds = [rows * length / min(times) for times in (ours.times, theirs)]
    return {"length": length, "workers": workers, "m2bert": speeds[0], "peer": speeds[1], "peer_version": peer.version, "version": ours.version}


def table(results, machine, when):
    lines = ["# Loading batches for pretraining: tokens per second", "",
             f"- Command: `{' '.join(['script/bench data_loader', *sys.argv[1:]])}`", f"- Date: {when}",
             f"- Commit: {harness.commit()}", f"- Hardware: {machine['cpu']}, {machine['cores']} cores", f"- m2bert: {results[0]['version']}",
             f"- Peer: {results[0]['peer_version']}", f"- Batches of {BATCH} rows, tokens include padding; best of the runs, the two taking turns; the "
             "ids were compared first.", "", "| length | workers | m2bert | PyTorch's loader | ratio |", "| --- | --- | --- | --- | --- |"]
    lines += [f"| {r['length']} | {r['workers']} | {r['m2bert']:,.0f} | {r['peer']:,.0f} | {r['m2bert'] / r['peer']:.1f} |" for r in results]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--documents", type=int, default=20000)
    parser.add_argument("--record", type=Path, help="also write the record into this folder")
    args = parser.parse_args()
    streaming, results = streaming_package.load(), []
    with tempfile.TemporaryDirectory(prefix="m2bert-bench-") as scratch:
        folder = Path(scratch) / "d"
        with streaming.MDSWriter(out=str(folder), columns={"text": "str"}, size_limit=1 << 20) as writer:
            for text in documents(args.documents):
                writer.write({"text": text})
        for length in (128, 512):
            results.append(measure(folder, length, args.workers, args.runs, args.documents))
    machine, when = harness.hardware(), datetime.date.today().isoformat()
    text = table(results, machine, when)
    print(text)
    if args.record:
        harness.write_record(args.record, "data_loader", machine, when, text, results)


if __name__ == "__main__":
    main()
