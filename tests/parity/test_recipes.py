"""Interpolations in a recipe give the model size that OmegaConf reads from it, or an error that names the file."""
import json
import subprocess

import pytest
from conftest import program
from omegaconf import OmegaConf

MODEL = """model:
  name: hf_bert
  pretrained_model_name: null
  model_config: {vocab_size: 64, hidden_size: 32, num_hidden_layers: 1, num_attention_heads: 4, intermediate_size: 64,
                 max_position_embeddings: "${max_seq_len}"}
"""
CASES = {
    "plain": "max_seq_len: 16",
    "select_default": "max_seq_len: ${oc.select:sizes.length,16}",
    "select_there": "sizes: {length: 24}\nmax_seq_len: ${oc.select:sizes.length,16}",
    "select_nested": "sizes: {length: 24}\nkey: sizes.length\nmax_seq_len: ${oc.select:${key},16}",
    "select_relative": "group: {n: 24, m: '${oc.select:.n,16}'}\nmax_seq_len: ${group.m}",
    "select_broken": "sizes: {length: '${no}'}\nmax_seq_len: ${oc.select:sizes.length,16}",
    "env_default": "max_seq_len: ${oc.decode:${oc.env:M2BERT_NO_SUCH,16}}",
    "env_text": "max_seq_len: ${oc.env:M2BERT_NO_SUCH,16}",
    "nested": "which: short\nsizes: {short: 16, long: 32}\nmax_seq_len: ${sizes.${which}}",
    "brackets": 'sizes: {"my.short": 16, a-b: 24}\nmax_seq_len: ${sizes["my.short"]}',
    "dash": "my-sizes: {a-b: 24}\nmax_seq_len: ${my-sizes.a-b}",
    "relative": 'group: {n: 16, m: "${.n}"}\nmax_seq_len: ${group.m}',
    "missing": "max_seq_len: ${sizes.length}",
    "mandatory": "length: ???\nmax_seq_len: ${length}",
    "create": "opts: ${oc.create:{length: 16}}\nmax_seq_len: ${opts.length}",
    "old_env": "max_seq_len: ${env:M2BERT_NO_SUCH,16}",
    "escaped": 'note: "costs \\${5} and \\\\\\\\${max_seq_len}"\nmax_seq_len: 16',
}


def by_omegaconf(file):
    """The integer that OmegaConf reads, or None if it fails or reads something else."""
    try:
        size = OmegaConf.load(file).model.model_config.max_position_embeddings
    except Exception:
        return None
    return size if isinstance(size, int) else None


@pytest.mark.parametrize("name", CASES)
def test_interpolation(name, tmp_path):
    file = tmp_path / f"{name}.yaml"
    file.write_text(MODEL + CASES[name] + "\n")
    done = subprocess.run([program("m2bert"), "bench", "forward", "--config", file, "--runs", "1", "--batch-size", "1", "--threads", "1",
                           "--quiet", "--json"], capture_output=True, text=True)
    want = by_omegaconf(file)
    if want is None:
        assert done.returncode == 1 and f"error: {file}:" in done.stderr, done.stdout + done.stderr
    else:
        assert done.returncode == 0 and json.loads(done.stdout)["length"] == want, done.stdout + done.stderr


@pytest.mark.parametrize("name,reference", {"missing": "sizes.length", "select_broken": "no", "mandatory": "length"}.items())
def test_error_names_the_first_reference(name, reference, tmp_path):
    file = tmp_path / f"{name}.yaml"
    file.write_text(MODEL + CASES[name] + "\n")
    done = subprocess.run([program("m2bert"), "bench", "forward", "--config", file, "--quiet"], capture_output=True, text=True)
    assert f"${{{reference}}}" in done.stderr or f"refers to {reference} (" in done.stderr
