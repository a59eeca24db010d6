"""Tokenizer: texts to ids and back."""
from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Literal, overload

import numpy as np
import numpy.typing as npt

from . import _core
from ._core import Encoding
from ._model import existing
from ._texts import Source, Texts


class Tokenizer:
    """WordPiece, with the ids of Hugging Face's BertTokenizerFast. Immutable; threads may share it.

    Args:
        model: vocab.txt, tokenizer.json, or the folder of a model. Default: bert-base-uncased, which is built in.
        lowercase, strip_accents, split_chinese: Override the settings of the files.

    >>> tokenizer = m2bert.Tokenizer()
    >>> tokenizer("Monarch butterflies").tokens
    ['[CLS]', 'monarch', 'butterflies', '[SEP]']
    """

    def __init__(self, model: str | os.PathLike[str] | None = None, *, lowercase: bool | None = None, strip_accents: bool | None = None,
                 split_chinese: bool | None = None) -> None:
        self._tokenizer = _core.Tokenizer.load(None if model is None else existing(model), lowercase, strip_accents, split_chinese)

    @classmethod
    def _of(cls, tokenizer: _core.Tokenizer) -> Tokenizer:
        made = cls.__new__(cls)
        made._tokenizer = tokenizer
        return made

    @overload  # a str is an iterable of str too, but the first overload comes first
    def __call__(  # type: ignore[overload-overlap] # pyright: ignore[reportOverlappingOverload]
                 self, text: str, text_pair: str | None = None, *, max_length: int | None = None,
                 truncation_side: Literal["right", "left"] | None = None, add_special_tokens: bool = True) -> Encoding: ...

    @overload
    def __call__(self, text: Iterable[str], text_pair: Iterable[str] | None = None, *, max_length: int | None = None,
                 truncation_side: Literal["right", "left"] | None = None, add_special_tokens: bool = True) -> list[Encoding]: ...

    def __call__(self, text: Texts, text_pair: Texts | None = None, *, max_length: int | None = None,
                 truncation_side: Literal["right", "left"] | None = None, add_special_tokens: bool = True) -> Encoding | list[Encoding]:
        """The encoding of a text, or a list of those of several texts.

        Args:
            text: A str or an iterable of str.
            text_pair: The second texts of pairs, of the same kind.
            max_length: Truncates to so many tokens, with [CLS] and [SEP].
            truncation_side: The end at which is truncated. Default: the tokenizer's.
            add_special_tokens: [CLS] and [SEP].

        Returns:
            Encodings with numpy arrays `ids`, `type_ids`, `attention_mask`, `special_tokens_mask` [tokens] and `offsets` [tokens, 2] (the
            characters [begin, end) of each token in its text; (0, 0) for special tokens), `tokens` (a list of str) and `truncated`.

        >>> encoding = tokenizer("Caf\u00e9 noir")
        >>> encoding.ids.tolist(), encoding.offsets.tolist()
        ([101, 7668, 15587, 102], [[0, 0], [0, 4], [5, 9], [0, 0]])
        """
        source = Source(text, "text")
        seconds = None if text_pair is None else Source(text_pair, "text_pair")
        if seconds is not None and seconds.single != source.single:
            raise TypeError("text and text_pair: both are one str, or both are several")
        encodings = self._tokenizer.encode_batch(iter(source), None if seconds is None else iter(seconds), max_length, truncation_side,
                                                 add_special_tokens)
        return encodings[0] if source.single else encodings

    def encode_batch(self, texts: Iterable[str], *, max_length: int | None = None,
                     truncation_side: Literal["right", "left"] | None = None, add_special_tokens: bool = True) -> list[Encoding]:
        """The encodings of texts, made by all threads; arguments as above.

        >>> [len(encoding) for encoding in tokenizer.encode_batch(["one", "one two"])]
        [3, 4]
        """
        return self(texts, max_length=max_length, truncation_side=truncation_side, add_special_tokens=add_special_tokens)

    def decode(self, ids: Iterable[int] | npt.NDArray[np.integer], skip_special_tokens: bool = True) -> str:
        """The text of ids.

        >>> tokenizer.decode(tokenizer("Blue butterflies!").ids)
        'blue butterflies!'
        """
        return self._tokenizer.decode([int(id) for id in ids], skip_special_tokens)

    def token_to_id(self, token: str) -> int | None:
        """The id of a token; None if the vocabulary lacks it.

        >>> tokenizer.token_to_id("[MASK]")
        103
        """
        return self._tokenizer.token_to_id(token)

    def id_to_token(self, id: int) -> str:
        """The token of an id. m2bert.Error outside the vocabulary.

        >>> tokenizer.id_to_token(103)
        '[MASK]'
        """
        return self._tokenizer.id_to_token(id)

    @property
    def vocab_size(self) -> int:
        """The largest id, plus 1.

        >>> tokenizer.vocab_size
        30522
        """
        return self._tokenizer.vocab_size

    @property
    def lowercase(self) -> bool:
        """Whether texts are made lower case.

        >>> tokenizer.lowercase
        True
        """
        return self._tokenizer.lowercase

    def __len__(self) -> int:
        return self.vocab_size
