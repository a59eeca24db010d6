"""m2bert.langchain: M2BertEmbeddings has the Embedder's vectors."""
import asyncio
import json
import shutil
import subprocess
import sys

import m2bert
import numpy as np
import pytest
from conftest import TEXTS


def test_without_the_library(tmp_path):
    code = "import sys\nsys.modules['langchain_core'] = None\nimport m2bert.langchain"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stderr.splitlines()[-1].startswith("ImportError: m2bert.langchain needs langchain-core (")
    assert done.stderr.strip().endswith("run: pip install 'm2bert[langchain]'")


@pytest.fixture(scope="module")
def embeddings_type():
    pytest.importorskip("langchain_core")
    from m2bert.langchain import M2BertEmbeddings
    return M2BertEmbeddings


def test_vectors_are_the_embedders(embeddings_type, bert, m2):
    from langchain_core.embeddings import Embeddings
    for model in ({"model": bert}, m2):
        embeddings, expected = embeddings_type(**model), m2bert.Embedder(**model).embed(TEXTS)
        assert isinstance(embeddings, Embeddings)
        found = embeddings.embed_documents(TEXTS)
        assert isinstance(found, list) and isinstance(found[0][0], float) and np.array_equal(np.array(found, np.float32), expected)
        assert np.array_equal(np.array(embeddings.embed_query(TEXTS[0]), np.float32), m2bert.Embedder(**model).embed(TEXTS[0]))
        assert embeddings.embed_documents([]) == []


def test_async(embeddings_type, bert):
    embeddings = embeddings_type(bert)

    async def both():
        return await asyncio.gather(embeddings.aembed_documents(TEXTS), embeddings.aembed_query(TEXTS[0]))

    documents, query = asyncio.run(both())
    assert documents == embeddings.embed_documents(TEXTS) and query == embeddings.embed_query(TEXTS[0])


def test_prompts(embeddings_type, bert, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(bert, folder)
    settings = folder / "config_sentence_transformers.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "prompts": {"query": "query: ", "passage": "passage: "}}))
    plain = m2bert.Embedder(bert)
    embeddings = embeddings_type(folder)
    assert embeddings.embed_query("x") == plain.embed("query: x").tolist()
    assert embeddings.embed_documents(["x"]) == plain.embed(["passage: x"]).tolist()
    other = embeddings_type(folder, query_prompt="Q ", document_prompt="")
    assert other.embed_query("x") == plain.embed("Q x").tolist() and other.embed_documents(["x"]) == plain.embed(["x"]).tolist()


def test_in_a_vector_store(embeddings_type, minilm):
    from langchain_core.vectorstores import InMemoryVectorStore
    store = InMemoryVectorStore(embeddings_type(minilm, normalize=True))
    store.add_texts(["Monarchs spend the winter in Mexico.", "The bank raised its rates.", "Bees dance to tell where flowers are."])
    assert store.similarity_search("Where do monarchs stay in winter?", k=1)[0].page_content == "Monarchs spend the winter in Mexico."
