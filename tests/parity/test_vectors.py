"""embed, similarity and classify against sentence-transformers and Transformers: fewer dimensions, quantized vectors, tokens, late chunks,
rescoring, pairs of texts. Folders with int8 weights."""
import csv
import json

import english
import numpy as np
import pytest
from conftest import program, run
from test_folders import PROMPTS, dense, normalize, save_bert, save_sentence

COUNT = 110
PRECISIONS = ["float32", "int8", "uint8", "binary", "ubinary"]
TOLERANCE = 1e-5


def embed(folder, source, out, *options):
    run(program("m2bert"), "embed", "--quiet", "--model", folder, source, "--output", out, "--overwrite", *options)
    if out.suffix == ".npy":
        return np.load(out)
    if out.suffix == ".safetensors":
        from safetensors.numpy import load_file
        return load_file(out)
    return [json.loads(line) for line in out.read_text().splitlines()]


def write_texts(path, texts):
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


@pytest.fixture(scope="module")
def corpus(minilm_folder, tmp_path_factory):
    """The folder with texts.jsonl and their float32 vectors, those of the first hundred (sample.npy) and of all."""
    folder = tmp_path_factory.mktemp("corpus")
    texts = english.sentences()[:COUNT]
    source = write_texts(folder / "texts.jsonl", texts)
    vectors = embed(minilm_folder, source, folder / "vectors.npy")
    np.save(folder / "sample.npy", vectors[:100])
    return folder, texts, vectors


# ---- fewer dimensions ----
@pytest.mark.parametrize("dimensions", [1, 32, 100, 384])
def test_dimensions(minilm_folder, corpus, tmp_path, dimensions):
    from sentence_transformers import SentenceTransformer
    folder, texts, _ = corpus
    ours = embed(minilm_folder, write_texts(tmp_path / "texts.jsonl", texts[:20]), tmp_path / "v.npy", "--dimensions", str(dimensions))
    model = SentenceTransformer(str(minilm_folder), device="cpu")
    expected = model.encode(texts[:20], truncate_dim=dimensions, normalize_embeddings=True)
    assert ours.shape == expected.shape
    np.testing.assert_allclose(ours, expected, atol=TOLERANCE)


def test_dimensions_of_vectors_that_are_not_normalised(tmp_path):
    from sentence_transformers import SentenceTransformer
    folder = save_sentence(tmp_path / "model", truncate_dim=20)
    texts = ["a quiet harbor", "the old moon"]
    ours = embed(folder, write_texts(tmp_path / "texts.jsonl", texts), tmp_path / "v.npy", "--dimensions", "24")  # overrides the folder's
    model = SentenceTransformer(str(folder), device="cpu")
    np.testing.assert_allclose(ours, model.encode(texts, truncate_dim=24), atol=TOLERANCE)
    unit = embed(folder, tmp_path / "texts.jsonl", tmp_path / "v.npy", "--dimensions", "24", "--normalize")
    np.testing.assert_allclose(unit, model.encode(texts, truncate_dim=24, normalize_embeddings=True), atol=TOLERANCE)


# ---- precision ----
@pytest.mark.parametrize("dimensions", [384, 100])  # 100: the last byte of the bits is not full
@pytest.mark.parametrize("precision", PRECISIONS)
def test_precision(minilm_folder, corpus, tmp_path, precision, dimensions):
    from sentence_transformers.util.quantization import quantize_embeddings
    folder, _, _ = corpus
    options = ["--dimensions", str(dimensions)]
    vectors = embed(minilm_folder, folder / "texts.jsonl", tmp_path / "v.npy", *options)
    sample = vectors[:100]
    np.save(tmp_path / "sample.npy", sample)
    expected = quantize_embeddings(vectors, precision, calibration_embeddings=sample)
    options += ["--precision", precision]
    if precision in ("int8", "uint8"):
        options += ["--calibration", tmp_path / "sample.npy"]
    npy = embed(minilm_folder, folder / "texts.jsonl", tmp_path / "q.npy", *options)
    assert npy.dtype == expected.dtype and npy.shape == expected.shape
    assert npy.tobytes() == expected.tobytes()
    tensors = embed(minilm_folder, folder / "texts.jsonl", tmp_path / "q.safetensors", *options)
    assert tensors["embeddings"].dtype == expected.dtype and tensors["embeddings"].tobytes() == expected.tobytes()
    lines = embed(minilm_folder, folder / "texts.jsonl", tmp_path / "q.jsonl", *options)
    assert np.array([line["embedding"] for line in lines], dtype=expected.dtype).tobytes() == expected.tobytes()
    assert {line.get("precision", "float32") for line in lines} == {precision}
    if precision in ("int8", "uint8"):
        assert tensors["ranges"].tobytes() == np.vstack([sample.min(0), sample.max(0)]).tobytes()
        same_ranges = [*options[:-1], tmp_path / "q.safetensors"]  # those that it records
        again = embed(minilm_folder, folder / "texts.jsonl", tmp_path / "again.npy", *same_ranges)
        assert again.tobytes() == expected.tobytes()


