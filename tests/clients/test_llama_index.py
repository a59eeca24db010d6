import pytest
from conftest import NAME, TEXTS, TOO_LONG, message_of
from llama_index.embeddings.ollama import OllamaEmbedding
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.embeddings.text_embeddings_inference import TextEmbeddingsInference

CLIENTS = {
    "openai": lambda url: OpenAILikeEmbedding(model_name=NAME, api_base=url + "/v1", api_key="any"),
    "tei": lambda url: TextEmbeddingsInference(model_name=NAME, base_url=url, query_instruction="", text_instruction=""),
    "ollama": lambda url: OllamaEmbedding(model_name=NAME, base_url=url),
}


@pytest.mark.parametrize("name", CLIENTS)
def test_vectors(url, same, name):
    client = CLIENTS[name](url)
    same(client.get_text_embedding_batch(TEXTS))
    same(client.get_query_embedding(TEXTS[0]))


def test_errors(url):
    message_of(lambda: CLIENTS["openai"](url).get_text_embedding(TOO_LONG), "2002 tokens", "the maximum is 256")
    message_of(lambda: OllamaEmbedding(model_name="llama3", base_url=url).get_text_embedding("a"), 'the model "llama3" is not served here')
