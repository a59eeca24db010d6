import pytest
from conftest import TEXTS, TOO_LONG
from tei_client import HttpClient


@pytest.fixture
def client(url):
    return HttpClient(url)


def test_vectors(client, same):
    assert client.health()
    same(client.embed(TEXTS))
    same(client.embed(TEXTS[0])[0])
    tokens = client.tokenize(TEXTS)
    assert [len(states) for states in client.embed_all(TEXTS)] == [len(result.tokens) for result in tokens]


def test_facts(client):
    info = client.info()
    assert info.server_model_metadata.pooling == "mean"
    assert info.max_input_length == 256
    assert client.prompt_names() == [""]  # the client splits what is between the brackets


def test_tokens(client):
    ids = client.tokenize(TEXTS[0])[0].get_ids()
    assert client.decode(ids) == ["the cat sat on the mat."]


def test_errors(client):
    """The client returns an error's body in place of the vectors."""
    assert "2002 tokens" in client.embed(TOO_LONG)["error"]
    assert "Available prompts" in client.embed("a", prompt_name="query")["error"]
    assert client.embed([])["error_type"] == "Empty"
