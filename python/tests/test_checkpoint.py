"""load_checkpoint, save_checkpoint and read_config."""
import m2bert
import mlx.core as mx
import numpy as np
import pytest

def arrays():
    key = mx.random.key(3)
    return {"bert.a": mx.random.normal((3, 4), key=key), "bert.b": mx.arange(5), "bert.c": mx.array([1.5, -2.0]).astype(mx.bfloat16)}

@pytest.mark.parametrize("ending", ["safetensors", "pt", "pth", "bin"])
def test_round_trip(tmp_path, ending):
    path, saved = tmp_path / f"weights.{ending}", arrays()
    m2bert.save_checkpoint(path, saved)
    loaded = m2bert.load_checkpoint(path)
    assert set(loaded) == set(saved)
    for name, array in saved.items():
        assert type(loaded[name]) is mx.array and loaded[name].dtype == array.dtype
        assert mx.array_equal(loaded[name], array)

def test_numpy_shares_the_memory(tmp_path):
    m2bert.save_checkpoint(tmp_path / "w.safetensors", {"x": np.arange(6, dtype=np.float32).reshape(2, 3), **arrays()})
    loaded = m2bert.load_checkpoint(tmp_path / "w.safetensors", numpy=True, stored_names=True)
    assert isinstance(loaded["x"], np.ndarray) and loaded["x"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert loaded["bert.c"].dtype == np.float32 and loaded["bert.c"].tolist() == [1.5, -2.0]

def test_names_of_the_model_or_of_the_file(models):
    ours = m2bert.load_checkpoint(models / "checkpoint.pt")
    stored = m2bert.load_checkpoint(models / "checkpoint.pt", stored_names=True)
    assert "bert.embeddings.word_embeddings.weight" in ours
    assert {f"state.model.model.{name}" for name in ours} <= set(stored)

def test_a_folder(bert):
    weights = m2bert.load_checkpoint(bert)
    assert weights["bert.embeddings.word_embeddings.weight"].shape[0] == 30522

def test_safetensors_reads_what_is_written(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    m2bert.save_checkpoint(tmp_path / "w.safetensors", {"x": mx.ones((2, 2))}, {"made": "here"})
    assert safetensors.load_file(tmp_path / "w.safetensors")["x"].tolist() == [[1, 1], [1, 1]]

def test_torch_reads_what_is_written(tmp_path):
    torch = pytest.importorskip("torch")
    m2bert.save_checkpoint(tmp_path / "w.pt", {"x": mx.ones((2, 2))})
    loaded = torch.load(tmp_path / "w.pt", weights_only=True)
    assert loaded["state"]["model"]["model.x"].tolist() == [[1, 1], [1, 1]]

def test_code_in_a_pickle_is_not_run(tmp_path):
    import pickle
    import zipfile

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "made"), "w"))

    with zipfile.ZipFile(tmp_path / "evil.pt", "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps({"x": Evil()}, protocol=2))
        file.writestr("archive/version", "3\n")
    try:
        m2bert.load_checkpoint(tmp_path / "evil.pt", stored_names=True)
    except m2bert.Error:
        pass
    assert not (tmp_path / "made").exists()

def test_errors(tmp_path):
    with pytest.raises(FileNotFoundError):
        m2bert.load_checkpoint(tmp_path / "absent.pt")
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    with pytest.raises(m2bert.Error, match="bad.safetensors"):
        m2bert.load_checkpoint(tmp_path / "bad.safetensors")
    with pytest.raises(m2bert.Error, match="ends in"):
        m2bert.save_checkpoint(tmp_path / "weights.npz", arrays())
    assert list(tmp_path.iterdir()) == [tmp_path / "bad.safetensors"]
    with pytest.raises(m2bert.Error, match="metadata"):
        m2bert.save_checkpoint(tmp_path / "weights.pt", arrays(), {"a": "b"})
    with pytest.raises(ValueError, match="copy"):
        m2bert.load_checkpoint(tmp_path / "bad.safetensors", copy="ema", stored_names=True)

def test_read_config(models, bert):
    config = m2bert.read_config(models / "recipe.yaml")
    assert config["hidden_size"] == 16 and config["monarch_mixer_sequence_mixing"] is True
    assert m2bert.read_config(models / "recipe.yaml", ["model.model_config.num_hidden_layers=1"])["num_hidden_layers"] == 1
    assert m2bert.read_config(bert)["vocab_size"] == 30522
    with pytest.raises(FileNotFoundError):
        m2bert.read_config(models / "absent.yaml")
