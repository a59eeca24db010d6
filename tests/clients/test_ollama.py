import ollama
import pytest
from conftest import NAME, TEXTS, TOO_LONG, message_of


@pytest.fixture
def client(url):
    return ollama.Client(host=url)


def test_vectors(client, same):
    response = client.embed(model=NAME, input=TEXTS)
    same(response.embeddings)
    assert response.model == NAME and response.prompt_eval_count > 0 and response.total_duration > 0
    same(client.embed(model=NAME + ":latest", input=TEXTS[0], keep_alive="5m", options={"num_ctx": 4096, "seed": 1}).embeddings)
    same(client.embeddings(model=NAME, prompt=TEXTS[0]).embedding)
    assert len(client.embed(model=NAME, input=TEXTS[0], dimensions=8).embeddings[0]) == 8


def test_no_text(client):
    assert client.embed(model=NAME, input="").embeddings == []
    assert client.embed(model=NAME, input=[]).embeddings == []


def test_models(client):
    assert [model.model for model in client.list().models] == [NAME]


def test_errors(client):
    assert len(client.embed(model=NAME, input=TOO_LONG).embeddings[0]) == 384
    message_of(lambda: client.embed(model=NAME, input=TOO_LONG, truncate=False), "2002 tokens", "the maximum is 256")
    message_of(lambda: client.embed(model="llama3", input="a"), 'the model "llama3" is not served here', "404")
    message_of(lambda: client.generate(model=NAME, prompt="a"), "there is no route /api/generate")
