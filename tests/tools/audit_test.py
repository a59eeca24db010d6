"""audit_test.py REPOSITORY COMPILER: plants one violation at a time in a small, clean product, and checks that tools/audit.py finds it."""
import json
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

REPOSITORY, COMPILER = Path(sys.argv.pop(1)), sys.argv.pop(1)
AUDIT = REPOSITORY / "tools/audit.py"

CLEAN = {
    "CMakeLists.txt": "find_package(Python3 COMPONENTS Interpreter)\nadd_subdirectory(m2bert)\n",
    "cmake/MLX.cmake": "execute_process(COMMAND python3 -c \"import mlx\")  # build time\n",
    "m2bert/CMakeLists.txt": "add_library(m2bert torch_file.cpp)  # reads what Python's torch.save writes\n",
    "m2bert/torch_file.h": "#pragma once\n#include <string>\n// like #include <torch/torch.h>, but without it\n",
    "m2bert/torch_file.cpp": '#include "m2bert/torch_file.h"\nconst char* f = "torch._utils._rebuild_tensor_v2";\nconst char* m = "save it with PyTorch, '
                             'not with python";\n/* system("python3"); */\nint x = 1\'000; char q = \'"\';\nint y = s.system(1);\n',
    "cli/main.cpp": 'int main() { return std::system("clear"); }\n',
    "examples/one.cpp": "int main() {}\n",
}
# name -> (file, appended text, expected text of the finding, its line)
PLANTED_IN_SOURCES = {
    "Python.h": ("m2bert/torch_file.cpp", "#include <Python.h>\n", "includes <Python.h>", 7),
    "versioned Python.h": ("cli/main.cpp", "  #  include <python3.11/Python.h>\n", "includes <python3.11/Python.h>", 2),
    "torch": ("m2bert/torch_file.h", '#include "torch/extension.h"\n', "includes <torch/extension.h>", 4),
    "ATen": ("examples/one.cpp", "#include <ATen/ATen.h>\n", "includes <ATen/ATen.h>", 2),
    "pybind11": ("m2bert/new.cu", "#include <pybind11/pybind11.h>\n", "includes <pybind11/pybind11.h>", 1),
    "nanobind": ("m2bert/new.h.in", "#include <nanobind/nanobind.h>\n", "includes <nanobind/nanobind.h>", 1),
    "has_include": ("m2bert/torch_file.h", "#if __has_include(<numpy/arrayobject.h>)\n#endif\n", "includes <numpy/arrayobject.h>", 4),
    "system": ("cli/main.cpp", 'void f() {\n  std::system("python3 train.py");\n}\n', "system() of 'python3 train.py'", 3),
    "system, later in the line": ("cli/main.cpp", 'int g = system("cd /tmp && exec python x.py");\n', "system() of", 2),
    "popen": ("cli/main.cpp", 'auto p = popen(("nice " + std::string("python3.11 x")).c_str(), "r");\n', "popen() of 'python3.11 x'", 2),
    "exec": ("cli/main.cpp", 'int e = execlp("env", "env",\n  "python3", nullptr);\n', "execlp() of 'python3'", 2),
    "posix_spawn": ("cli/main.cpp", 'int e = posix_spawnp(&pid, "/usr/bin/python3", 0, 0, argv, environ);\n', "posix_spawnp() of", 2),
    "a module": ("cli/main.cpp", 'int e = system("runner -m torch.distributed.run");\n', "system() of", 2),
    "a variable": ("cli/main.cpp", "int e = system(command.c_str());\n", "system() of something that is not named here", 2),
    "dlopen": ("m2bert/torch_file.cpp", 'void* l = dlopen("libtorch_cpu.so", 1);\n', "dlopen() of 'libtorch_cpu.so'", 7),
    "a command in a string": ("cli/main.cpp", 'const char* command = "/usr/bin/env python3 -c";\n', "the string '/usr/bin/env python3 -c'", 2),
    "a raw string": ("cli/main.cpp", 'const char* command = R"(python3 "x")";\n', "the string", 2),
    "a library in a string": ("cli/main.cpp", 'const char* library = "lib/libpython3.11.so.1.0";\n', "the string", 2),
    "find_package": ("m2bert/CMakeLists.txt", "find_package(Torch REQUIRED)\n", "names Torch", 2),
    "Python in the product's build": ("m2bert/CMakeLists.txt", "add_custom_command(OUTPUT x COMMAND python3 x)\n", "names python3", 2),
    "linked in cmake/": ("cmake/MLX.cmake", "target_link_libraries(m2bert_mlx INTERFACE\n  Python3::Python)\n", "target_link_libraries() of Python3", 2),
    "linked at the top": ("CMakeLists.txt", "link_libraries(${TORCH_LIBRARIES})\n", "link_libraries() of TORCH", 3),
    "embedded": ("CMakeLists.txt", "find_package(Python3 COMPONENTS Development)\n", "find_package() of Python3", 3),
    "a Python file": ("m2bert/tool.py", "print(1)\n", "a file of Python", None),
    "a script": ("cli/run", "#!/bin/sh\nexec python3 -m m2bert\n", "runs python3", 2),
}
PLANTED_IN_TREE = {
    "a Python file": ("share/m2bert/run.py", b"", "by its name"),
    "bytecode": ("lib/__pycache__/x", b"", "by its name"),
    "an interpreter": ("bin/python3.11", b"", "by its name"),
    "libpython": ("lib/libpython3.11.so.1.0", b"", "by its name"),
    "libtorch": ("lib/libtorch_cpu.so", b"", "by its name"),
    "a folder torch": ("lib/torch/version.txt", b"", "by its name"),
    "numpy's metadata": ("lib/numpy-1.26.4.dist-info/RECORD", b"", "by its name"),
    "MLX's Python module": ("lib/m2bert/mlx/core.cpython-311-x86_64-linux-gnu.so", b"", "by its name"),
    "a shebang": ("bin/tool", b"#!/usr/bin/env python3\nprint(1)\n", "runs python3"),
    "a shell script": ("bin/tool", b"#!/bin/bash\n# python is fine here\nset -e\npython3 -c 1\n", "runs python3"),
    "a header": ("include/m2bert/x.h", b"#include <torch/torch.h>\n", "includes <torch/torch.h>"),
    "the package's file": ("lib/cmake/m2bert/x.cmake", b"find_dependency(Torch)\n", "names Torch"),
    "a broken binary": ("lib/libbroken.so", b"\x7fELF\x02\x01\x01" + b"\xff" * 90, "cannot be checked"),
    "a library's name in a binary": ("lib/x.a", b"!<arch>\n\0libpython3.11.so\0", "holds the string 'libpython3.11.so'"),
    "a command in a binary": ("lib/x.a", b"!<arch>\n\0/usr/bin/python3 -c\0", "holds the string '/usr/bin/python3'"),
}


