"""M2BertEmbeddings: an Embedder for LangChain. Needs `pip install 'm2bert[langchain]'`."""
from __future__ import annotations

import os
from typing import Any

try:
    from langchain_core.embeddings import Embeddings  # type: ignore[import-not-found, unused-ignore]
except ImportError as error:
    raise ImportError(f"m2bert.langchain needs langchain-core ({error}); run: pip install 'm2bert[langchain]'") from error

from ._embedder import Embedder

__all__ = ["M2BertEmbeddings"]


class M2BertEmbeddings(Embeddings):  # type: ignore[misc, unused-ignore]
    """Texts to vectors, as LangChain's vector stores and retrievers ask for them.

    Documents get the model's prompt "document", "passage" or "corpus", and queries its prompt "query", if it has them.

    Args:
        model: As in m2bert.Embedder.
        query_prompt, document_prompt: Texts to put in front of queries and documents instead.
        options: The other arguments of m2bert.Embedder.

    >>> from m2bert.langchain import M2BertEmbeddings
    >>> embeddings = M2BertEmbeddings(model)
    >>> len(embeddings.embed_query("Where do monarchs go?"))
    384
    """

    def __init__(self, model: str | os.PathLike[str], *, query_prompt: str | None = None, document_prompt: str | None = None,
                 **options: Any) -> None:
        self.embedder = Embedder(model, **options)
        self.query_prompt, self.document_prompt = query_prompt, document_prompt

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """The vectors of documents: a list of lists of `embedder.dim` numbers.

        >>> len(embeddings.embed_documents(["Monarchs migrate south.", "Milkweed is their food."]))
        2
        """
        vectors: list[list[float]] = self.embedder.encode_document(texts, prompt=self.document_prompt).tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        """The vector of a query: a list of `embedder.dim` numbers.

        >>> vector = embeddings.embed_query("Where do monarchs go?")
        """
        vector: list[float] = self.embedder.encode_query(text, prompt=self.query_prompt).tolist()
        return vector
