"""One side of bench/python.py: python python_embedder.py m2bert|sentence_transformers MODEL TEXTS THREADS

TEXTS: a JSON list. Answers "save FILE" (vectors, .npy) and "run" (seconds for all texts)."""
import json
import sys
import time

import numpy

package, model, file, threads = sys.argv[1:]
with open(file, encoding="utf-8") as opened:
    texts = json.load(opened)
if package == "m2bert":
    import m2bert
    embedder = m2bert.Embedder(model, threads=int(threads))
    version, encode = m2bert.__version__, embedder.encode
else:
    import sentence_transformers
    import torch
    torch.set_num_threads(int(threads))
    version, encode = f"{sentence_transformers.__version__}, PyTorch {torch.__version__}", sentence_transformers.SentenceTransformer(model, device="cpu").encode
encode(texts[:64], show_progress_bar=False)
print(f"ready {version}", flush=True)
for line in sys.stdin:
    words = line.split(maxsplit=1)
    if words[0] == "quit":
        break
    begin = time.perf_counter()
    vectors = encode(texts, batch_size=32, show_progress_bar=False)
    seconds = time.perf_counter() - begin
    if words[0] == "save":
        numpy.save(words[1].strip(), vectors)
    print(seconds, flush=True)
