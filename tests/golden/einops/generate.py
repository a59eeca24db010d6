"""Writes cases.json beside this file: random einops patterns with what the einops package makes of them, and patterns that it rejects.

  python generate.py        (needs einops and torch, tests/parity/requirements.txt; the same file every time)

Every array holds small integers, counted by the formulas below, which tests/ops/rearrange_test.cpp has too. So results and gradients are
exact, and a case keeps them as integers: all of them where there are few, otherwise a 64-bit FNV-1a hash of them. einops runs in float64.
"""
import json
import pathlib
import random
import warnings

import einops
import torch

REDUCTIONS = ["sum", "mean", "max", "min", "prod", "any", "all"]
NAMES = ["a", "b", "c", "d", "h", "w", "t", "n1", "h2", "x_y", "head", "Seq", "batch_2", "i", "j", "in", "größe"]
FEW = 6  # values kept as they are
VALID, INVALID = 2400, 700


# ---- Values, as in rearrange_test.cpp


def value(op, i):
  if op in ("rearrange", "repeat"):
    return i
  if op == "prod":
    return 0 if i % 17 == 11 else [1, 2, -1, -2, 1, -1, 2, 1, -1, 1, -2][(i * i + 3 * i) % 11]
  if op in ("any", "all"):
    return int((i % 5 == 3) == (op == "any"))
  return (i * i * 7 + i * 3) % 13 - 6


def cotangent(i):
  return (i * i + 5 * i) % 9 - 4


def fnv1a(values):
  h = 0xCBF29CE484222325
  for v in values:
    for byte in (v & (2**64 - 1)).to_bytes(8, "little"):
      h = (h ^ byte) * 0x100000001B3 % 2**64
  return f"{h:016x}"


def kept(values):
  return values if len(values) <= FEW else fnv1a(values)


# ---- einops' answer


def run(case):
  """(shape, values, gradient) with exact numbers in float64; raises what einops raises."""
  op, pattern, shape, axes, is_list = case
  count = 1
  for length in shape:
    count *= length
  x = torch.tensor([value(op, i) for i in range(count)], dtype=torch.float64).reshape(shape)
  logical = op in ("any", "all")
  if logical:
    x = x.bool()
  else:
    x.requires_grad_(True)
  given = list(x.unbind(0)) if is_list else x
  if op in ("rearrange", "repeat"):
    y = getattr(einops, op)(given, pattern, **axes)
  else:
    y = einops.reduce(given, pattern, op, **axes)
  if logical:
    return list(y.shape), y.flatten().tolist(), None
  c = torch.tensor([cotangent(i) for i in range(y.numel())], dtype=torch.float64).reshape(y.shape)
  grad, = torch.autograd.grad(y, x, c, allow_unused=True)
  grad = torch.zeros_like(x) if grad is None else grad
  return list(y.shape), y.flatten().tolist(), grad.flatten().tolist()


def integers(values, scale):
  scaled = [v * scale for v in values]
  exact = all(abs(v - round(v)) < 1e-6 and abs(v) < 2**62 for v in scaled)
  return [round(v) for v in scaled] if exact else None


def entry(case):
  """The case with its answer; None where that is no integer even times a small number (or not a number)."""
  op, pattern, shape, axes, is_list = case
  out_shape, out, grad = run(case)
  if any(v != v for v in out):
    return None
  for scale in (1, 2, 3, 4, 6, 8, 12, 24, 60, 120, 840, 2520):
    scaled = [None if v is None else integers(v, scale) for v in (out, grad)]
    if scaled[0] is not None and (grad is None or scaled[1] is not None):
      values = [None if v is None else kept(v) for v in scaled]
      return [op, pattern, shape, axes, int(is_list), scale, out_shape, *values]
  return None


# ---- Random cases


def grouped(rng, axes):
  """axes cut into dimensions; now and then one without axes."""
  groups = []
  left = list(axes)
  while left:
    k = rng.choice([1, 1, 1, 2, 2, 3])
    groups.append(left[:k])
    left = left[k:]
  while rng.random() < 0.15:
    groups.insert(rng.randint(0, len(groups)), [])
  return groups


