"""The PyTorch side of bench/inference.py: runs the encoder of one model on one batch of ids, on all cores.

    python bench/peers/torch_inference.py FOLDER --make RECIPE.yaml
    python bench/peers/torch_inference.py FOLDER [--dtype float32|bfloat16] [--compile] [--weights FILE] [--spectra cached|computed]
                                     [--device cpu|cuda]

--make writes a model with random weights (model.safetensors) and its config.yaml. Without it, FOLDER also has inputs.safetensors
(input_ids), and requests are answered, one a line on stdin: "run" (a forward pass; prints its seconds), "save FILE" (the hidden states in
float32 as safetensors), "memory" (peak bytes: of the process, or of the GPU's tensors), "quit". A request that fails is answered with "error: ...".
"""
import argparse
import re
import shutil
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "parity"))
import torch
from safetensors.torch import load_file, save_file
import torch_model

FILTER_SCALE = 30  # of the long filters, times length ** -0.75: the sum over a filter then hardly depends on the length


def scale_down(model):
    """Scales the weights so that rounding errors do not grow from layer to layer; with trained weights they do not either."""
    length = model.config.long_conv_l_max
    with torch.no_grad():
        for name, tensor, _ in torch_model.roles(model):
            if name.endswith("implicit_filter.6.weight") or name.endswith("implicit_filter_rev.6.weight"):
                tensor.mul_(FILTER_SCALE / length ** 0.75)
            elif name.endswith(("in_linear.weight", "out_linear.weight", "gated_layers.weight", "wo.weight")):
                tensor.mul_(0.5)


def make(folder, recipe):
    kind, model_config = torch_model.read_yaml(recipe)
    model = torch_model.build(kind, model_config, "mlm")
    torch_model.randomize(model, 0)
    scale_down(model)
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(recipe, folder / "config.yaml")
    save_file(torch_model.owned_state(model), folder / "model.safetensors")


def read_model(folder, weights):
    """Assigns the tensors of the file to the model, without initializing or copying weights."""
    kind, model_config = torch_model.read_yaml(folder / "config.yaml")
    with torch.device("meta"):
        model = torch_model.build(kind, model_config, "mlm").eval()
    found = model.load_state_dict(load_file(weights), strict=False, assign=True)
    missing = [name for name, tensor, role in torch_model.roles(model) if role != "alias" and tensor.is_meta and not name.startswith("cls.")]
    if missing or found.unexpected_keys:
        raise ValueError(f"{weights}: missing {missing}, unexpected {found.unexpected_keys}")
    return model


class Bench:
    def __init__(self, options):
        self.device = options.device
        model = read_model(options.folder, options.weights or options.folder / "model.safetensors")
        model.bert.to(self.device)  # the head may have no weights
        ids = load_file(options.folder / "inputs.safetensors")["input_ids"].to(self.device)
        self.inputs = ids, torch.ones_like(ids), torch.zeros_like(ids)
        if options.spectra == "cached":
            model.float().cache_spectra(ids.shape[1])
        encoder = model.to(getattr(torch, options.dtype)).bert
        self.forward = torch.compile(encoder) if options.compile else encoder

    def run(self):
        start = time.perf_counter()
        self.forward(*self.inputs)
        if self.device == "cuda":
            torch.cuda.synchronize()
        return f"{time.perf_counter() - start:.6f}"

    def save(self, file):
        save_file({"sequence_output": self.forward(*self.inputs).float().cpu().contiguous()}, file)
        return "saved"

    def memory(self):
        if self.device == "cuda":
            return str(torch.cuda.max_memory_allocated())
        return str(1024 * int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text()).group(1)))


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--make", metavar="RECIPE")
    arguments.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    arguments.add_argument("--compile", action="store_true")
    arguments.add_argument("--weights", type=Path, help="instead of the folder's model.safetensors")
    arguments.add_argument("--spectra", default="cached", choices=["cached", "computed"], help="the filters': computed once, or in every forward pass")
    arguments.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    options = arguments.parse_args()
    torch.backends.cudnn.allow_tf32 = False
    if options.make:
        return make(options.folder, options.make)
    bench = Bench(options)
    print(f"ready torch {torch.__version__}, {torch.get_num_threads()} threads", flush=True)
    with torch.inference_mode():
        for line in sys.stdin:
            request, *words = line.split()
            if request == "quit":
                return None
            try:
                print(getattr(bench, request)(*words), flush=True)
            except Exception as error:  # torch.compile fails in many ways; the benchmark then continues without it
                print("error: " + str(error).replace("\n", " ")[:300], flush=True)
    return None


if __name__ == "__main__":
    main()
