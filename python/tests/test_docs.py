"""The examples of the docstrings, and that everything public has one."""
import doctest
import importlib
import inspect

import m2bert
import mlx.core as mx
import pytest
from test_evaluate import write_pairs
from training import recipe_of

PUBLIC = [getattr(m2bert, name) for name in m2bert.__all__ if name not in ("__version__", "Error")]  # of ops and metrics: their own tests


@pytest.fixture(scope="module")
def names(models, minilm, tmp_path_factory):
    """What the examples use without saying where it comes from."""
    folder = tmp_path_factory.mktemp("docs")
    training_recipe = recipe_of(models, folder)
    checkpoint, recipe = models / "pretrained.pt", models / "pretrain.yaml"
    return {
        "m2bert": m2bert,
        "mx": mx,
        "folder": folder,
        "pairs": write_pairs(folder / "pairs.csv"),
        "training_recipe": training_recipe,
        "result": m2bert.train({**training_recipe, "save_folder": folder / "first"}),
        "model": minilm,
        "embedder": m2bert.Embedder(minilm),
        "tokenizer": m2bert.Tokenizer(),
        "classification_model": str(models / "sentiment"),
        "classifier": m2bert.Classifier(models / "sentiment"),
        "checkpoint": checkpoint,
        "recipe": recipe,
        "fill_mask": m2bert.FillMask(checkpoint, config=recipe),
    }


def members(thing):
    """The thing and, of a class, its public methods and properties."""
    yield thing.__name__, thing
    if inspect.isclass(thing):
        for name, member in vars(thing).items():
            is_function = callable(member) or isinstance(member, (property, classmethod, staticmethod))
            if (not name.startswith("_") or name == "__call__") and is_function:
                yield f"{thing.__name__}.{name}", member


def run_examples(things, names):
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for name, member in things:
        test = doctest.DocTestParser().get_doctest(inspect.getdoc(member) or "", dict(names), name, None, 0)
        runner.run(test)
    assert runner.summarize(verbose=False).failed == 0


def without_example(things):
    return [name for name, member in things if ">>>" not in (inspect.getdoc(member) or "") and name.split(".")[-1] != "close"]


@pytest.mark.parametrize("thing", PUBLIC, ids=lambda thing: thing.__name__)
def test_examples(thing, names):
    run_examples(members(thing), names)


@pytest.mark.parametrize("thing", [thing for thing in PUBLIC if thing is not m2bert.Encoding], ids=lambda thing: thing.__name__)
def test_everything_public_has_an_example(thing):
    assert without_example(members(thing)) == []


@pytest.mark.parametrize("library", ["sentence_transformers", "mteb", "langchain_core"])
def test_adapters(library, minilm, tmp_path):
    """Everything public of an adapter has an example, and the examples run."""
    pytest.importorskip(library)
    adapter = importlib.import_module(f"m2bert.{library.removesuffix('_core')}")
    names = {"model": minilm, "folder": str(tmp_path), **{name: getattr(adapter, name) for name in adapter.__all__}}
    for name, what in (("module", "M2Bert"), ("encoder", "M2BertEncoder"), ("embeddings", "M2BertEmbeddings")):
        if what in names:
            names[name] = names[what](minilm)
    things = [member for name in adapter.__all__ for member in members(getattr(adapter, name))]
    assert without_example(things) == []
    run_examples(things, names)
