"""Tables against Python's csv module: what it writes in each dialect, and what it reads from files that others wrote."""
import csv
import io
import itertools
import json
import random
import subprocess

import pytest

from conftest import program, run

CELLS = ["plain", "with, comma", 'a "quote"', '"quoted"', "two\nlines", "two\r\nlines", "a\rreturn", "semi;colon", "tab\there", "pipe|d", "Grüße 東京 \U0001f98b",
         " space ", "'", '""', '"', "a¦b", "1", "\u2028"]


@pytest.fixture(scope="module")
def m2bert():
    return program("m2bert")


def column(m2bert, tmp_path, content, name, *options):
    """The texts of a column, through a data set."""
    table = tmp_path / "table.csv"
    table.write_bytes(content)
    run(m2bert, "data", "build", table, "--field", name, "--out", tmp_path / "set", "--overwrite", "--quiet", *options)
    shown = run(m2bert, "data", "show", tmp_path / "set/train", "--samples", 100000, "--json")
    return [sample["text"] for sample in json.loads(shown.stdout)["first_samples"]]


def rows_of(content, delimiter):
    """What csv reads, without blank lines, as csv.DictReader does."""
    return [row for row in csv.reader(io.StringIO(content.decode(), newline=""), delimiter=delimiter) if row]


@pytest.mark.parametrize("delimiter,end,quoting", list(itertools.product(",;\t|¦", ["\n", "\r\n", "\r"], [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])))
def test_what_csv_writes(m2bert, tmp_path, delimiter, end, quoting):
    rng = random.Random(repr((delimiter, end, quoting)))
    cells = [c for c in CELLS if quoting != csv.QUOTE_MINIMAL or not set(c) & set("\r\n") - set(end)]  # csv quotes only its own line ends
    rows = [["id", "text", "other"]] + [[str(i), rng.choice(cells) + rng.choice(cells), rng.choice(cells)] for i in range(200)]
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter, lineterminator=end, quoting=quoting).writerows(rows)
    content = out.getvalue().encode()
    assert rows_of(content, delimiter) == rows
    for i in (1, 2):
        assert column(m2bert, tmp_path, content, rows[0][i], "--delimiter", delimiter) == [row[i] for row in rows[1:]]


def test_random_bytes_are_read_as_csv_reads_them_or_refused(m2bert, tmp_path):
    rng, read = random.Random(1), 0
    for _ in range(60):
        body = "".join(rng.choice(['a', 'b', ' ', ',', ',', '"', '"', "\n", "\r", "\r\n"]) for _ in range(rng.randrange(1, 14)))
        content = b"text,id\n" + body.encode() + b"\nlast,1\n"
        table = tmp_path / "table.csv"
        table.write_bytes(content)
        done = subprocess.run([str(m2bert), "data", "build", str(table), "--out", str(tmp_path / "set"), "--overwrite", "--quiet"], capture_output=True, text=True)
        try:
            rows = rows_of(content, ",")
        except csv.Error:
            rows = [[]]
        if done.returncode != 0:  # a row of another length, an open quote, or text behind a closing quote, which csv reads without a word
            assert "table.csv:" in done.stderr, done.stderr
            continue
        read += 1
        shown = json.loads(run(m2bert, "data", "show", tmp_path / "set/train", "--samples", 1000, "--json").stdout)
        assert [s["text"] for s in shown["first_samples"]] == [row[0] for row in rows[1:] if row[0].strip()], content
    assert read >= 5
