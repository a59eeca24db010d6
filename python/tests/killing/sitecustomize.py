"""Imported by each Python that is started with this folder in PYTHONPATH: the first one whose Embedder is called for the third time kills
itself, and leaves the file M2BERT_TEST_KILLED behind."""
import importlib.util
import os
import signal
import sys


class Finder:
    """Changes m2bert's Embedder when it is imported."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name != "m2bert._embedder":
            return None
        sys.meta_path.remove(cls)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            module.Embedder.embed = mortal(module.Embedder.embed)

        spec.loader.exec_module = exec_module
        return spec


def mortal(embed):
    calls = []

    def embed_or_die(*arguments, **options):
        calls.append(1)
        if len(calls) == 3:
            try:
                os.close(os.open(os.environ["M2BERT_TEST_KILLED"], os.O_CREAT | os.O_EXCL))
                os.kill(os.getpid(), signal.SIGKILL)
            except FileExistsError:  # another one was the first
                pass
        return embed(*arguments, **options)

    return embed_or_die


sys.meta_path.insert(0, Finder)
