#!/usr/bin/env python3
"""Writes tests/golden/tokenizer/encodings.json: a few hundred texts encoded by the tokenizers package, for tests without Python."""
import json
import pathlib

import test_tokenizer as parity

CHOSEN = ["", " ", "Hello, world!", "don't stop", "[MASK] is [CLS] and [mask]", "unaffable", "naïve café CAFÉ", "中国和日本", "ﾊﾝｶｸ 한글",
          "a\u0301\u0327b", "x\u200dy\u0000z", "👩‍👩‍👧‍👦 family", "a" * 100, "a" * 101, "é" * 101, "İstanbul ẞ ΣΑΣ", "\u0344\u0f73", "tab\tnew\nline\vfeed"]


def case(tokenizer, raw, max_length=None, side="right", strategy="longest_first"):
  if max_length is None:
    tokenizer.no_truncation()
  else:
    tokenizer.enable_truncation(max_length, strategy=strategy, direction=side)
  decoded = [parity.decode_with_places(r) for r in (raw if isinstance(raw, tuple) else (raw,))]
  encoding = tokenizer.encode(*(text for text, _ in decoded))
  line = parity.expected_line(encoding, *(places for _, places in decoded)).split("\t")
  numbers = lambda field: [int(x) for x in field.replace(":", ",").split(",") if x]
  out = {"hex": [r.hex() for r in (raw if isinstance(raw, tuple) else (raw,))], "ids": numbers(line[0]), "types": numbers(line[1]),
         "special": numbers(line[3]), "offsets": numbers(line[4]), "truncated": line[5] == "1"}
  if max_length is not None:
    out |= {"max_length": max_length, "side": side, "strategy": strategy}
  return out


def main():
  tokenizer = parity.peer()
  cases = [case(tokenizer, t.encode()) for t in CHOSEN]
  cases += [case(tokenizer, t) for t in parity.pool(12, 6_000)[:200]]
  for side in ("right", "left"):
    cases += [case(tokenizer, t, 8, side) for t in parity.pool(12, 6_000)[200:240]]
    cases += [case(tokenizer, p, length, side) for length in (None, 3, 12, 25) for p in parity.pairs(1, 20)]
  out = pathlib.Path(__file__).resolve().parents[1] / "golden/tokenizer/encodings.json"
  out.write_text("[\n" + ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases) + "\n]\n")


if __name__ == "__main__":
  main()
