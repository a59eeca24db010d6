import cohere
import numpy
import pytest
from conftest import NAME, TEXTS, TOO_LONG, message_of


@pytest.fixture
def client(url):
    return cohere.ClientV2(api_key="any", base_url=url)


def test_vectors(client, same):
    response = client.embed(model=NAME, texts=TEXTS, input_type="search_document", embedding_types=["float"])
    same(response.embeddings.float_)
    assert response.texts == TEXTS
    assert response.meta.billed_units.input_tokens > 0
    inputs = [{"content": [{"type": "text", "text": text}]} for text in TEXTS]
    same(client.embed(model=NAME, inputs=inputs, input_type="search_query", embedding_types=["float"]).embeddings.float_)


def test_vectors_of_version_1(url, same):
    client = cohere.Client(api_key="any", base_url=url)
    same(client.embed(model=NAME, texts=TEXTS, input_type="search_document").embeddings)
    same(client.embed(model=NAME, texts=TEXTS, input_type="search_document", embedding_types=["float"]).embeddings.float_)


def test_embedding_types(client, vectors):
    types = ["int8", "uint8", "binary", "ubinary"]
    found = client.embed(model=NAME, texts=TEXTS, input_type="search_document", embedding_types=types).embeddings
    bits = numpy.packbits(vectors > 0, axis=-1)
    assert (numpy.array(found.ubinary) == bits).all()
    assert (numpy.array(found.binary) == bits.astype(int) - 128).all()
    # sentence_transformers.quantization.quantize_embeddings with the same ranges
    low, high = vectors.min(axis=0), vectors.max(axis=0)
    steps = numpy.floor((vectors - low) / ((high - low) / numpy.float32(255))).clip(0, 255)
    assert (numpy.array(found.uint8) == steps).all()
    assert (numpy.array(found.int8) == steps - 128).all()


def test_rerank(client, url):
    for rerank in (client.rerank, cohere.Client(api_key="any", base_url=url).rerank):
        response = rerank(model=NAME, query="Where does the cat sit?", documents=TEXTS, top_n=2)
        assert [result.index for result in response.results] == [0, 1]
        assert response.results[0].relevance_score > response.results[1].relevance_score > 0


def test_errors(client):
    def embed(texts, model=NAME, **more):
        return client.embed(model=model, texts=texts, input_type="search_document", embedding_types=["float"], **more)

    message_of(lambda: embed([TOO_LONG], truncate="NONE"), "2002 tokens", "the maximum is 256")
    assert embed([TOO_LONG]).meta.warnings == ["1 of 1 texts were too long and were truncated"]
    message_of(lambda: embed(["a"], model="embed-v4.0"), 'the model "embed-v4.0" is not served here')
    with pytest.raises(cohere.NotFoundError):
        embed(["a"], model="embed-v4.0")
    message_of(lambda: embed([]), "there is no input")
    message_of(lambda: client.rerank(model=NAME, query="a", documents=[]), "there are no texts")
