"""FillMask: the predictions of `m2bert fill-mask --json`."""
import json
import subprocess

import m2bert
import numpy as np
import pytest


@pytest.fixture(scope="module")
def masked_lm(models):
    return {"model": models / "pretrained.pt", "config": models / "pretrain.yaml"}


@pytest.fixture(scope="module")
def fill_mask(masked_lm):
    return m2bert.FillMask(**masked_lm)


def test_predictions_are_the_programs(fill_mask, masked_lm, program):
    texts = ["Monarchs [MASK] south.", "[MASK] and [MASK]"]
    output = subprocess.run([program, "fill-mask", "--model", masked_lm["model"], "--config", masked_lm["config"], "--json", "--top-k", "3",
                             "--text", texts[0], "--text", texts[1]], check=True, capture_output=True, text=True).stdout
    found, expected = fill_mask(texts, top_k=3), [json.loads(line)["masks"] for line in output.splitlines()]
    for masks, of_program in zip(found, expected, strict=True):
        for mask, other in zip(masks, of_program, strict=True):
            assert mask["position"] == other["position"]
            assert [(g["token"], g["id"], np.float32(g["probability"])) for g in mask["guesses"]] == [
                (g["token"], g["id"], np.float32(g["probability"])) for g in other["guesses"]]
    assert fill_mask(texts[0], top_k=3) == found[0] and [mask["position"] for mask in found[1]] == [1, 3]


def test_a_text_without_a_mask(fill_mask):
    with pytest.warns(UserWarning, match=r"1 of 2 texts have no \[MASK\] within the first 128 tokens"):
        assert [len(masks) for masks in fill_mask(["none", "[MASK]"])] == [0, 1]


def test_errors(fill_mask, bert):
    with pytest.raises(m2bert.Error, match="top_k 0"):
        fill_mask("[MASK]", top_k=0)
    with pytest.raises(m2bert.Error, match="masked"):
        m2bert.FillMask(bert)
