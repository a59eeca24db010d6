"""Writes the small PyTorch files of this folder with PyTorch itself: python generate.py. Values are counted, so that tests know them."""
import collections
import datetime
import pathlib
import random

import numpy as np
import torch

FOLDER = pathlib.Path(__file__).parent
DTYPES = ["float32", "float16", "bfloat16", "float64", "int64", "int32", "int16", "int8", "uint8", "uint16", "uint32", "uint64", "bool",
          "complex64", "complex128", "float8_e4m3fn"]


def counted(*shape, dtype=torch.float32, start=0):
  n = int(np.prod(shape))
  return (torch.arange(n) + start).to(dtype).reshape(shape)


def composer():
  """Two layers in name only: tied, shared, strided and Parameter tensors, with everything Composer keeps beside them."""
  embedding = torch.nn.Parameter(counted(16, 4))
  freq = counted(1, 3, start=100)
  base = counted(4, 6, start=200)
  model = collections.OrderedDict()
  model["model.bert.embeddings.position_ids"] = torch.arange(8).reshape(1, 8)
  model["model.bert.embeddings.word_embeddings.weight"] = embedding
  for layer in range(2):
    name = f"model.bert.encoder.layer.{layer}.attention."
    model[name + "filter_fn.pos_emb.z"] = counted(1, 8, 5, start=300)
    model[name + "filter_fn.implicit_filter.1.freq"] = freq
    model[name + "filter_fn.implicit_filter.3.freq"] = freq
    model[name + "in_linear.weight"] = base.t()
    model[name + "out_linear.weight"] = base[1:3, 2:5]
  model["model.cls.predictions.transform.dense.weight"] = counted(4, 4, start=400)
  model["model.cls.predictions.decoder.weight"] = embedding
  model["model.scale"] = torch.tensor(7.5)
  model["model.empty"] = torch.zeros(0, 3)
  model._metadata = collections.OrderedDict([("", {"version": 1})])
  moments = {i: {"step": torch.tensor(3.0), "exp_avg": counted(16, 4, start=i), "exp_avg_sq": counted(16, 4, start=i + 1)} for i in range(2)}
  optimizer = {"state": moments, "param_groups": [{"lr": 5e-4, "betas": (0.9, 0.98), "initial_lr": np.float64(5e-4), "params": [0, 1]}]}
  random.seed(0)
  np.random.seed(0)
  torch.manual_seed(0)
  return {
      "state": {"model": model, "optimizers": {"DecoupledAdamW": optimizer}, "schedulers": {"LambdaLR": {"last_epoch": 3, "base_lrs": [5e-4]}},
                "timestamp": {"Timestamp": {"batch": 3, "total_wct": datetime.timedelta(seconds=5), "at": datetime.datetime(2023, 5, 1)}},
                "run_name": "tiny", "rank_zero_seed": 17, "big": 1 << 80, "path": pathlib.PurePosixPath("a/b"), "nothing": None},
      "rng": [{"python": random.getstate(), "numpy": np.random.get_state(), "torch": torch.get_rng_state()}],
  }


def dtypes():
  out = {name: counted(2, 3, dtype=getattr(torch, name)) for name in DTYPES}
  out["quint8"] = torch.quantize_per_tensor(counted(2, 3), 1.0, 0, torch.quint8)
  out["sparse"] = counted(2, 3).to_sparse()
  return out


for legacy in (False, True):
  end = "_legacy.pt" if legacy else ".pt"
  torch.save(composer(), FOLDER / ("composer" + end), _use_new_zipfile_serialization=not legacy)
  torch.save(dtypes(), FOLDER / ("dtypes" + end), _use_new_zipfile_serialization=not legacy)
torch.save(torch.nn.Sequential(torch.nn.Linear(2, 3)), FOLDER / "module_legacy.pt", _use_new_zipfile_serialization=False)