def write(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())


def audit(*arguments):
    done = subprocess.run([sys.executable, AUDIT, *map(str, arguments), "--json"], capture_output=True, text=True)
    return done.returncode, json.loads(done.stdout) if done.returncode in (0, 1) else done.stderr


def macho(*commands):
    """A 64-bit Mach-O file of load commands (number, name)."""
    body = b""
    for number, name in commands:
        text = name.encode() + b"\0" * (8 - len(name) % 8)
        body += struct.pack("<III", number, 24 + len(text), 24) + b"\0" * 12 + text
    return b"\xcf\xfa\xed\xfe" + struct.pack("<IIIIIII", 0x0100000C, 0, 6, len(commands), len(body), 0, 0) + body


class Audit(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix="m2bert-audit-")
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)

    def only_finding(self, *arguments):
        code, findings = audit(*arguments)
        self.assertEqual((code, len(findings)), (1, 1), findings)
        return findings[0]

    def test_this_repository_is_clean(self):
        self.assertEqual(audit(), (0, []))

    def test_clean_sources_pass(self):
        write(self.folder, CLEAN)
        self.assertEqual(audit("--root", self.folder), (0, []))

    def test_each_planted_source(self):
        for name, (file, text, says, line) in PLANTED_IN_SOURCES.items():
            with self.subTest(name), tempfile.TemporaryDirectory(dir=self.folder) as folder:
                write(Path(folder), CLEAN)
                write(Path(folder), {file: CLEAN.get(file, "") + text})
                finding = self.only_finding("--root", folder)
                self.assertIn(says, finding["what"])
                self.assertEqual((finding["file"], finding["line"]), (file, line))

    def test_an_empty_folder_is_no_proof(self):
        self.assertEqual(self.only_finding("--tree", self.folder)["what"], "no file to check")

    def test_each_planted_file_of_a_tree(self):
        for name, (file, data, says) in PLANTED_IN_TREE.items():
            with self.subTest(name), tempfile.TemporaryDirectory(dir=self.folder) as folder:
                write(Path(folder), {"include/m2bert/torch_file.h": CLEAN["m2bert/torch_file.h"], "bin/clean": "#!/bin/sh\necho python-free\n", file: data})
                code, findings = audit("--tree", folder)
                self.assertEqual(code, 1, findings)
                self.assertTrue(any(says in f["what"] + ": " + f["why"] for f in findings), findings)

    def test_a_link_into_an_environment(self):
        target = self.folder / ".venv/lib/python3.11/site-packages/mlx/lib/libmlx.so"
        write(self.folder, {str(target): b"x", "tree/lib/there": b""})
        (self.folder / "tree/lib/libmlx.so").symlink_to(target)
        self.assertIn("is a link to", self.only_finding("--tree", self.folder / "tree")["what"])

    def test_mach_o(self):
        clean = macho((0xC, "@rpath/libmlx.dylib"), (0xC, "/usr/lib/libSystem.B.dylib"), (0x8000001C, "@loader_path/m2bert/mlx/lib"))
        write(self.folder, {"lib/libm2bert.dylib": clean})
        self.assertEqual(audit("--tree", self.folder), (0, []))
        for bad, says in ((macho((0xC, "@rpath/libtorch_cpu.dylib")), "is linked with @rpath/libtorch_cpu.dylib"),
                          (macho((0xC, "/Library/Frameworks/Python.framework/Versions/3.12/Python")), "is linked with /Library"),
                          (macho((0x8000001C, "/Users/x/.venv/lib/python3.12/site-packages/mlx/lib")), "looks for libraries in"),
                          (macho((0xC, "@rpath/libmlx.dylib"))[:50], "broken")):
            fat = struct.pack(">II5I", 0xCAFEBABE, 1, 0x0100000C, 0, 28, len(bad), 0) + bad
            for data in (bad, fat):
                write(self.folder, {"lib/libm2bert.dylib": data})
                self.assertIn(says, self.only_finding("--tree", self.folder)["what"])

    # ---- real libraries ----
    def library(self, name, source, *options):
        path = self.folder / name
        write(self.folder, {name + ".cpp": source})
        subprocess.run([COMPILER, "-shared", "-fPIC", "-o", path, f"{path}.cpp", "-Wl,-soname," + Path(name).name, *map(str, options)], check=True)
        return path

    @unittest.skipUnless(sys.platform == "linux", "ELF")
    def test_elf(self):
        (self.folder / "away").mkdir()
        (self.folder / "tree").mkdir()
        torch = self.library("away/libtorch_cpu.so", 'extern "C" int t() { return 1; }')
        between = self.library("away/libbetween.so", 'extern "C" int t(); extern "C" int b() { return t(); }', torch)
        for name, source, options, says, chain in (
                ("libclean.so", 'extern "C" int c() { return 1; }', ["-Wl,-rpath,$ORIGIN/m2bert/mlx/lib"], None, ""),
                ("libdirect.so", 'extern "C" int t(); int d() { return t(); }', [torch], "is linked with libtorch_cpu.so", "libdirect.so"),
                ("libthrough.so", 'extern "C" int b(); int d() { return b(); }', [between, f"-Wl,-rpath,{torch.parent}"], "is linked with libtorch_cpu.so",
                 "libbetween.so"),
                ("librunpath.so", "int d() { return 1; }", ["-Wl,-rpath,/x/.venv/lib/python3.11/site-packages/mlx/lib"], "looks for libraries in", ""),
                ("libpymodule.so", 'extern "C" int Py_IsInitialized(); extern "C" int PyErr_Occurred(); int d() { return Py_IsInitialized() + PyErr_Occurred(); }',
                 [], "symbols of Python", ""),
                ("libstring.so", 'extern "C" const char* d() { return "libpython3.11.so.1.0"; }', [], "holds the string", "")):
            with self.subTest(name):
                path = self.library("tree/" + name, source, *options)
                (self.folder / f"tree/{name}.cpp").unlink()
                if says is None:
                    self.assertEqual(audit("--tree", self.folder / "tree"), (0, []))
                else:
                    finding = self.only_finding("--tree", self.folder / "tree")
                    self.assertIn(says, finding["what"])
                    self.assertIn(chain, finding["file"])
                path.unlink()


