"""What a process does with the package: forks, threads, signals, memory, and Python's own checks."""
import os
import signal
import subprocess
import sys
import threading
import time

import m2bert
import numpy as np
import pytest
from conftest import TEXTS

FORK = """
import os, sys, m2bert
def child(work):
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except RuntimeError as error:
            os._exit(7 if "spawn" in str(error) and "forkserver" in str(error) else 8)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of every fork with threads
"""


def test_fork_after_use(python, bert):
    assert python(FORK + """
embedder = m2bert.Embedder(sys.argv[1])
print(child(lambda: embedder.embed("a")), child(lambda: m2bert.Embedder(sys.argv[1])), child(lambda: m2bert.Tokenizer()("a")))
embedder.embed("a")
print(child(lambda: embedder.embed("a")))
""", bert, timeout=60) == "7 7 0\n7\n"


def test_fork_before_use(python, bert):
    assert python(FORK + "print(child(lambda: m2bert.Embedder(sys.argv[1]).embed(['a', 'b'])))", bert, timeout=60) == "0\n"


def test_processes_that_are_spawned(python, bert, tmp_path):
    (tmp_path / "work.py").write_text("import m2bert, sys\ndef first(embedder): return float(embedder.embed('a')[0])\n")
    python("""
import multiprocessing, os, sys
sys.path.insert(0, os.getcwd())
import m2bert, work
if __name__ == "__main__":
    embedder = m2bert.Embedder(sys.argv[1])
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(work.first, [embedder]) == [work.first(embedder)]
        pool.close()
        pool.join()
""", bert)


