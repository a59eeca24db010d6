"""The OpenAPI document is valid, and the server keeps to it whatever is sent: schemathesis makes requests up from it, right and wrong ones.

M2BERT_EXAMPLES: requests that are made up for each operation and model, beside some 4,000 that try each field at its limits (default: 10;
400 make about 10,000 for each model). M2BERT_SEED: other ones.
"""
import json
import os
import subprocess
import sys
import urllib.request

from conftest import Server
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

# Not positive_data_acceptance: what the document allows can still be wrong for the model that is served (its length, its prompts).
CHECKS = ["not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
          "response_schema_conformance", "negative_data_rejection", "unsupported_method", "allow_header_conformance"]


def test_document_is_valid(url):
    with urllib.request.urlopen(url + "/openapi.json") as response:
        validate(json.load(response), cls=OpenAPIV31SpecValidator)


def test_responses_conform(url, tmp_path):
    make_requests(url, tmp_path)


def test_responses_of_a_classifier_conform(small_models, tmp_path):
    server = Server(small_models / "sentiment", name="sentiment")
    try:
        make_requests(server.url, tmp_path)
    finally:
        server.close()


def make_requests(url, folder):
    examples = os.environ.get("M2BERT_EXAMPLES", "10")
    done = subprocess.run([sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()", "run", url + "/openapi.json", "--checks", ",".join(CHECKS),
                           "--phases", "examples,coverage,fuzzing", "--max-examples", examples, "--continue-on-failure", "--warnings", "off",
                           "--suppress-health-check", "all", "--seed", os.environ.get("M2BERT_SEED", "1"), "--no-color"],
                          cwd=folder, capture_output=True, text=True)
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-2000:]
