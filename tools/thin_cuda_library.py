"""Makes a CUDA library compress well: keeps the machine code of one kind of GPU and drops the linker's symbol table.

    python3 tools/thin_cuda_library.py LIBRARY OUTPUT --arch 90

nvcc stores code as fat binaries: a header (magic, version, header size, size of all entries), then entries, each with a header (kind, version,
header size, payload size, architecture) and its payload. The payload of every entry for another GPU becomes zeros; headers, sizes and
offsets stay, so that the driver still finds what it loads. A fat binary without machine code for that GPU stays as it is.
"""
import argparse
import collections
import struct
import sys
from pathlib import Path

FATBIN_MAGIC = 0xBA55ED50
PTX, MACHINE_CODE = 1, 2
DROPPED = (".symtab", ".strtab")  # used by linkers and debuggers alone


def sections(data):
    """Offset and size of each section of a 64-bit ELF file, by name."""
    table, = struct.unpack_from("<Q", data, 40)
    entry, count, names = struct.unpack_from("<HHH", data, 58)
    headers = [struct.unpack_from("<IIQQQQ", data, table + i * entry) for i in range(count)]
    text = headers[names][4]
    return {data[text + h[0]:data.index(b"\0", text + h[0])].decode(): (h[4], h[5]) for h in headers if h[1] != 8}  # 8: occupies no file


def entries(data, begin, end):
    """(kind, architecture, payload's begin, payload's end) of a fat binary's entries."""
    while begin < end:
        kind, _, header, payload = struct.unpack_from("<HHIQ", data, begin)
        arch, = struct.unpack_from("<I", data, begin + 28)
        if kind not in (PTX, MACHINE_CODE) or header < 64 or begin + header + payload > end:
            raise ValueError(f"entry at {begin}: kind {kind}, header of {header} bytes, payload of {payload} bytes")
        yield kind, arch, begin + header, begin + header + payload
        begin += header + payload


def fat_binaries(data, begin, end):
    """Lists of entries, one for each fat binary of the section."""
    while begin < end - 16:
        magic, _, header, size = struct.unpack_from("<IHHQ", data, begin)
        if magic != FATBIN_MAGIC:
            begin += 8  # padding
            continue
        yield list(entries(data, begin + header, begin + header + size))
        begin += header + size


def thin(data, arch):
    """Changes data in place. Returns the bytes of machine code and PTX that are left, by (kind, architecture)."""
    found = sections(data)
    if ".nv_fatbin" not in found:
        raise ValueError("it holds no code for GPUs (no section .nv_fatbin)")
    offset, size = found[".nv_fatbin"]
    left = collections.Counter()
    for binary in fat_binaries(data, offset, offset + size):
        wanted = any(kind == MACHINE_CODE and number == arch for kind, number, *_ in binary)
        for kind, number, begin, end in binary:
            if wanted and (kind, number) != (MACHINE_CODE, arch):
                data[begin:end] = bytes(end - begin)
            else:
                left[kind, number] += end - begin
    for name in DROPPED:
        if name in found:
            offset, size = found[name]
            data[offset:offset + size] = bytes(size)
    return left


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("library", type=Path)
    arguments.add_argument("output", type=Path)
    arguments.add_argument("--arch", type=int, required=True, help="compute capability of the GPU, e.g. 90")
    options = arguments.parse_args()
    data = bytearray(options.library.read_bytes())
    try:
        left = thin(data, options.arch)
    except (ValueError, struct.error) as error:
        sys.exit(f"{options.library}: {error}")
    if (MACHINE_CODE, options.arch) not in left:
        sys.exit(f"{options.library} has no machine code for sm_{options.arch}")
    options.output.write_bytes(data)
    for (kind, arch), size in sorted(left.items()):
        print(f"{'PTX' if kind == PTX else 'machine code'} for {arch}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