def test_a_dimension_without_a_range(tmp_path):
    """All vectors of the calibration have the same value there: sentence-transformers takes steps of 1."""
    from sentence_transformers.util.quantization import quantize_embeddings
    folder = save_sentence(tmp_path / "model")
    source = write_texts(tmp_path / "texts.jsonl", ["a quiet harbor", "the old moon", "rain and wind"])
    vectors = embed(folder, source, tmp_path / "v.npy")
    np.save(tmp_path / "one.npy", vectors[:1])
    for precision in ("int8", "uint8"):
        ours = embed(folder, source, tmp_path / "q.npy", "--precision", precision, "--calibration", tmp_path / "one.npy")
        ranges = np.vstack([vectors[0], vectors[0]])
        assert ours.tobytes() == quantize_embeddings(vectors, precision, ranges=ranges).tobytes()


# ---- tokens ----
def test_tokens(minilm_folder, corpus, tmp_path):
    import torch
    from safetensors import safe_open
    from sentence_transformers import SentenceTransformer
    _, texts, _ = corpus
    texts = [*texts[:20], "", "Café au lait — “très” 你好!", "word " * 400]
    source = write_texts(tmp_path / "texts.jsonl", texts)
    model = SentenceTransformer(str(minilm_folder), device="cpu")
    expected = [states.numpy() for states in model.encode(texts, output_value="token_embeddings")]
    lines = embed(minilm_folder, source, tmp_path / "t.jsonl", "--tokens")
    tensors = embed(minilm_folder, source, tmp_path / "t.safetensors", "--tokens")
    assert [line["truncated"] for line in lines] == [False] * 22 + [True]
    row = 0
    for number, (text, line, states) in enumerate(zip(texts, lines, expected, strict=True)):
        encoded = model.tokenizer(text, truncation=True, max_length=model.max_seq_length, return_offsets_mapping=True)
        assert line["tokens"] == model.tokenizer.convert_ids_to_tokens(encoded["input_ids"])
        assert [tuple(offset) for offset in line["offsets"]] == encoded["offset_mapping"]
        np.testing.assert_allclose(np.array(line["embeddings"]), states, atol=5e-5)
        rows = slice(row, row + len(states))
        np.testing.assert_array_equal(tensors["embeddings"][rows], np.array(line["embeddings"], dtype=np.float32))
        index = [[number, token, *offset] for token, offset in zip(encoded["input_ids"], encoded["offset_mapping"])]
        assert tensors["tokens"][rows].tolist() == index
        row += len(states)
    assert len(tensors["embeddings"]) == row
    with safe_open(tmp_path / "t.safetensors", "pt") as opened:
        assert opened.get_tensor("tokens").dtype == torch.int64