class Inventory(unittest.TestCase):
    def take(self, files, *arguments, name="bert"):
        with tempfile.TemporaryDirectory(prefix="m2bert-inventory-") as folder:
            tree = Path(folder) / name
            write(tree, files)
            code, found = audit("--inventory", tree, *arguments)
            self.assertEqual(code, 0, found)
            return {f["path"]: f for f in found}

    def test_imports_of_every_form(self):
        found = self.take({
            "a.py": "import os, torch.nn as nn\nfrom einops import rearrange\n",
            "b.py": "def f():\n    try:\n        from apex.normalization import x\n    except ImportError:\n        import numpy\n",
            "c.py": "import importlib\nm = importlib.import_module('triton.language')\nn = __import__('composer')\n",
            "d.py": "from .torch import x\nfrom . import numpy\nimport torchvision\n# import torch\ns = 'import torch'\n",
            "script": "#!/usr/bin/env python3\nfrom streaming.base import y\n",
            "old.py": "print 'torch'\n",
            "notes.txt": "import torch\n",
        })
        imports = {path: f["imports"] for path, f in found.items()}
        self.assertEqual(imports, {"a.py": {"torch": [1], "einops": [2]}, "b.py": {"numpy": [5], "apex": [3]}, "c.py": {"triton": [2], "composer": [3]},
                                   "script": {"streaming": [2]}, "old.py": {}})
        self.assertIn("does not parse", found["old.py"]["error"])

    def test_rows_stand_beside_the_files_however_the_tree_is_named(self):
        source = {"src/ops/blockdiag_multiply.py": "import torch\n", "src/ops/unheard_of.py": "import torch\n"}
        for name, prefix in (("bert", ""), ("m2", "bert/"), ("checkout", "m2/bert/")):
            found = self.take({prefix + path: text for path, text in source.items()}, name=name)
            self.assertEqual([row["files"] for row in found[prefix + "src/ops/blockdiag_multiply.py"]["rows"]], [["bert/src/ops/blockdiag_multiply.py"]])
            self.assertEqual(found[prefix + "src/ops/unheard_of.py"]["rows"], [])

    def test_all_shows_the_rest(self):
        self.assertIn("notes.txt", self.take({"notes.txt": ""}, "--all"))

    def test_the_text_names_what_has_no_row(self):
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder) / "bert", {"src/ops/unheard_of.py": "import torch\n"})
            said = subprocess.run([sys.executable, AUDIT, "--inventory", folder], capture_output=True, text=True, check=True).stdout
        self.assertIn("1 of the 1 shown have no row in docs/porting.md:\n  bert/src/ops/unheard_of.py", said)


if __name__ == "__main__":
    unittest.main()
