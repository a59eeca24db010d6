"""The PyTorch side of bench/embed.py: the encoder of one model, fp32, filter spectra kept, all cores.

    python bench/peers/torch_embed.py CASE_FOLDER [--dtype float32|bfloat16] [--compile] [--make RECIPE.yaml BATCH LENGTH]

--make writes the case first: random weights (model.safetensors), config.yaml and input_ids. Then it answers lines on stdin:
"run" (one forward pass; prints its seconds), "save FILE" (the hidden states as safetensors), "quit".
"""
import argparse
import shutil
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "parity"))
import torch
from safetensors.torch import load_file, save_file
import torch_model


def make(folder, recipe, batch, length):
    kind, model_config = torch_model.read_yaml(recipe)
    torch.manual_seed(0)
    model = torch_model.build(kind, model_config, "mlm")
    torch_model.randomize(model, 0)
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(recipe, folder / "config.yaml")
    save_file(torch_model.owned_state(model), folder / "model.safetensors")
    ids = torch.randint(1000, 30000, (batch, length), generator=torch.Generator().manual_seed(1))
    ids[:, 0] = torch_model.CLS_ID
    save_file({"input_ids": ids}, folder / "inputs.safetensors")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    arguments.add_argument("--compile", action="store_true")
    arguments.add_argument("--make", nargs=3, metavar=("RECIPE", "BATCH", "LENGTH"))
    options = arguments.parse_args()
    if options.make:
        make(options.folder, *options.make[:1], *map(int, options.make[1:]))

    kind, model_config = torch_model.read_yaml(options.folder / "config.yaml")
    model = torch_model.build(kind, model_config, "mlm").eval()
    torch_model.load(model, load_file(options.folder / "model.safetensors"))
    ids = load_file(options.folder / "inputs.safetensors")["input_ids"]
    mask, types = torch.ones_like(ids), torch.zeros_like(ids)
    model.keep_spectra(ids.shape[1])
    encoder = model.to(getattr(torch, options.dtype)).bert
    forward = torch.compile(encoder) if options.compile else encoder
    print(f"ready torch {torch.__version__}, {torch.get_num_threads()} threads", flush=True)
    with torch.inference_mode():
        for line in sys.stdin:
            command = line.split()
            if command[0] == "run":
                start = time.perf_counter()
                states = forward(ids, mask, types)
                print(f"{time.perf_counter() - start:.6f}", flush=True)
            elif command[0] == "save":
                save_file({"sequence_output": forward(ids, mask, types).float().contiguous()}, command[1])
                print("saved", flush=True)
            else:
                return


if __name__ == "__main__":
    main()
