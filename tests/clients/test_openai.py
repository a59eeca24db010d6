import base64
import struct

import numpy
import openai
import pytest
from conftest import NAME, TEXTS, TOO_LONG, Server, embed, message_of


@pytest.fixture
def client(url):
    return openai.OpenAI(base_url=url + "/v1", api_key="any")


def test_vectors(client, same):
    """The client asks for base64 by itself."""
    same([item.embedding for item in client.embeddings.create(model=NAME, input=TEXTS).data])
    same(client.embeddings.create(model=NAME, input=TEXTS[0], encoding_format="float").data[0].embedding)
    coded = client.embeddings.create(model=NAME, input=TEXTS[0], encoding_format="base64").data[0].embedding
    same(struct.unpack("<384f", base64.b64decode(coded)))


def test_dimensions(client):
    response = client.embeddings.create(model=NAME, input=TEXTS, dimensions=8)
    assert [len(item.embedding) for item in response.data] == [8] * len(TEXTS)
    assert response.usage.prompt_tokens == response.usage.total_tokens > 0


def test_asynchronous(url, same):
    import asyncio

    async def ask():
        async with openai.AsyncOpenAI(base_url=url + "/v1", api_key="any") as client:
            return await asyncio.gather(*(client.embeddings.create(model=NAME, input=text) for text in TEXTS))

    same([response.data[0].embedding for response in asyncio.run(ask())])


def test_models(client):
    assert [model.id for model in client.models.list()] == [NAME]
    assert client.models.retrieve(NAME).id == NAME


def test_errors(client):
    create = client.embeddings.create
    message_of(lambda: create(model=NAME, input=TOO_LONG), "2002 tokens", "the maximum is 256", "context_length_exceeded")
    message_of(lambda: create(model="gpt", input="a"), 'the model "gpt" is not served here', NAME)
    message_of(lambda: create(model=NAME, input=[]), "there is no input")
    message_of(lambda: create(model=NAME, input=[1, 2, 3]), "token ids", "--accept-token-ids")
    with pytest.raises(openai.NotFoundError):
        create(model="gpt", input="a")
    assert len(create(model=NAME, input=TOO_LONG, extra_body={"truncate": True}).data[0].embedding) == 384


@pytest.mark.parametrize("padding, option", [("max_length", "max"), ("bucket", "bucket")])
def test_padding_of_m2(small_models, tmp_path, padding, option):
    model = [small_models / "checkpoint.pt", "--config", small_models / "recipe.yaml"]
    server = Server(*model)
    try:
        client = openai.OpenAI(base_url=server.url + "/v1", api_key="any")
        response = client.embeddings.with_raw_response.create(model=NAME, input=TEXTS[0], extra_body={"padding": padding})
        assert response.headers["X-M2bert-Padding"] == padding
        expected = embed(model[0], TEXTS[:1], tmp_path / "vectors.npy", *model[1:], "--pad", option)
        assert (numpy.array(response.parse().data[0].embedding, numpy.float32) == expected[0]).all()
    finally:
        server.close()


def test_wrong_key(model_folder, tmp_path):
    (tmp_path / "keys").write_text("right\n")
    server = Server(model_folder, "--api-key-file", tmp_path / "keys")
    try:
        create = openai.OpenAI(base_url=server.url + "/v1", api_key="wrong").embeddings.create
        with pytest.raises(openai.AuthenticationError, match="this server wants an API key"):
            create(model=NAME, input="a")
        assert openai.OpenAI(base_url=server.url + "/v1", api_key="right").embeddings.create(model=NAME, input="a").data
    finally:
        server.close()
