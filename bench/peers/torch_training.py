"""The PyTorch side of bench/training.py: runs whole training steps of a recipe (forward, backward, clipping, fused AdamW), on all cores.

    python bench/peers/torch_training.py RECIPE.yaml [--mode fp32|amp|bf16] [--compile] [--device cpu|cuda]
    python bench/peers/torch_training.py RECIPE.yaml --make BATCHES ROWS [--zipf]

amp: float32 weights with autocast to bfloat16; bf16: weights and optimizer in bfloat16. --make writes random weights to the recipe's
load_path and masked batches to its train_loader.file; --zipf: of tokens as frequent as a language's, instead of equally frequent ones, so
that there is something to learn. Without it, requests on stdin are answered as by bench/training.cpp.
"""
import argparse
import contextlib
import json
import re
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "parity"))
import torch
import torch_model
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file

MASK, IGNORED = 103, -100


def initialise(model):
    """BERT's initialization, so that the losses are those of a real run. The filter networks keep PyTorch's."""
    for name, module in model.named_modules():
        if isinstance(module, (torch.nn.Linear, torch.nn.Embedding)) and "implicit_filter" not in name:
            torch.nn.init.normal_(module.weight, std=0.02)


def make(path, recipe, batches, rows, zipf):
    torch.manual_seed(0)
    kind, model_config = torch_model.read_yaml(path)
    model = torch_model.build(kind, model_config, "mlm")
    initialise(model)
    save_file(torch_model.owned_state(model), recipe.load_path)
    draw = torch.Generator().manual_seed(1)
    shape, first, last = (batches, rows, recipe.max_seq_len), 1000, 30000
    if zipf:
        frequencies = 1 / torch.arange(1, last - first + 1)
        ids = first + torch.multinomial(frequencies, batches * rows * recipe.max_seq_len, True, generator=draw).reshape(shape)
    else:
        ids = torch.randint(first, last, shape, generator=draw)
    ids[..., 0] = torch_model.CLS_ID
    chosen = torch.rand(ids.shape, generator=draw) < recipe.mlm_probability
    chosen[..., 0] = False
    save_file({"input_ids": ids.masked_fill(chosen, MASK), "attention_mask": torch.ones_like(ids),
               "labels": ids.masked_fill(~chosen, IGNORED)}, recipe.train_loader.file)


class Bench:
    def __init__(self, path, recipe, mode, compiled, device):
        self.device = device
        kind, model_config = torch_model.read_yaml(path)
        model = torch_model.build(kind, model_config, "mlm").train()
        torch_model.load(model, load_file(recipe.load_path))
        self.model = model.to(device=device, dtype=torch.bfloat16 if mode == "bf16" else None)
        self.parameters = list(self.model.parameters())
        o = recipe.optimizer
        if o.name != "decoupled_adamw":
            raise ValueError(f"optimizer {o.name}: only decoupled_adamw has a peer")
        # At the full learning rate DecoupledAdamW's weight_decay equals AdamW's weight_decay / lr.
        self.optimizer = torch.optim.AdamW(self.parameters, lr=o.lr, betas=tuple(o.betas), eps=o.eps, weight_decay=o.weight_decay / o.lr, fused=True)
        self.threshold = recipe.algorithms.gradient_clipping.clipping_threshold
        self.autocast = (lambda: torch.autocast(device, torch.bfloat16)) if mode == "amp" else contextlib.nullcontext
        self.forward = torch.compile(self.model) if compiled else self.model
        batches = load_file(recipe.train_loader.file)
        self.batches = [{name: tensor[i].to(device) for name, tensor in batches.items()} for i in range(len(batches["labels"]))]
        self.losses = []

    def loss(self):
        batch = self.batches[len(self.losses) % len(self.batches)]
        with self.autocast():
            return self.forward(batch["input_ids"], batch["attention_mask"], None, batch["labels"])["loss"]

    def update(self):
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.threshold)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return norm.item()

    def step(self):
        """Seconds of the forward and backward pass, and of clipping and the update."""
        times = [time.perf_counter()]
        loss = self.loss()
        loss.backward()
        if self.device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter())
        norm = self.update()
        value = loss.item()
        times.append(time.perf_counter())
        self.losses.append([value, norm])
        return [b - a for a, b in zip(times, times[1:])]


def peak_memory(device):
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return 1024 * int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text()).group(1))


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("recipe", type=Path)
    arguments.add_argument("--mode", default="fp32", choices=["fp32", "amp", "bf16"])
    arguments.add_argument("--compile", action="store_true")
    arguments.add_argument("--make", nargs=2, type=int, metavar=("BATCHES", "ROWS"))
    arguments.add_argument("--zipf", action="store_true")
    arguments.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    options = arguments.parse_args()
    torch.backends.cudnn.allow_tf32 = False
    recipe = OmegaConf.load(options.recipe)
    if options.make:
        return make(options.recipe, recipe, *options.make, options.zipf)
    bench = Bench(options.recipe, recipe, options.mode, options.compile, options.device)
    print(f"ready torch {torch.__version__}, {torch.get_num_threads()} threads", flush=True)
    for line in sys.stdin:
        command = line.strip()
        if command == "quit":
            return None
        answers = {"run": lambda: f"{sum(bench.step()):.6f}", "losses": lambda: json.dumps(bench.losses), "memory": lambda: str(peak_memory(options.device)),
                   "parts": lambda: json.dumps(dict(zip(("gradient", "update"), bench.step())))}
        try:
            print(answers[command](), flush=True)
        except Exception as error:  # torch.compile fails in many ways; the benchmark then continues without it
            print("error: " + str(error).replace("\n", " ")[:300], flush=True)
    return None


if __name__ == "__main__":
    main()
