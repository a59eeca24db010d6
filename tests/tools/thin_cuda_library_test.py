"""thin_cuda_library_test.py REPOSITORY: thins a small ELF file that holds fat binaries."""
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

REPOSITORY = Path(sys.argv.pop(1))
PTX, MACHINE_CODE = 1, 2


def entry(kind, arch, payload):
    return struct.pack("<HHIQIIHHI", kind, 0x101, 64, len(payload), 0, 0, 0, 0, arch).ljust(64, b"\1") + payload


def fat_binary(*entries):
    return struct.pack("<IHHQ", 0xBA55ED50, 1, 16, sum(map(len, entries))) + b"".join(entries)


def elf(sections):
    """An ELF file with these sections, by name."""
    names, data, headers = b"\0", b"", [bytes(64)]
    for name, content in [*sections.items(), (".shstrtab", None)]:
        at = len(names)
        names += name.encode() + b"\0"
        content = names if content is None else content
        headers.append(struct.pack("<IIQQQQIIQQ", at, 1, 0, 0, 64 + len(data), len(content), 0, 0, 1, 0))
        data += content
    head = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 3, 62, 1, 0, 0, 64 + len(data), 0, 64, 0, 0, 64, len(headers), len(headers) - 1)
    return head + data + b"".join(headers)


class ThinCudaLibrary(unittest.TestCase):
    def thin(self, content, arch=90):
        with tempfile.TemporaryDirectory() as folder:
            library, output = Path(folder, "in.so"), Path(folder, "out.so")
            library.write_bytes(content)
            done = subprocess.run([sys.executable, REPOSITORY / "tools/thin_cuda_library.py", library, output, "--arch", str(arch)],
                                  capture_output=True, text=True)
            return done, output.read_bytes() if output.exists() else None

    def test_code_for_other_gpus_becomes_zeros(self):
        kept, dropped, ptx = b"kept" * 4, b"dropped!" * 3, b"a ptx" * 8
        both = fat_binary(entry(MACHINE_CODE, 80, dropped), entry(MACHINE_CODE, 90, kept), entry(PTX, 90, ptx))
        other = fat_binary(entry(PTX, 80, ptx))  # no machine code for 90: it stays
        content = elf({".text": b"code", ".nv_fatbin": both + bytes(8) + other, ".strtab": b"symbols!"})
        done, thinned = self.thin(content)
        self.assertEqual(done.returncode, 0, done.stderr)
        expected = content.replace(dropped, bytes(len(dropped))).replace(ptx, bytes(len(ptx)), 1).replace(b"symbols!", bytes(8))
        self.assertEqual(thinned, expected)
        self.assertIn("machine code for 90", done.stdout)

    def test_errors_name_the_library(self):
        for content, message in ((elf({".text": b"code"}), "no section .nv_fatbin"),
                                 (elf({".nv_fatbin": fat_binary(entry(7, 90, b"12345678"))}), "kind 7"),
                                 (elf({".nv_fatbin": fat_binary(entry(MACHINE_CODE, 80, b"12345678"))}), "no machine code for sm_90")):
            done, thinned = self.thin(content)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("in.so", done.stderr)
            self.assertIn(message, done.stderr)
            self.assertIsNone(thinned)


if __name__ == "__main__":
    unittest.main()
