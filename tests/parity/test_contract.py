"""The committed contract lists match the torch model, and upstream's numbers of tensors and parameters."""
import pytest
import torch
import torch_model
import write_contract
from conftest import shared

COUNTS = {"mlm": 720, "classification": 718, "embedding": 716}
OTHER_COUNTS = {("transformer-flash-attn", "mlm"): 142, ("monarch-mixer-finetune-glue-768dim-80m-parameters", "classification"): 742,
                ("hf-transformer-pretrain-bert-base-uncased", "mlm"): 204,
                ("hf-transformer-finetune-glue-bert-base-uncased", "classification"): 201}
# Millions of parameters with the masked-LM head.
MILLIONS = {"pretrain/monarch-mixer-pretrain-786dim-80m-parameters": 80.3,
            "pretrain/monarch-mixer-pretrain-960dim-parameter-matched": 115.6,
            "pretrain/monarch-mixer-large-pretrain-1536dim-260m-parameters": 259.1,
            "pretrain/monarch-mixer-large-pretrain-1792dim-341m-parameters": 341.0,
            "embeddings/m2-bert-80M-2k-retrieval": 82.0, "embeddings/m2-bert-80M-8k-retrieval": 87.4,
            "embeddings/m2-bert-80M-32k-retrieval": 109.3}


@pytest.mark.parametrize("recipe,head", [(r, h) for r, heads in write_contract.RECIPES.items() for h in heads])
def test_list(recipe, head):
    rows = write_contract.contract(shared("yamls", f"{recipe}.yaml"), head)
    name = recipe.split("/")[1]
    assert len(rows) == OTHER_COUNTS.get((name, head), COUNTS[head])
    committed = (write_contract.OUT / write_contract.file_name(recipe, head)).read_text()
    assert write_contract.parse(committed) == rows


@pytest.mark.parametrize("recipe", MILLIONS)
def test_total(recipe):
    rows = write_contract.contract(shared("yamls", f"{recipe}.yaml"), "mlm")
    values = sum(torch.Size(shape).numel() for _, shape, role in rows if role == "parameter")
    assert round(values / 1e6, 1) == MILLIONS[recipe]


def test_additions_add_24():
    recipe = shared("yamls", "finetune-glue", "monarch-mixer-finetune-glue-768dim-80m-parameters.yaml")
    kind, model_config = torch_model.read_yaml(recipe, hyena_training_additions=False)
    with torch.device("meta"):
        assert len(torch_model.roles(torch_model.build(kind, model_config, "classification"))) == 742 - 24
