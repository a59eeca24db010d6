import pytest
from conftest import TEXTS, TOO_LONG, message_of
from huggingface_hub import InferenceClient


@pytest.mark.parametrize("path", ["", "/embed"])
def test_vectors(url, same, path):
    client = InferenceClient(model=url + path)
    same(client.feature_extraction(TEXTS))
    same(client.feature_extraction(TEXTS[0], normalize=True, truncate=True)[0])


def test_base_url(url, same):
    same(InferenceClient(base_url=url).feature_extraction(TEXTS))


def test_similarity(url, vectors):
    scores = InferenceClient(model=url).sentence_similarity(TEXTS[0], TEXTS[1:3])
    assert scores == pytest.approx([float(vectors[0] @ vectors[1]), float(vectors[0] @ vectors[2])], abs=1e-6)


def test_errors(url):
    client = InferenceClient(model=url)
    message_of(lambda: client.feature_extraction(TOO_LONG), "2002 tokens", "the maximum is 256")
    message_of(lambda: client.feature_extraction(TEXTS, prompt_name="query"), 'Available prompts: []')
    message_of(lambda: client.feature_extraction([]), "there is no input")