def written(rng, group):
  words = [axis["text"] for axis in group]
  if not words:
    return rng.choice(["1", "()", "(1)", "( )", "01"])
  if len(words) > 1 or rng.random() < 0.08:
    if rng.random() < 0.1:
      words.insert(rng.randint(0, len(words)), "1")
    inner = " ".join(words)
    return rng.choice([f"({inner})", f"({inner})", f"( {inner} )"])
  return words[0]


def joined(rng, dims):
  text = ""
  for dim in dims:
    tight = not text or text[-1] in ")" or dim[0] == "("
    text += ("" if tight and rng.random() < 0.2 else rng.choice([" ", " ", " ", "  "])) + dim
  return text.strip()


def length(rng, empty):
  return 0 if empty and rng.random() < 0.3 else rng.choice([1, 2, 2, 3, 3, 4, 5])


def random_case(rng):
  op = rng.choice(["rearrange"] * 3 + ["repeat"] * 3 + REDUCTIONS)
  reducing = op in REDUCTIONS
  empty = rng.random() < 0.06
  names = rng.sample(NAMES, 12)
  axes = [{"text": names.pop(), "length": length(rng, empty)} for _ in range(rng.choice([0, 1, 2, 3, 3, 4, 4, 5, 6]))]
  if reducing:
    for axis in axes:
      if rng.random() < 0.12 and axis["length"] > 1:
        axis["text"] = str(axis["length"])
  left = grouped(rng, axes)
  ellipsis = {"text": "...", "shape": [length(rng, empty) for _ in range(rng.randint(0, 3))]} if rng.random() < 0.3 else None

  # lengths that must be given, and some that need not
  given = {}
  for group in left:
    names_here = [axis for axis in group if not axis["text"].isdecimal()]
    unknown = rng.choice(names_here) if names_here and rng.random() < 0.9 else None
    if len(group) > 1 and any(axis["length"] == 0 for axis in group if axis is not unknown):
      unknown = None
    for axis in names_here:
      if axis is not unknown:
        given[axis["text"]] = axis["length"]

  right_axes = [axis for axis in axes if not axis["text"].isdecimal()]
  if reducing:
    right_axes = [axis for axis in right_axes if rng.random() < 0.55]
  if rng.random() < 0.75:
    rng.shuffle(right_axes)
  if op == "repeat":
    for _ in range(rng.choice([0, 1, 1, 2, 3])):
      axis = {"text": names.pop(), "length": length(rng, empty)}
      if axis["length"] > 1 and rng.random() < 0.3:
        axis["text"] = str(axis["length"])
      else:
        given[axis["text"]] = axis["length"]
      right_axes.insert(rng.randint(0, len(right_axes)), axis)
  right = grouped(rng, right_axes)

  shape = []
  left_text = [written(rng, group) for group in left]
  for group in left:
    size = 1
    for axis in group:
      size *= axis["length"]
    shape.append(size)
  right_text = None
  if ellipsis:
    at = rng.randint(0, len(left))
    left_text.insert(at, "...")
    shape[at:at] = ellipsis["shape"]
    if not (reducing and rng.random() < 0.4):
      if right and rng.random() < 0.4:
        group = rng.choice(right)
        group.insert(rng.randint(0, len(group)), ellipsis)
        right_text = ["(" + " ".join(a["text"] for a in g) + ")" if ellipsis in g else written(rng, g) for g in right]
      else:
        right.insert(rng.randint(0, len(right)), [ellipsis])
        right_text = ["..." if ellipsis in g else written(rng, g) for g in right]
  if right_text is None:
    right_text = [written(rng, g) for g in right]
  arrow = rng.choice([" -> ", " -> ", "->", "  ->  "])
  items = list(given.items())
  rng.shuffle(items)
  is_list = bool(shape) and shape[0] > 0 and rng.random() < 0.1
  return [op, joined(rng, left_text) + arrow + joined(rng, right_text), shape, dict(items), is_list]


# ---- Cases with one mistake (not every change is one: einops decides)


