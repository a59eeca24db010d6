#!/usr/bin/env python3
"""Writes m2bert/tokenize/unicode_tables.cpp: how the `tokenizers` package treats every code point, found by running the package.

Its Rust crates mix several versions of Unicode, so no single Unicode library has the same tables.
Usage: unicode_tables.py OUTPUT (needs only the package `tokenizers`; takes about a minute)
"""
import sys

import tokenizers
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

REMOVE, SPACE, PUNCTUATION, CHINESE, NONSPACING, DECOMPOSES, LOWERS, COMBINES, WORD = (1 << i for i in range(9))
BLOCK = 128


def code_points():
  return (c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF)


def bert(**on):
  options = {"clean_text": False, "handle_chinese_chars": False, "strip_accents": False, "lowercase": False} | on
  return normalizers.BertNormalizer(**options).normalize_str


def word_probe():
  """Finds word characters: an added token with single_word does not match in front of one."""
  tokenizer = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
  tokenizer.add_tokens([AddedToken("<>", single_word=True, normalized=False)])
  return lambda char: tokenizer.encode("<>" + char).ids[0] == 0


def combining_classes(nfd):
  """The order of the combining classes: two marks are swapped if the class of the first is larger."""
  low, high = "\u0334", "\u0345"  # classes 1 and 240
  marks = []
  for c in code_points():
    char = chr(c)
    if c == ord(low) or c == ord(high) or nfd(char) != char:
      continue
    if nfd(high + char) == char + high or nfd(char + low) == low + char:
      marks.append(char)
  representatives = [low]  # one mark per class, in order
  classes = {low: 0}
  after = lambda a, b: a != b and nfd(a + b) == b + a  # the class of a is larger than that of b

  for char in marks + [high]:
    first, last = 0, len(representatives)
    while first < last:
      middle = (first + last) // 2
      if after(char, representatives[middle]):
        first = middle + 1
      else:
        last = middle
    if first == len(representatives) or after(representatives[first], char):
      representatives.insert(first, char)
  for char in marks + [low, high]:
    first, last = 0, len(representatives)
    while first < last:
      middle = (first + last) // 2
      if after(char, representatives[middle]):
        first = middle + 1
      else:
        last = middle
    classes[char] = first + 1
  return {ord(k): v for k, v in classes.items()}


def rows(values, width=138):
  line, out = "", []
  for value in values:
    if len(line) + len(value) + 3 > width:
      out.append("  " + line.rstrip())
      line = ""
    line += value + ", "
  if line:
    out.append("  " + line.rstrip())
  return "\n".join(out)


def main(output):
  nfd = normalizers.NFD().normalize_str
  clean, chinese = bert(clean_text=True), bert(handle_chinese_chars=True)
  strip, lower = bert(strip_accents=True), bert(lowercase=True)
  pieces = pre_tokenizers.BertPreTokenizer().pre_tokenize_str
  is_word = word_probe()
  classes = combining_classes(nfd)

  flags = [0] * 0x110000
  decompositions, lowers = [], []
  for c in code_points():
    char, bits = chr(c), 0
    cleaned = clean(char)
    bits |= REMOVE if cleaned == "" else 0
    count = len(pieces("a" + char + "a"))
    bits |= {1: 0, 2: SPACE, 3: PUNCTUATION}[count]
    assert cleaned in ("", char) or (cleaned == " " and bits & SPACE), hex(c)
    assert not (bits & SPACE) or cleaned in ("", " "), hex(c)
    bits |= CHINESE if chinese(char) == f" {char} " else 0
    decomposed = nfd(char)
    if decomposed != char:
      bits |= DECOMPOSES
      if not 0xAC00 <= c <= 0xD7A3:
        decompositions.append((c, decomposed))
    elif strip(char) == "":
      bits |= NONSPACING
    lowered = lower(char)
    if lowered != char:
      bits |= LOWERS
      lowers.append((c, lowered))
    bits |= COMBINES if c in classes else 0
    bits |= WORD if is_word(char) else 0
    flags[c] = bits

  blocks, index = {}, []
  for start in range(0, 0x110000, BLOCK):
    index.append(blocks.setdefault(tuple(flags[start:start + BLOCK]), len(blocks)))
  assert len(blocks) < 65536

  def pad(text, n):
    return [ord(x) for x in text] + [0] * (n - len(text))

  longest = max(len(d) for _, d in decompositions)
  assert longest <= 4 and max(len(t) for _, t in lowers) <= 2
  with open(output, "w") as f:
    f.write(f"// Written by tools/unicode_tables.py from tokenizers {tokenizers.__version__}; do not edit.\n")
    f.write('#include "m2bert/tokenize/unicode.h"\n\nnamespace m2bert::tokenize::tables {\n\n')
    f.write(f"const uint16_t block_of[{len(index)}] = {{\n{rows(map(str, index))}}};\n\n")
    f.write(f"const uint16_t block_flags[{len(blocks)}][{BLOCK}] = {{\n")
    f.write(",\n".join("  {\n" + rows(map(str, block)).rstrip(",") + "}" for block in blocks) + "};\n\n")
    f.write(f"const Decomposition decompositions[{len(decompositions)}] = {{\n")
    f.write(rows("{0x%x, {%s}}" % (c, ", ".join("0x%x" % x for x in pad(d, 4))) for c, d in decompositions) + "};\n")
    f.write(f"const size_t decomposition_count = {len(decompositions)};\n\n")
    f.write(f"const Lower lowers[{len(lowers)}] = {{\n")
    f.write(rows("{0x%x, {%s}}" % (c, ", ".join("0x%x" % x for x in pad(t, 2))) for c, t in lowers) + "};\n")
    f.write(f"const size_t lower_count = {len(lowers)};\n\n")
    f.write(f"const CombiningClass combining_classes[{len(classes)}] = {{\n")
    f.write(rows("{0x%x, %d}" % (c, classes[c]) for c in sorted(classes)) + "};\n")
    f.write(f"const size_t combining_class_count = {len(classes)};\n\n")
    f.write("}  // namespace m2bert::tokenize::tables\n")


if __name__ == "__main__":
  main(sys.argv[1])