def test_quantized_tokens(tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util.quantization import quantize_embeddings
    folder = save_sentence(tmp_path / "model")
    source = write_texts(tmp_path / "texts.jsonl", ["a quiet harbor", "the old moon"])
    floats = embed(folder, source, tmp_path / "t.safetensors", "--tokens")["embeddings"]
    np.save(tmp_path / "sample.npy", floats)
    for precision in ("ubinary", "int8"):
        calibration = ["--calibration", tmp_path / "sample.npy"] if precision == "int8" else []
        tensors = embed(folder, source, tmp_path / "q.safetensors", "--tokens", "--precision", precision, *calibration)
        assert tensors["embeddings"].tobytes() == quantize_embeddings(floats, precision).tobytes()
    assert len(SentenceTransformer(str(folder), device="cpu").encode("a quiet harbor", output_value="token_embeddings")) == 5


# ---- late chunks ----
def chunk_means(model, text, spans, prompt=""):
    """The mean of the states of each span's tokens, with [CLS] in the first and [SEP] in the last, and the modules after the pooling."""
    import torch
    encoded = model.tokenizer(prompt + text, return_offsets_mapping=True, return_tensors="pt")
    offsets = encoded.pop("offset_mapping")[0].tolist()
    with torch.no_grad():
        states = model[0].auto_model(**encoded).last_hidden_state[0]
        vectors = []
        for begin, end in spans:
            begin, end = begin + len(prompt), end + len(prompt)
            chosen = [i for i, (b, e) in enumerate(offsets) if e > b and b < end and e > begin]
            inside = [i for i, (b, e) in enumerate(offsets) if e > max(b, len(prompt))]
            if chosen[0] == inside[0]:
                chosen = [*range(chosen[0]), *chosen]
            if chosen[-1] == inside[-1]:
                chosen.append(len(offsets) - 1)
            features = {"sentence_embedding": states[chosen].mean(0, keepdim=True)}
            for module in list(model)[2:]:
                features = module(features)
            vectors.append(features["sentence_embedding"][0].numpy())
    return np.array(vectors)


DOCUMENT = ("Moths fly at night. “Is that so?” asked the café's owner — yes! It costs 3.50 dollars… or more. "
            "你好。再见！ The last one has no end")
SENTENCES = ["Moths fly at night.", "“Is that so?”", "asked the café's owner — yes!", "It costs 3.50 dollars…", "or more.", "你好。", "再见！",
             "The last one has no end"]


@pytest.mark.parametrize("modules", [[], [normalize], [dense(8), normalize]], ids=["plain", "normalised", "dense"])
def test_late_chunks_are_means(tmp_path, modules):
    from sentence_transformers import SentenceTransformer
    folder = save_sentence(tmp_path / "model", more=modules, prompts=PROMPTS, max_position_embeddings=128)
    model = SentenceTransformer(str(folder), device="cpu")
    spans = [[0, 19], [4, 30], [60, 90], [100, len(DOCUMENT)]]
    source = tmp_path / "d.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in ({"text": "the moon", "at": [[4, 8]]}, {"text": DOCUMENT, "at": spans})))
    for prompt in ("", "passage: "):
        lines = embed(folder, source, tmp_path / "c.jsonl", "--late-chunking", "--chunk-spans", "at", "--prompt", prompt)
        assert [(line["index"], line["start"], line["end"]) for line in lines] == [(0, 4, 8), *((1, *span) for span in spans)]
        ours = np.array([line["embedding"] for line in lines])
        np.testing.assert_allclose(ours[1:], chunk_means(model, DOCUMENT, spans, prompt), atol=TOLERANCE)


def test_sentences_and_their_characters(tmp_path):
    folder = save_sentence(tmp_path / "model", max_position_embeddings=128)
    source = write_texts(tmp_path / "d.jsonl", [DOCUMENT, ""])
    tensors = embed(folder, source, tmp_path / "c.safetensors", "--late-chunking", "--chunk-sentences")
    assert [DOCUMENT[begin:end] for _, begin, end in tensors["passages"]] == SENTENCES
    lines = embed(folder, source, tmp_path / "c.jsonl", "--late-chunking", "--chunk-sentences")
    np.testing.assert_array_equal(np.array([line["embedding"] for line in lines], dtype=np.float32), tensors["embeddings"])


def test_one_chunk_is_the_text(minilm_folder, corpus, tmp_path):
    folder, texts, vectors = corpus
    source = write_texts(tmp_path / "texts.jsonl", texts[:20])
    whole = embed(minilm_folder, source, tmp_path / "c.jsonl", "--late-chunking", "--chunk-tokens", "1000", "--max-length", "512")
    plain = embed(minilm_folder, source, tmp_path / "v.npy", "--max-length", "512")
    np.testing.assert_allclose(np.array([line["embedding"] for line in whole]), plain, atol=TOLERANCE)


def test_long_documents_are_read_in_windows(minilm_folder, corpus, tmp_path):
    """By hand: windows of 62 tokens that share 20; each token is taken from the window where it has more context."""
    import torch
    from sentence_transformers import SentenceTransformer
    _, texts, _ = corpus
    text = " ".join(texts[:20])
    model = SentenceTransformer(str(minilm_folder), device="cpu")
    encoded = model.tokenizer(text, return_offsets_mapping=True, truncation=False)
    ids, offsets = encoded["input_ids"][1:-1], encoded["offset_mapping"][1:-1]
    assert len(ids) > 200
    room, overlap = 62, 20
    starts = [*range(0, len(ids) - room, room - overlap), len(ids) - room]
    states = np.zeros((len(ids) + 2, 384), dtype=np.float32)
    with torch.no_grad():
        for number, start in enumerate(starts):
            window = torch.tensor([[101, *ids[start:start + room], 102]])
            hidden = model[0].auto_model(window, attention_mask=torch.ones_like(window)).last_hidden_state[0].numpy()
            low = 0 if number == 0 else start + 1 + (starts[number - 1] + room - start) // 2
            states[low:] = 0
            states[low:start + room + 2] = hidden[low - start:]
    ours = embed(minilm_folder, write_texts(tmp_path / "d.jsonl", [text]), tmp_path / "c.jsonl", "--late-chunking", "--chunk-tokens", "30",
                 "--chunk-overlap", "5", "--max-length", "64", "--window-overlap", "20")
    expected = []
    for number, line in enumerate(ours):
        begin = number * 25
        end = min(begin + 30, len(ids))
        assert (line["start"], line["end"]) == (offsets[begin][0], offsets[end - 1][1])
        low, high = (0 if begin == 0 else begin + 1), (len(ids) + 2 if end == len(ids) else end + 1)
        mean = states[low:high].mean(0)
        expected.append(mean / np.linalg.norm(mean))
    assert end == len(ids)
    np.testing.assert_allclose(np.array([line["embedding"] for line in ours]), expected, atol=TOLERANCE)


# ---- rescoring ----
def search(folder, *options):
    queries = ["--query", QUERIES[0], "--query", QUERIES[1]]
    said = run(program("m2bert"), "similarity", "--quiet", "--model", folder, *queries, "--json", *options)
    answer = json.loads(said.stdout)
    return answer["measure"], [[(hit["index"], hit["score"]) for hit in result["hits"]] for result in answer["results"]]


QUERIES = ["How do functions return values?", "What does the import statement do?"]


def hamming(query, vectors, count):
    different = ((query > 0) != (vectors > 0)).sum(1)
    return np.argsort(different, kind="stable")[:count], different


def agree(hits, expected_rows, expected_scores, tolerance):
    assert [row for row, _ in hits] == list(expected_rows)
    np.testing.assert_allclose([score for _, score in hits], expected_scores, atol=tolerance)


@pytest.mark.parametrize("suffix", ["npy", "safetensors", "jsonl"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_rescore(minilm_folder, corpus, tmp_path, precision, suffix):
    from sentence_transformers.util.quantization import _dequantize_embeddings, quantize_embeddings
    folder, _, vectors = corpus
    queries = embed(minilm_folder, write_texts(tmp_path / "q.jsonl", QUERIES), tmp_path / "q.npy")
    file, calibration, given = tmp_path / f"v.{suffix}", [], []
    documents = vectors
    if precision in ("int8", "uint8"):
        calibration = ["--calibration", folder / "sample.npy"]
        ranges = np.vstack([vectors[:100].min(0), vectors[:100].max(0)])
        documents = _dequantize_embeddings(quantize_embeddings(vectors, precision, ranges=ranges).astype(int), precision, ranges)
        given = calibration if suffix != "safetensors" else []
    if precision in ("binary", "ubinary"):
        documents = (vectors > 0).astype(int)
    embed(minilm_folder, folder / "texts.jsonl", file, "--precision", precision, *calibration)
    measure, results = search(minilm_folder, "--vectors", file, "--rescore", "--top-k", "7", "--rescore-multiplier", "3", *given)
    assert measure == ("dot" if "binary" in precision else "cosine")
    for query, hits in zip(queries, results, strict=True):
        candidates, _ = hamming(query, documents, 21)
        scores = documents[candidates] @ query
        if measure == "cosine":
            scores = scores / np.linalg.norm(documents[candidates], axis=1)
        best = np.argsort(-scores, kind="stable")[:7]
        agree(hits, candidates[best], scores[best], 1e-4)
    measure, results = search(minilm_folder, "--vectors", file, "--top-k", "7", *given)  # without --rescore
    for query, hits in zip(queries, results, strict=True):
        if measure == "hamming":
            rows, different = hamming(query, documents, 7)
            assert hits == [(row, -different[row]) for row in rows]
        else:
            scores = documents @ query / np.linalg.norm(documents, axis=1)
            best = np.argsort(-scores, kind="stable")[:7]
            agree(hits, best, scores[best], 1e-5)


def test_rescore_texts(minilm_folder, corpus, tmp_path):
    folder, _, vectors = corpus
    queries = embed(minilm_folder, write_texts(tmp_path / "q.jsonl", QUERIES), tmp_path / "q.npy")
    _, results = search(minilm_folder, "--corpus", folder / "texts.jsonl", "--rescore", "--top-k", "7")
    for query, hits in zip(queries, results, strict=True):
        candidates, _ = hamming(query, vectors, 28)
        scores = vectors[candidates] @ query
        best = np.argsort(-scores)[:7]
        agree(hits, candidates[best], scores[best], 1e-5)


# ---- pairs ----
LONG = "the quiet river and the old stone garden under a slow summer moon near the harbor in winter rain and wind of the fox " * 2
PAIRS = [("a quiet harbor", "the OLD moon"), ("", "rain"), ("rain", LONG), (LONG, "wind"), (LONG, LONG), (LONG + LONG, LONG), ("a", "a")]
HEADS = {
    "one_of_three": {"num_labels": 3, "id2label": {0: "entails", 1: "neutral", 2: "contradicts"}},
    "several": {"num_labels": 3, "problem_type": "multi_label_classification"},
    "value": {"num_labels": 1, "problem_type": "regression"},
    "one_label": {"num_labels": 1},
}


@pytest.mark.parametrize("head", HEADS)
def test_pairs(tmp_path, head):
    import transformers
    folder = save_bert(tmp_path / "model", model_class="BertForSequenceClassification", **HEADS[head])
    pipeline = transformers.pipeline("text-classification", model=str(folder), tokenizer=str(folder), device="cpu")
    expected = [pipeline({"text": first, "text_pair": second}, truncation=True, max_length=64, top_k=None) for first, second in PAIRS]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps({"premise": a, "hypothesis": b}) + "\n" for a, b in PAIRS))
    for name, delimiter in (("p.csv", ","), ("p.tsv", "\t")):
        with open(tmp_path / name, "w", newline="") as out:
            csv.writer(out, delimiter=delimiter).writerows([("hypothesis", "premise"), *((b, a) for a, b in PAIRS)])
    options = [option for a, b in PAIRS for option in ("--text", a, "--text-pair", b)]
    inputs = [options, *([tmp_path / name, "--field", "premise", "--pair-field", "hypothesis"] for name in ("p.jsonl", "p.csv", "p.tsv"))]
    for given in inputs:
        said = run(program("m2bert"), "classify", "--quiet", "--model", folder, "--json", "--max-length", "64", *given).stdout
        lines = [json.loads(line) for line in said.splitlines()]
        assert len(lines) == len(PAIRS)
        for line, wanted in zip(lines, expected, strict=True):
            scores = line.get("probabilities", line.get("values"))
            assert sorted(scores) == sorted(label["label"] for label in wanted)
            for label in wanted:
                assert abs(scores[label["label"]] - label["score"]) < TOLERANCE
        if head == "one_of_three":
            assert [line["label"] for line in lines] == [wanted[0]["label"] for wanted in expected]
            assert [line["truncated"] for line in lines] == [False, False, False, False, True, True, False]


def test_an_empty_second_text_is_a_pair(tmp_path):
    """As in a list of pairs; Transformers' pipeline for one pair drops it."""
    import torch
    import transformers
    folder = save_bert(tmp_path / "model", model_class="BertForSequenceClassification", num_labels=3)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        expected = model(**tokenizer(["a quiet harbor"], [""], return_tensors="pt")).logits.softmax(-1)[0].numpy()
    said = run(program("m2bert"), "classify", "--quiet", "--model", folder, "--json", "--text", "a quiet harbor", "--text-pair", "").stdout
    np.testing.assert_allclose(list(json.loads(said)["probabilities"].values()), expected, atol=TOLERANCE)


# ---- int8 folders ----
def test_packages_refuse_a_folder_with_int8_weights(tmp_path):
    """They would take the weights for the values themselves."""
    import transformers
    from sentence_transformers import SentenceTransformer
    source = save_sentence(tmp_path / "model")
    run(program("m2bert"), "convert", source, tmp_path / "small", "--dtype", "int8")
    with pytest.raises(ValueError, match="quant_method"):
        SentenceTransformer(str(tmp_path / "small"), device="cpu")
    with pytest.raises(ValueError, match="quant_method"):
        transformers.AutoModel.from_pretrained(tmp_path / "small")
    run(program("m2bert"), "embed", "--quiet", "--model", tmp_path / "small", "--text", "a quiet harbor")
