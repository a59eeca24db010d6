"""How many requests a second does `m2bert serve` answer, beside sentence-transformers behind FastAPI and uvicorn?

Called by `script/bench serve`.

    M2BERT_BUILD=build/release python bench/serve.py [--model DIR] [--texts N] [--repeats N] [--threads N] [--out bench/results] [--no-record]

Short texts, one a request, at concurrency 1, 8 and 64, with the same client (bench/load.py); the servers take turns. The vectors are compared
first. Needs fastapi and uvicorn beside sentence-transformers (bench/requirements.txt)."""
import argparse
import asyncio
import datetime
import json
import os
import random
import socket
import subprocess
import sys
import time
from pathlib import Path

from harness import REPOSITORY, hardware, write_record
from inference_record import table
from load import MINILM, Connection, Server, percentile, text_of

PEER = REPOSITORY / "bench" / "peers" / "fastapi_server.py"
CONCURRENCY = (1, 8, 64)
TARGET = 3.0


class Peer:
    def __init__(self, model, threads):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process = subprocess.Popen([sys.executable, PEER, model, str(self.port), str(threads)])
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                if self.process.poll() is not None:
                    sys.exit("the peer did not start")
                time.sleep(0.1)
        sys.exit("the peer does not listen")

    def stop(self):
        self.process.terminate()
        self.process.wait()


async def ask(connection, text):
    status, _, content = await connection.ask("POST", "/v1/embeddings", {"input": [text]})
    assert status == 200, content
    return content


async def first_vector(port, text):
    connection = Connection(port)
    vector = json.loads(await ask(connection, text))["data"][0]["embedding"]
    connection.close()
    return vector


async def rate(port, texts, concurrency):
    at, times = iter(texts), []

    async def work():
        connection = Connection(port)
        for text in at:
            begin = time.perf_counter()
            await ask(connection, text)
            times.append(time.perf_counter() - begin)
        connection.close()
    begin = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(concurrency)))
    return len(texts) / (time.perf_counter() - begin), percentile(times, 0.5) * 1000


def compare(ours, peer, texts):
    largest = 0.0
    for text in texts[:20]:
        one, other = asyncio.run(first_vector(ours.port, text)), asyncio.run(first_vector(peer.port, text))
        largest = max(largest, max(abs(a - b) for a, b in zip(one, other, strict=True)))
    assert largest < 1e-5, f"the vectors differ by {largest}"
    return largest


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default=str(MINILM))
    parser.add_argument("--texts", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, default=REPOSITORY / "bench" / "results")
    parser.add_argument("--no-record", action="store_true")
    options = parser.parse_args()
    state = random.Random(5)
    texts = [text_of(state, state.randint(5, 20)) for _ in range(options.texts)]
    ours, peer = Server(options.model, options.threads), Peer(options.model, options.threads)
    results = {"largest_difference": compare(ours, peer, texts), "rates": []}
    for concurrency in CONCURRENCY:
        found = {"m2bert": [], "peer": []}
        for _ in range(options.repeats):
            found["m2bert"].append(asyncio.run(rate(ours.port, texts, concurrency)))
            found["peer"].append(asyncio.run(rate(peer.port, texts, concurrency)))
        best = {name: max(values) for name, values in found.items()}
        entry = {"concurrency": concurrency, "m2bert": best["m2bert"][0], "peer": best["peer"][0], "ratio": best["m2bert"][0] / best["peer"][0],
                 "m2bert_p50_ms": best["m2bert"][1], "peer_p50_ms": best["peer"][1]}
        results["rates"].append(entry)
        print(json.dumps(entry), flush=True)
    ours.stop()
    peer.stop()
    if options.no_record:
        return
    when, machine = datetime.date.today().isoformat(), hardware()
    rows = [[str(e["concurrency"]), f"{e['m2bert']:.0f}", f"{e['peer']:.0f}", f"{e['ratio']:.1f}", f"{e['m2bert_p50_ms']:.1f}", f"{e['peer_p50_ms']:.1f}"]
            for e in results["rates"]]
    reached = all(e["ratio"] >= TARGET for e in results["rates"])
    text = "\n".join(["# Requests a second beside sentence-transformers behind FastAPI", "",
                      f"- Command: `bench/serve.py {' '.join(sys.argv[1:])}`",
                      f"- Hardware: {machine['cpu']}, {machine['cores']} cores; the clients run on the same cores.",
                      f"- Model: all-MiniLM-L6-v2, float32, {options.threads} threads. Texts of 5 to 20 words, one a request. Best of {options.repeats} turns.",
                      f"- Largest difference between the vectors: {results['largest_difference']:.1e}.", f"- Date: {when}.", "",
                      *table(["concurrency", "m2bert serve, requests/s", "FastAPI", "ratio", "median ms", "FastAPI, median ms"], rows), "",
                      f"Target: at least {TARGET:g} times at each concurrency: {'reached' if reached else 'not reached'}.", ""])
    write_record(options.out, "serve", machine, when, text, results)


if __name__ == "__main__":
    main()
