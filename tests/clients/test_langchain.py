from conftest import NAME, TEXTS, TOO_LONG, message_of
from langchain_ollama import OllamaEmbeddings
from langchain_openai import OpenAIEmbeddings


def openai(url, **more):
    return OpenAIEmbeddings(base_url=url + "/v1", api_key="any", model=NAME, check_embedding_ctx_length=False, **more)


def test_openai_vectors(url, same):
    same(openai(url).embed_documents(TEXTS))
    same(openai(url).embed_query(TEXTS[0]))


def test_openai_errors(url):
    message_of(lambda: openai(url).embed_query(TOO_LONG), "2002 tokens", "the maximum is 256")


def test_ollama_vectors(url, same):
    same(OllamaEmbeddings(base_url=url, model=NAME).embed_documents(TEXTS))
    same(OllamaEmbeddings(base_url=url, model=NAME, num_ctx=4096).embed_query(TEXTS[0]))
    same(OllamaEmbeddings(base_url=url, model=NAME, validate_model_on_init=True).embed_query(TEXTS[0]))


def test_ollama_errors(url):
    message_of(lambda: OllamaEmbeddings(base_url=url, model="llama3").embed_query("a"), 'the model "llama3" is not served here')
