"""run.py REPOSITORY M2BERT MAKE_MODELS: runs every command of README.md, ARCHITECTURE.md, CONTRIBUTING.md and docs/*.md.

The language of a code block determines the check:
  sh           run by bash in a folder with the models of make_models.cpp; a command that fails is a failure. The hub is a local server
               (tests/hub/server.py), so downloads need no network
  sh fails     must fail, with a message that begins "error:"
  sh server    a server: started on a free port, it runs until the next one or the end of the document. Blocks behind it reach it where they
               say 127.0.0.1:8080
  sh no-run    set-up (installs, builds) that is not run: its programs and scripts must exist; the same for a block without a language
  text         output that depends on the model or machine: not compared
  text same    output of the block before, compared line by line; "..." matches anything, and any lines if it is a line of its own
  cpp, cmake   README.md's are built by build_library_example.py
  python       must compile; runs if this Python has what it imports
Also checked: local links, files named in `code`, options and commands of m2bert named in `code`.
"""
import importlib.util
import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import markdown

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "hub"))
from server import Hub, Repository  # noqa: E402

KNOWN = {"sh": [[], ["fails"], ["no-run"], ["server"]], "text": [[], ["same"]], "cpp": [[]], "cmake": [[]], "python": [[]], "yaml": [[]],
         "": [[]]}
TRAP = "set -euo pipefail\ntrap 'echo \"in: $BASH_COMMAND\" >&2' ERR\n"
SET_UP_PROGRAMS = {"apt-get", "brew", "cd", "cmake", "cp", "ctest", "docker", "export", "gh", "git", "man", "mpirun", "pip", "python3", "sbatch", "sha256sum",
                   "source"}
PATHS = re.compile(r"^(m2bert|cli|recipes|cmake|docs|script|tests|tools|bench|examples|deploy|\.github)/[\w.*/{},-]+$")


