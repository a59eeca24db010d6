"""Writes tests/golden/contract/*.txt: the names, shapes and roles of the tensors of each of upstream's recipes.

    python tests/parity/write_contract.py [--yamls ../shared/yamls] [--out tests/golden/contract]

One line per tensor in state_dict order: role (p parameter, b buffer, a alias of an earlier one), name, shape.
The lists come from the torch model only, built on the meta device.
"""
import argparse
import re
from pathlib import Path

import torch
import torch_model
from conftest import REPOSITORY, shared_folder

OUT = REPOSITORY / "tests" / "golden" / "contract"
LETTER = {"parameter": "p", "buffer": "b", "alias": "a"}
# If a recipe leaves the number of labels to its task, Hugging Face's default of 2 is used.
RECIPES = {
    "pretrain/monarch-mixer-pretrain-786dim-80m-parameters": ["mlm"],
    "pretrain/monarch-mixer-pretrain-960dim-parameter-matched": ["mlm"],
    "pretrain/monarch-mixer-large-pretrain-1536dim-260m-parameters": ["mlm"],
    "pretrain/monarch-mixer-large-pretrain-1792dim-341m-parameters": ["mlm"],
    "pretrain/monarch-mixer-large-pretrain-1792dim-341m-parameters-2k-input-length": ["mlm"],
    "pretrain/transformer-flash-attn": ["mlm"],
    "pretrain/hf-transformer-pretrain-bert-base-uncased": ["mlm"],
    "finetune-glue/monarch-mixer-finetune-glue-768dim-80m-parameters": ["classification"],
    "finetune-glue/monarch-mixer-finetune-glue-960dim-parameter-matched": ["classification"],
    "finetune-glue/monarch-mixer-large-finetune-glue-1536dim-260m-parameters": ["classification"],
    "finetune-glue/monarch-mixer-large-finetune-glue-1792dim-341m-parameters": ["classification"],
    "finetune-glue/hf-transformer-finetune-glue-bert-base-uncased": ["classification"],
    "finetune-glue/embedding_training": ["classification", "embedding"],
    "embeddings/m2-bert-80M-2k-retrieval": ["classification", "embedding"],
    "embeddings/m2-bert-80M-8k-retrieval": ["classification", "embedding"],
    "embeddings/m2-bert-80M-32k-retrieval": ["classification", "embedding"],
}


def contract(recipe, head):
    """The rows of one list. Files with the embedding head have no classifier, as upstream's flat files."""
    kind, model_config = torch_model.read_yaml(recipe)
    with torch.device("meta"):
        model = torch_model.build(kind, model_config, head)
    rows = [(name, tuple(tensor.shape), role) for name, tensor, role in torch_model.roles(model)]
    return [row for row in rows if head != "embedding" or not row[0].startswith("classifier.")]


def compact(rows):
    return "".join(f"{LETTER[role]} {name} {'x'.join(map(str, shape))}\n" for name, shape, role in rows)


def parse(text):
    rows = [line.split(" ") for line in text.splitlines() if line and not line.startswith("#")]
    full = {v: k for k, v in LETTER.items()}
    return [(name, tuple(int(n) for n in shape.split("x")), full[role]) for role, name, shape in rows]


def header(rows, recipe, head):
    values = sum(torch.Size(shape).numel() for _, shape, role in rows if role == "parameter")
    return (f"# {recipe}.yaml, head {head}: {len(rows)} tensors, {values} trained values. "
            "Written by tests/parity/write_contract.py.\n# role (p parameter, b buffer, a alias) name shape\n")


def file_name(recipe, head):
    return re.sub(r".*/", "", recipe) + f".{head}.txt"


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--yamls", type=Path, default=shared_folder() / "yamls")
    arguments.add_argument("--out", type=Path, default=OUT)
    options = arguments.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for recipe, heads in RECIPES.items():
        for head in heads:
            rows = contract(options.yamls / f"{recipe}.yaml", head)
            text = header(rows, recipe, head) + compact(rows)
            (options.out / file_name(recipe, head)).write_text(text)
            print(text.splitlines()[0])


if __name__ == "__main__":
    main()