def changed_text(rng, pattern):
  words = pattern.split(" ")
  at = rng.randrange(len(pattern) + 1)
  i = rng.randrange(len(words))
  kind = rng.randrange(8)
  if kind == 0:
    return pattern[:at] + pattern[at + 1:]
  if kind == 1:
    return pattern[:at] + rng.choice("()().a1203_-> ,;:+*[]{}\t\n'\"") + pattern[at:]
  if kind == 2:
    return " ".join(words[:i] + words[i + 1:])
  if kind == 3:
    return " ".join(words[:i] + [words[i]] + words[i:])
  if kind == 4:
    return " ".join(words[:i] + [rng.choice(["...", "(...)", "0", "2", "00", "q", "_q", "q_", "_", "2q", "->", "(", ")", ".."])] + words[i:])
  if kind == 5:
    words[i] = rng.choice(["...", "(... q)", "3", "q", "_"])
    return " ".join(words)
  if kind == 6:
    left, _, right = pattern.partition("->")
    return right + "->" + left
  return rng.choice([pattern.replace("->", ""), pattern + " -> a", pattern.replace("(", ""), pattern.replace(")", ""), pattern.replace("...", "…."),
                     pattern.replace("(", "((").replace(")", "))")])


def mistaken(rng, case):
  op, pattern, shape, axes, is_list = case
  shape, axes = list(shape), dict(axes)
  kind = rng.randrange(10)
  if kind < 4:
    pattern = changed_text(rng, pattern)
  elif kind == 4 and shape:
    shape[rng.randrange(len(shape))] += rng.choice([1, 1, 2, 3])
  elif kind == 5:
    shape.insert(rng.randint(0, len(shape)), rng.choice([1, 2, 3]))
  elif kind == 6 and shape:
    shape.pop(rng.randrange(len(shape)))
  elif kind == 7 and axes:
    axes.pop(rng.choice(list(axes)))
  elif kind == 8:
    axes[rng.choice(list(axes) or ["q"])] = rng.choice([0, 1, 2, 7])
  else:
    axes[rng.choice(["q", "zz", "Q1", "_q", "a", "h"])] = rng.choice([1, 2, 3])
  if rng.random() < 0.1:
    op = rng.choice(["rearrange", "repeat", "sum"])
  return [op, pattern, shape, axes, is_list and bool(shape) and shape[0] > 0]


def small(case):
  count = 1
  for n in case[2]:
    count *= n
  return count <= 400


def main():
  warnings.simplefilter("ignore")  # einops discourages names that are Python keywords
  rng = random.Random(20)
  valid, invalid, seen, reasons = [], [], set(), {}

  def add_valid(case):
    answer = entry(case)
    out = 1
    for n in answer[6] if answer else [0]:
      out *= n
    if answer and out <= 2000:
      valid.append(answer)

  while len(valid) < VALID or len(invalid) < INVALID:
    case = random_case(rng)
    if small(case) and repr(case) not in seen and len(valid) < VALID:
      seen.add(repr(case))
      try:
        add_valid(case)
      except IndexError:  # the largest of no numbers
        invalid.append([*case[:4], int(case[4])])
    case = mistaken(rng, case)
    if not small(case) or repr(case) in seen:
      continue
    seen.add(repr(case))
    try:
      add_valid(case)
    except Exception as error:
      reason = type(error).__name__ + str(error).split("\n")[-1][:24]
      reasons[reason] = reasons.get(reason, 0) + 1
      if len(invalid) < INVALID and reasons[reason] <= 60:
        invalid.append([*case[:4], int(case[4])])

  lines = lambda rows: ",\n".join(json.dumps(row, separators=(",", ":"), ensure_ascii=False) for row in rows)
  text = f'{{"einops":"{einops.__version__}",\n"valid":[\n{lines(valid)}],\n"invalid":[\n{lines(invalid)}]}}\n'
  (pathlib.Path(__file__).parent / "cases.json").write_text(text)
  print(len(valid), "valid,", len(invalid), "invalid,", len(text), "bytes")
  for reason, n in sorted(reasons.items(), key=lambda item: -item[1]):
    print(n, reason)


if __name__ == "__main__":
  main()
