import litellm
import pytest
from conftest import NAME, TEXTS, TOO_LONG, message_of

# The provider, and what follows the server's address.
PROVIDERS = {"openai": "/v1", "hosted_vllm": "/v1", "jina_ai": "/v1", "infinity": "", "ollama": ""}


def embed(url, provider, texts, name=NAME):
    response = litellm.embedding(model=f"{provider}/{name}", input=texts, api_base=url + PROVIDERS[provider], api_key="any")
    return [item["embedding"] for item in response.data]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_vectors(url, same, provider):
    same(embed(url, provider, TEXTS))


@pytest.mark.parametrize("provider", PROVIDERS)
def test_errors(url, provider):
    message_of(lambda: embed(url, provider, TEXTS, name="gpt"), "is not served here")
    if provider != "ollama":  # it truncates by default
        message_of(lambda: embed(url, provider, [TOO_LONG]), "2002 tokens")


@pytest.mark.parametrize("provider, path", [("jina_ai", "/v1/rerank"), ("hosted_vllm", ""), ("cohere", "/v2/rerank"), ("huggingface", "")])
def test_rerank(url, provider, path):
    response = litellm.rerank(model=f"{provider}/{NAME}", query="Where does the cat sit?", documents=TEXTS, top_n=2, api_base=url + path,
                              api_key="any")
    assert [result["index"] for result in response.results][:2] == [0, 1]
