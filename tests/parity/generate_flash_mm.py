"""Writes ../golden/ops/flash_mm*.safetensors: the whole mixer as upstream's flash_mm defines it, forward and gradients.

  python generate_flash_mm.py FILE      (FILE: csrc/flashmm/test_flash_mm.py of HazyResearch/m2; needs torch, einops and safetensors)

Runs only ref_mm_block of that file, which needs no GPU, in float64. Prints the entry of each file for tolerances.json: the largest
difference of a float32 run, relative to the tensor's largest value. The same files every time.
"""
import ast
import pathlib
import sys

import torch
from einops import rearrange
from safetensors.torch import save_file

BATCH, LENGTH, WIDTH, TAPS = 2, 10, 6, 4
SHAPES = {
  "u": [BATCH, LENGTH, WIDTH], "in_weight": [3 * WIDTH, WIDTH], "in_bias": [3 * WIDTH], "out_weight": [WIDTH, WIDTH], "out_bias": [WIDTH],
  "x1_s": [WIDTH, TAPS], "x2_s": [WIDTH, TAPS], "v_s": [WIDTH, TAPS], "x1_s_bias": [WIDTH], "x2_s_bias": [WIDTH], "v_s_bias": [WIDTH],
  "k": [WIDTH, 2 * LENGTH], "k_resid": [WIDTH, 2 * LENGTH], "D": [WIDTH], "Du": [WIDTH],
}


def upstream_block(path):
  tree = ast.parse(pathlib.Path(path).read_text())
  tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "ref_mm_block"]
  names = {"torch": torch, "F": torch.nn.functional, "rearrange": rearrange}
  exec(compile(tree, path, "exec"), names)
  return names["ref_mm_block"]


def run(block, inputs, cotangent, gelu, dtype):
  t = {name: x.detach().to(dtype).requires_grad_() for name, x in inputs.items()}
  linear = lambda x: torch.nn.functional.linear(x, t["in_weight"], t["in_bias"])
  out_linear = lambda x: torch.nn.functional.linear(x, t["out_weight"], t["out_bias"])
  y = block(t["u"], linear, out_linear, t["x1_s"], t["x2_s"], t["v_s"], t["x1_s_bias"], t["x2_s_bias"], t["v_s_bias"], t["k"],
            t["k_resid"], t["D"], t["Du"], t.get("dropout_mask"), gelu, 2 * LENGTH)
  gradients = torch.autograd.grad((y * cotangent.to(dtype)).sum(), list(t.values()))
  return {"out.y": y.detach(), **{"grad." + name: g for name, g in zip(t, gradients)}}


def main():
  block = upstream_block(sys.argv[1])
  folder = pathlib.Path(__file__).parent.parent / "golden" / "ops"
  for name, options in [("flash_mm", False), ("flash_mm_gelu_mask", True)]:
    generator = torch.Generator().manual_seed(1234)
    inputs = {key: torch.randn(shape, generator=generator) for key, shape in SHAPES.items()}
    if options:
      inputs["dropout_mask"] = torch.bernoulli(torch.full([BATCH, WIDTH], 0.7), generator=generator) / 0.7
    cotangent = torch.randn(SHAPES["u"], generator=generator)
    exact = run(block, inputs, cotangent, options, torch.float64)
    single = run(block, inputs, cotangent, options, torch.float32)
    figure = max(((single[key].double() - x).abs().max() / x.abs().max()).item() for key, x in exact.items())
    print(f'"{name}": {figure:.1e},')
    tensors = {"in." + key: x for key, x in inputs.items()} | {key: x.float().contiguous() for key, x in exact.items()}
    save_file(tensors | {"cot.y": cotangent}, folder / f"{name}.safetensors")


if __name__ == "__main__":
  main()
