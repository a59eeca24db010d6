#!/usr/bin/env python3
"""How fast is the tokenizer? 1,000 documents of real text beside the `tokenizers` package, one thread each, in the same run.

The results are compared first; then the programs take turns. Documents: manual pages of this system without markup, or a file with one
document per line.
Usage: M2BERT_BUILD=build/release bench/tokenizer.py [--documents FILE] [--rounds 7] [--threads 1]
"""
import argparse
import gzip
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]


def manual_pages(count):
  """Plain text of manual pages, truncated to 4,000 characters as in the pretraining data."""
  texts = []
  for page in sorted(pathlib.Path("/usr/share/man").glob("man[1-8]/*.gz")):
    try:
      raw = gzip.open(page, "rt", encoding="utf-8", errors="replace").read()
    except OSError:
      continue
    lines = [re.sub(r"^\.\w+\s*", "", line) for line in raw.splitlines() if not line.startswith(('.\\"', "'\\\""))]
    text = re.sub(r"\\(f.|-|&|e)", lambda m: "-" if m[1] == "-" else "", " ".join(lines))
    if len(text) > 500:
      texts.append(text[:4000])
    if len(texts) == count:
      return texts
  sys.exit(f"only {len(texts)} manual pages here; install the package manpages or pass --documents")


def main():
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--documents", type=pathlib.Path)
  parser.add_argument("--rounds", type=int, default=7)
  parser.add_argument("--threads", type=int, default=1)
  args = parser.parse_args()
  os.environ["RAYON_NUM_THREADS"] = str(args.threads)
  os.environ["TOKENIZERS_PARALLELISM"] = "true" if args.threads > 1 else "false"
  sys.path.insert(0, str(ROOT / "tests/parity"))
  import test_tokenizer as parity
  import tokenizers

  texts = args.documents.read_text().splitlines()[:1000] if args.documents else manual_pages(1000)
  size = sum(len(t.encode()) for t in texts)
  peer = parity.peer()
  compared = parity.compare(peer, "-", [t.encode() for t in texts])
  print(f"{compared} documents, {size / 1e6:.2f} MB, {sum(len(e.ids) for e in peer.encode_batch(texts)):,} tokens: results are equal")

  ours = subprocess.Popen([str(parity.RUNNER), "time", "-", str(args.threads)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
  for text in texts:
    raw = text.encode()
    ours.stdin.write(f"{len(raw)}\n".encode() + raw)
  ours.stdin.write(b"end\n")
  mine, theirs, fast = [], [], []
  for _ in range(args.rounds):
    ours.stdin.write(b"go\n")
    ours.stdin.flush()
    mine.append(float(ours.stdout.readline().split()[0]))
    for times, encode in ((theirs, peer.encode_batch), (fast, peer.encode_batch_fast)):
      start = time.perf_counter()
      encode(texts)
      times.append(time.perf_counter() - start)
  ours.stdin.close()
  ours.wait()
  print(f"tokenizers {tokenizers.__version__}, {args.threads} thread(s), {args.rounds} rounds, median (best), MB/s")
  for name, times in (("m2bert", mine), ("encode_batch", theirs), ("encode_batch_fast (no offsets)", fast)):
    middle, best = statistics.median(times), min(times)
    print(f"{name:32} {size / middle / 1e6:7.1f} ({size / best / 1e6:.1f})   m2bert is {middle / statistics.median(mine):.1f} times as fast")


if __name__ == "__main__":
  main()