class Documents:
    def __init__(self, repository, program, make_models):
        self.repository, self.program = repository, program
        self.scratch = Path(tempfile.mkdtemp(prefix="m2bert-docs-"))
        self.failures, self.ran = [], 0
        self.server, self.port = None, "8080"
        self.template = self.scratch / "template"
        self.template.mkdir()
        subprocess.run([make_models, self.template], check=True)
        shutil.copytree(repository / "recipes", self.template / "recipes")
        self.environment = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8", "HF_ENDPOINT": self.hub().address}
        for name in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME", "HF_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE",
                     "http_proxy", "all_proxy", "ALL_PROXY"):
            self.environment.pop(name, None)
        self.commands, self.options = self.read_help()

    def hub(self):
        """A local hub with the model that the documents download, converted from checkpoint.pt and recipe.yaml."""
        folder = self.scratch / "hub"
        subprocess.run([self.program, "convert", self.template / "checkpoint.pt", folder, "--config", self.template / "recipe.yaml"], check=True,
                       stdout=subprocess.DEVNULL)
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
        return Hub({"togethercomputer/m2-bert-80M-2k-retrieval": Repository({**files, "README.md": b"text"})})

    def read_help(self):
        overview = subprocess.run([self.program, "--help"], capture_output=True, text=True, check=True).stdout
        commands = re.findall(r"^  ([a-z-]+) {2,}[A-Z]", overview, re.M)
        options = set(re.findall(r"--[a-z][a-z0-9-]*", overview))
        for command in commands:
            said = subprocess.run([self.program, command, "--help"], capture_output=True, text=True, check=True).stdout
            options |= set(re.findall(r"--[a-z][a-z0-9-]*", said))
            for inner in re.findall(r"^  ([a-z-]+) {2,}[A-Z]", said.partition("Subcommands:")[2], re.M):
                said_inside = subprocess.run([self.program, command, inner, "--help"], capture_output=True, text=True, check=True).stdout
                options |= set(re.findall(r"--[a-z][a-z0-9-]*", said_inside))
        return {*commands, "help"}, options

    def fail(self, place, what):
        self.failures.append(f"{place}: {what}")

    # ---- one document ----
    def check(self, document):
        name = document.relative_to(self.repository)
        blocks, paragraphs = markdown.read(document)
        folder = self.scratch / str(name).replace("/", "_")
        shutil.copytree(self.template, folder)
        output = None
        for block in blocks:
            place = f"{name}:{block.line}"
            if block.flags not in KNOWN.get(block.language, []):
                self.fail(place, f"a code block of an unknown kind: {block.language} {' '.join(block.flags)}")
            elif block.language == "" or block.flags == ["no-run"]:
                self.check_programs(place, block.text)
            elif block.flags == ["server"]:
                self.serve(place, block, folder)
            elif block.language == "sh":
                output = self.run(place, block, folder, ["bash", "-c", TRAP + self.with_port(block.text)])
            elif block.language == "python":
                self.run_python(place, block, folder)
            elif block.flags == ["same"]:
                self.compare(place, block.text, output)
        self.end_server(str(name))
        for number, text in paragraphs:
            self.check_text(document, f"{name}:{number}", text)

    def with_port(self, text):
        return text.replace("127.0.0.1:8080", f"127.0.0.1:{self.port}")

    def serve(self, place, block, folder):
        self.end_server(place)
        self.ran += 1
        environment = {**self.environment, "HOME": str(folder), "M2BERT_PORT": "0"}
        self.server = subprocess.Popen(["bash", "-c", f"exec {block.text}"], cwd=folder, env=environment, stdin=subprocess.DEVNULL,
                                       stdout=subprocess.PIPE, stderr=open(folder / "server.log", "w"), text=True)
        ready = self.server.stdout.readline() if select.select([self.server.stdout], [], [], 120)[0] else ""
        if not ready.startswith("ready: "):
            return self.fail(place, f"the server does not get ready\n{block.text}\n{(folder / 'server.log').read_text()[-1500:]}")
        self.port = ready.split()[1].rpartition(":")[2]

    def end_server(self, place):
        if self.server is None:
            return
        self.server.terminate()
        try:
            if self.server.wait(60) != 0:
                self.fail(place, f"the server ended with exit code {self.server.returncode}")
        except subprocess.TimeoutExpired:
            self.server.kill()
            self.fail(place, "the server does not end")
        self.server.stdout.close()
        self.server = None

    def run_python(self, place, block, folder):
        try:
            compile(block.text, place, "exec")
        except SyntaxError as error:
            return self.fail(place, str(error))
        if all(importlib.util.find_spec(name) for name in re.findall(r"^(?:from|import) (\w+)", block.text, re.M)):
            self.run(place, block, folder, [sys.executable, "-c", self.with_port(block.text)])

    def run(self, place, block, folder, command):
        self.ran += 1
        environment = {**self.environment, "HOME": str(folder)}
        try:
            done = subprocess.run(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True, timeout=120)
        except subprocess.TimeoutExpired:
            self.fail(place, "still running after 120 s")
            return ""
        said = done.stdout[-1500:]
        if not block.flags and done.returncode != 0:
            self.fail(place, f"exit code {done.returncode}\n{block.text}\n{said}")
        if block.flags == ["fails"] and (done.returncode not in (1, 2) or "error:" not in done.stdout):
            self.fail(place, f"should have failed with an error, exit code {done.returncode}\n{block.text}\n{said}")
        return done.stdout

    def compare(self, place, wanted, output):
        if output is None:
            return self.fail(place, "shows output, but no command stands before it")
        lines = [re.escape(line.rstrip()).replace(r"\.\.\.", ".*") for line in wanted.splitlines()]
        pattern = "".join("(?:.*\n)*?" if line == ".*" else line + " *\n" for line in lines)
        shown = "\n".join(line for line in output.splitlines() if not line.startswith("in: ")) + "\n"
        if not re.fullmatch(pattern, shown):
            self.fail(place, f"the output differs.\nDocument:\n{wanted}\nProgram:\n{output}")

    def check_programs(self, place, text):
        for line in text.replace("\\\n", " ").splitlines():
            words = [w for w in line.split("#")[0].split() if "=" not in w.split("/")[0] or w.startswith("-")]
            if not words:
                continue
            if "/" in words[0]:
                if not os.access(self.repository / words[0], os.X_OK):
                    self.fail(place, f"{words[0]} is no program of the repository")
            elif words[0] not in SET_UP_PROGRAMS:
                self.fail(place, f"'{words[0]}' is not among the programs for set-up; should the block run?")

    # ---- text around the blocks ----
    def check_text(self, document, place, text):
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
            if "://" not in target and not (document.parent / target).exists():
                self.fail(place, f"links to {target}, which is not there")
        for code in re.findall(r"`([^`]+)`", text):
            self.check_code(place, code)

    def check_code(self, place, code):
        if code.startswith("script/"):
            if not (self.repository / code.split()[0]).exists():
                self.fail(place, f"names {code.split()[0]}, which is not there")
        elif PATHS.match(code) and "CONTRIBUTING" not in place:
            alternatives = re.sub(r"\{([^}]*)\}.*", "", code) if "{" in code else code
            if not any(self.repository.glob(alternatives.rstrip("/") + ("*" if "{" in code else ""))):
                self.fail(place, f"names {code}, which is not there")
        elif code.startswith("m2bert "):
            words = code.split()
            if words[1][0] != "-" and words[1] != "COMMAND" and words[1] not in self.commands:
                self.fail(place, f"names the command '{words[1]}', which m2bert does not have")
            self.check_options(place, words[1:])
        elif code.startswith("--") and "CONTRIBUTING" not in place:
            self.check_options(place, code.split())

    def check_options(self, place, words):
        for word in words:
            option = word.split("=")[0]
            if option.startswith("--") and option not in self.options:
                self.fail(place, f"names the option {option}, which no command of m2bert has")


def main():
    repository, program, make_models = (Path(a).resolve() for a in sys.argv[1:])
    documents = Documents(repository, program, make_models)
    names = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"]
    for document in [repository / n for n in names] + sorted((repository / "docs").glob("*.md")):
        documents.check(document)
    shutil.rmtree(documents.scratch, ignore_errors=True)
    if documents.failures:
        print("\n\n".join(documents.failures))
        sys.exit(f"{len(documents.failures)} failures")
    if documents.ran < 15:
        sys.exit(f"only {documents.ran} blocks were found to run: is their language still called sh?")
    print(f"{documents.ran} blocks of commands ran")


main()
