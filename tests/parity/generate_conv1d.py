"""Writes ../golden/ops/conv1d_random.safetensors: random settings of torch's conv1d, its results and its gradients.

  python generate_conv1d.py        (needs torch and safetensors, requirements.txt; the same file every time)

settings [N, 9]: B, L, C_in, C_out, K, stride, padding, dilation, groups of each case. x [B, C_in, L], weight [C_out, C_in / groups, K],
bias [C_out] and the cotangent are computed by the formula below, which tests/ops/conv1d_test.cpp has too. y and the gradients of
sum(y * cotangent) are flattened and concatenated over all cases. torch runs in float64.
"""
import pathlib
import random

import torch
from safetensors.torch import save_file

CASES = 200
X, WEIGHT, BIAS, COTANGENT = 1, 2, 3, 4


def values(shape, which, case):
  i = torch.arange(torch.Size(shape).numel())
  return ((((i * i * 7 + i * 31 + which * 57 + case * 13) % 251) - 125) / 128).reshape(shape).to(torch.float64)


def setting(rng):
  while True:
    groups = rng.choice([1, 1, 2, 3, 4])
    per_group = rng.choice([1, 1, 2, 3])
    c_out = groups * rng.choice([1, 1, 2, 3])
    length, taps = rng.randint(1, 14), rng.choice([1, 2, 3, 3, 4, 5, 7])
    stride, padding, dilation = rng.choice([1, 1, 2, 3]), rng.choice([0, 1, 2, 3, 5]), rng.choice([1, 1, 2, 3])
    if dilation * (taps - 1) + 1 <= length + 2 * padding:
      return [rng.randint(1, 2), length, groups * per_group, c_out, taps, stride, padding, dilation, groups]


def run(case, s):
  batch, length, c_in, c_out, taps, stride, padding, dilation, groups = s
  inputs = [values([batch, c_in, length], X, case), values([c_out, c_in // groups, taps], WEIGHT, case), values([c_out], BIAS, case)]
  for x in inputs:
    x.requires_grad_()
  y = torch.nn.functional.conv1d(*inputs, stride=stride, padding=padding, dilation=dilation, groups=groups)
  return [y, *torch.autograd.grad((y * values(y.shape, COTANGENT, case)).sum(), inputs)]


def main():
  rng = random.Random(1234)
  settings = [setting(rng) for _ in range(CASES)]
  flat = {name: [] for name in ("y", "grad.x", "grad.weight", "grad.bias")}
  for case, s in enumerate(settings):
    for out, result in zip(flat.values(), run(case, s)):
      out.append(result.detach().flatten())
  tensors = {name: torch.cat(parts).to(torch.float32) for name, parts in flat.items()}
  tensors["settings"] = torch.tensor(settings, dtype=torch.int32)
  save_file(tensors, pathlib.Path(__file__).parent.parent / "golden" / "ops" / "conv1d_random.safetensors")


if __name__ == "__main__":
  main()
