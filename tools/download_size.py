"""Reads a report of `pip install --dry-run --report`. Prints "cpu", or "cuda SIZE" if PyTorch would be installed with CUDA libraries."""
import json
import os
import sys
import urllib.parse
import urllib.request


def size(url):
    """The size of a URL in bytes, or 0 if unknown."""
    try:
        if url.startswith("file:"):
            return os.path.getsize(urllib.request.url2pathname(urllib.parse.urlparse(url).path))
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=20) as answer:
            return int(answer.headers.get("Content-Length", 0))
    except (OSError, ValueError):
        return 0


with open(sys.argv[1], encoding="utf-8") as report:
    packages = json.load(report)["install"]
if not any(p["metadata"]["name"].lower().startswith(("nvidia-", "triton", "cuda-")) for p in packages):
    print("cpu")
else:
    total = sum(size(p["download_info"]["url"]) for p in packages)
    print("cuda", f"{total / 1e9:.1f} GB" if total else "unknown size (several GB)")
