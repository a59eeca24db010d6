import openai
import pytest
import tiktoken
from conftest import NAME, TEXTS
from mteb.models.model_implementations.openai_models import OpenAIModel


@pytest.fixture
def model(url, monkeypatch):
    # The wrapper shortens texts by the tokens of a vocabulary that it downloads. Here each byte is a token.
    of_bytes = tiktoken.Encoding("bytes", pat_str=r"(?s:.)", mergeable_ranks={bytes([i]): i for i in range(256)}, special_tokens={})
    monkeypatch.setattr(tiktoken, "get_encoding", lambda name: of_bytes)
    return OpenAIModel(f"org/{NAME}", max_tokens=256, embed_dim=384, client=openai.OpenAI(base_url=url + "/v1", api_key="any", max_retries=0))


def test_vectors(model, same):
    same(model.encode([{"text": TEXTS[:2]}, {"text": TEXTS[2:]}], task_metadata=None, hf_split="test", hf_subset="default"))


def test_errors(model, monkeypatch):
    """The wrapper tries again after 10 and 60 seconds, and then raises what the client raised."""
    import time
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    model.model_name = "gpt"
    with pytest.raises(openai.NotFoundError, match="is not served here"):
        model.encode([{"text": TEXTS}], task_metadata=None, hf_split="test", hf_subset="default")
