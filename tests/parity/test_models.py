"""The C++ models against the torch model for all kinds of model configs, forward and gradients."""
import json

import generate_cases
import pytest
import torch
from conftest import program, run
from safetensors.torch import load_file
from tolerance import complaint

CASES = list(generate_cases.cases())


@pytest.fixture(scope="session")
def computed(tmp_path_factory):
    """The folder of all cases after the C++ program has written ours.safetensors into each."""
    runner = program("m2bert-parity-model")
    root = tmp_path_factory.mktemp("cases")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for name in CASES:
        generate_cases.write_case(root / name, name)
    torch.set_num_threads(threads)
    done = run(runner, "--keep-going", *(root / name for name in CASES))
    return root, done.stderr


def test_there_are_enough():
    assert len(CASES) >= 60


@pytest.mark.parametrize("name", CASES)
def test_case(computed, name):
    root, errors = computed
    folder = root / name
    reason = [line for line in errors.splitlines() if f"{folder}:" in line]
    assert (folder / "ours.safetensors").exists(), "\n".join(reason) or "the program wrote nothing"
    ours, expected = load_file(folder / "ours.safetensors"), load_file(folder / "expected.safetensors")
    noise = json.loads((folder / "tolerances.json").read_text())
    complaints = []
    for key, golden in expected.items():
        assert key in ours, f"{key} was not computed"
        complaints.append(complaint(key, ours[key], golden, noise[key][0]))
    for key in ours.keys() - expected.keys():  # parameters that the head does not use
        assert key.startswith("grad.") and not ours[key].any(), f"{key} is not expected"
    complaints = [line for line in complaints if line]
    assert not complaints, "\n".join(complaints)