def test_threads_share_a_model(bert):
    embedder, other = m2bert.Embedder(bert), m2bert.Embedder(bert)
    expected, wrong = embedder.embed(TEXTS), []

    def work(model):
        for _ in range(20):
            if not np.array_equal(model.embed(iter(TEXTS)), expected):
                wrong.append(1)

    threads = [threading.Thread(target=work, args=(model,)) for model in (embedder, embedder, other, embedder)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_threads_with_models_of_their_own(bert, m2, models):
    """Threads that load models, embed, classify and fill in masks at once: each gets what it gets alone."""
    works = [lambda: m2bert.Embedder(bert).embed(TEXTS).tobytes(),
             lambda: m2bert.Embedder(bert, pad="longest", normalize=True).embed(iter(TEXTS)).tobytes(),
             lambda: m2bert.Embedder(**m2).embed(TEXTS[:3]).tobytes(),
             lambda: m2bert.Classifier(models / "sentiment").scores(TEXTS).tobytes(),
             lambda: m2bert.FillMask(models / "pretrained.pt", config=models / "pretrain.yaml")("Monarchs [MASK] south."),
             lambda: [encoding.ids.tolist() for encoding in m2bert.Tokenizer()(TEXTS)]]
    expected = [work() for work in works]
    found = [[] for _ in works]

    def repeat(i):
        found[i].extend(works[i]() for _ in range(10))

    threads = [threading.Thread(target=repeat, args=(i,)) for i in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[result] * 10 for result in expected]


@pytest.mark.parametrize("used", [False, True], ids=["first", "after the main interpreter"])
def test_subinterpreters_are_refused(used, python, bert):
    """By one sentence in each of two threads with an interpreter of its own; the main interpreter goes on."""
    pytest.importorskip("_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters")
    out = python("""
import sys, threading
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
TRY = '''
import os
try:
    import m2bert
except ImportError as error:
    os.write(1, str(error).encode() + b"\\\\n")
'''
def use():
    import m2bert
    m2bert.Embedder(sys.argv[1]).embed("Monarchs migrate south.")
def try_in_another():
    interpreter = interpreters.create()
    interpreters.run_string(interpreter, TRY)
    interpreters.destroy(interpreter)
if sys.argv[2] == "True":
    use()
threads = [threading.Thread(target=try_in_another) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
use()
""", bert, used, timeout=60)
    lines = out.splitlines()
    assert len(lines) == 2 and lines[0] == lines[1]
    assert lines[0].startswith("m2bert works in Python's main interpreter alone, because MLX and NumPy do not support sub-interpreters")


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
def test_threads_that_end_leave_none_behind(embedder):
    def embed_in_threads(n):
        for _ in range(n):
            thread = threading.Thread(target=embedder.embed, args=(TEXTS,))
            thread.start()
            thread.join()

    embed_in_threads(3)
    before = len(os.listdir("/proc/self/task"))
    embed_in_threads(30)
    assert len(os.listdir("/proc/self/task")) < before + 10  # one may be ending


def test_the_gil_is_released(embedder):
    ticks, done = [], threading.Event()

    def tick():
        while not done.is_set():
            ticks.append(1)
            time.sleep(0.001)

    ticker = threading.Thread(target=tick)
    ticker.start()
    time.sleep(0.05)
    before = len(ticks)
    embedder.embed(["one " * 200] * 2000)
    during = len(ticks) - before
    done.set()
    ticker.join()
    assert during > 20


@pytest.mark.parametrize("source", ["['text ' * 100] * 10**6", "('text ' * 100 for _ in iter(int, 1))"])
def test_ctrl_c(source, bert):
    process = subprocess.Popen([sys.executable, "-X", "dev", "-c", f"""
import m2bert, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's job in the background ignores it
embedder = m2bert.Embedder(sys.argv[1])
vector = embedder.embed("a")
print("ready", flush=True)
try:
    embedder.embed({source})
except KeyboardInterrupt:
    assert (embedder.embed("a") == vector).all()
    print("interrupted")
""", bert], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        time.sleep(1)
        begin = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (out, err, process.returncode) == ("interrupted\n", "", 0)
    assert time.monotonic() - begin < 20


def test_signal_handlers_of_the_program(python, bert):
    assert python("""
import m2bert, os, signal, sys, threading
signal.signal(signal.SIGUSR1, lambda *_: print("handled", flush=True))
embedder = m2bert.Embedder(sys.argv[1])
threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGUSR1)).start()
embedder.embed(["text " * 100] * 30000)  # seconds, even where a machine is fast
print("done")
""", bert) == "handled\ndone\n"


@pytest.mark.skipif(sys.platform != "linux", reason="reads memory from /proc")
def test_loading_a_thousand_times_keeps_no_memory(python, bert):
    grown = python("""
import gc, m2bert, sys
def megabytes():
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 1e6
def load(n):
    for _ in range(n):
        m2bert.Embedder(sys.argv[1]).embed("a")
load(100)
before = megabytes()
load(1000)
print(megabytes() - before)
""", bert, timeout=600)
    assert float(grown) < 5


def test_arrays_keep_no_memory(embedder):
    def megabytes():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096 / 1e6

    if sys.platform != "linux":
        pytest.skip("reads memory from /proc")
    texts = ["a"] * 2000  # 128 kB of vectors
    for _ in range(3):
        embedder.embed(texts)
    before = megabytes()
    for _ in range(30):
        embedder.embed(texts)
    assert megabytes() - before < 2


def _glibc():
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") is not None
    except (AttributeError, ValueError):
        return False


@pytest.mark.skipif(not _glibc(), reason="the C library is not glibc")
def test_freed_buffers_are_used_again(python, bert):
    """A second run finds its memory where the first one left it, unless the environment says how malloc keeps memory."""
    code = """
import m2bert, resource, sys
embedder = m2bert.Embedder(sys.argv[1], batch_size=128, threads=1)
def page_faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    embedder.embed(["one " * 200] * 1000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
page_faults()
print(page_faults())
"""
    kept, returned = (int(python(code, bert, env=env)) for env in ({}, {"GLIBC_TUNABLES": ""}))
    assert kept < returned / 4, (kept, returned)


@pytest.mark.skipif(sys.platform != "linux", reason="reads counters from /proc")
def test_a_call_reads_no_files(python, bert):
    reads = python("""
import m2bert, sys
embedder = m2bert.Embedder(sys.argv[1])
def reads():
    with open("/proc/self/io") as file:
        return int(dict(line.split(": ") for line in file.read().splitlines())["syscr"])
embedder.embed("a")
before = reads()
for _ in range(10):
    embedder.embed("Monarchs migrate south.")
print(reads() - before)
""", bert)
    assert int(reads) < 20


@pytest.mark.parametrize("first", ["m2bert", "numpy", "mlx.core", "torch", "sentence_transformers"])
def test_import_orders(first, python, bert, embedder):
    pytest.importorskip(first)
    out = python(f"""
import sys, warnings
warnings.simplefilter("ignore")
import {first}, m2bert
vector = m2bert.Embedder(sys.argv[1]).embed("Monarchs migrate south.")
import importlib.util
for other in ("numpy", "mlx.core", "torch"):
    if importlib.util.find_spec(other.split(".")[0]):
        __import__(other)
assert (m2bert.Embedder(sys.argv[1]).embed("Monarchs migrate south.") == vector).all()
print(vector.tobytes().hex())
""", bert)
    assert out.strip() == embedder.embed("Monarchs migrate south.").tobytes().hex()


@pytest.mark.parametrize("second", ["mlx.core", "numpy", "torch", "sentence_transformers"])
@pytest.mark.parametrize("last", [False, True], ids=["then m2bert", "m2bert last"])
def test_import_orders_of_three(second, last, python, bert, embedder):
    """Each pair of the others in both orders, with m2bert between them and after them; then all are used."""
    pytest.importorskip("torch")
    pytest.importorskip("sentence_transformers")
    for third in {"mlx.core", "numpy", "torch", "sentence_transformers"} - {second}:
        order = [second, third, "m2bert"] if last else [second, "m2bert", third]
        out = python(f"""
import sys, warnings
warnings.simplefilter("ignore")
import {', '.join(order)}
import mlx.core as mx, numpy as np, torch
vector = m2bert.Embedder(sys.argv[1]).embed("Monarchs migrate south.")
assert torch.from_numpy(vector) @ torch.from_numpy(vector) > 0 and (torch.ones(64, 64) @ torch.ones(64, 64))[0, 0] == 64
assert mx.matmul(mx.ones((64, 64)), mx.ones((64, 64)))[0, 0].item() == 64 and (np.ones((64, 64)) @ np.ones((64, 64)))[0, 0] == 64
assert (m2bert.Embedder(sys.argv[1]).embed("Monarchs migrate south.") == vector).all()
print(vector.tobytes().hex())
""", bert)
        assert out.strip() == embedder.embed("Monarchs migrate south.").tobytes().hex(), order


def test_exit_during_work(bert):
    """A daemon thread that computes when Python ends does not make it crash or hang."""
    done = subprocess.run([sys.executable, "-c", """
import m2bert, sys, threading, time
embedder = m2bert.Embedder(sys.argv[1])
threading.Thread(target=embedder.embed, args=(["text " * 100] * 10**5,), daemon=True).start()
time.sleep(0.5)
""", bert], timeout=60, capture_output=True, text=True)
    assert done.returncode == 0, done
