"""Reads the dependencies of ELF and Mach-O files, without the tools of a platform."""
from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path

ELF_DYNAMIC, ELF_DYNSYM = 6, 11  # section types
DT_NEEDED, DT_RPATH, DT_RUNPATH = 1, 15, 29
LC_LOADS = {0xC, 0x18, 0x80000018, 0x8000001F, 0x20}  # LC_LOAD_DYLIB and its weak, re-exported and lazy forms
LC_RPATH = 0x8000001C


@dataclass
class Binary:
    needed: list[str] = field(default_factory=list)  # names of the libraries it links
    search: list[str] = field(default_factory=list)  # RPATH and RUNPATH
    imports: list[str] = field(default_factory=list)  # undefined symbols (ELF only)


def is_binary(head: bytes) -> bool:
    if head[:4] == b"\xca\xfe\xba\xbe":  # a fat Mach-O file, or a Java class, which has its version in place of the count
        return len(head) >= 8 and struct.unpack(">I", head[4:8])[0] < 30
    return head[:4] in (b"\x7fELF", b"\xcf\xfa\xed\xfe")


def read(path: Path) -> Binary:
    """Raises ValueError for another kind of object file, or a broken one."""
    data = path.read_bytes()
    binary = Binary()
    try:
        if data[:4] == b"\x7fELF":
            read_elf(data, binary)
        elif data[:4] == b"\xca\xfe\xba\xbe":
            for i in range(struct.unpack_from(">I", data, 4)[0]):
                _, _, offset, size, _ = struct.unpack_from(">5I", data, 8 + 20 * i)
                read_macho(data[offset:offset + size], binary)
        else:
            read_macho(data, binary)
    except (struct.error, IndexError, OverflowError) as error:
        raise ValueError(f"broken: {error}") from error
    return binary


def text_at(data: bytes, at: int) -> str:
    end = data.find(b"\0", at)
    if not 0 <= at <= end:
        raise IndexError("a name without an end")
    return data[at:end].decode("utf-8", "replace")


def read_elf(data: bytes, binary: Binary) -> None:
    if data[4:6] != b"\x02\x01":
        raise ValueError("no 64-bit little-endian ELF file")
    table, = struct.unpack_from("<Q", data, 40)
    size, count = struct.unpack_from("<HH", data, 58)
    if count == 0:
        raise ValueError("an ELF file without sections")
    # name, type, flags, address, offset, size, link
    sections = [struct.unpack_from("<IIQQQQI", data, table + size * i) for i in range(count)]
    for _, kind, _, _, offset, length, link in sections:
        strings = sections[link][4]
        if kind == ELF_DYNAMIC:
            for tag, value in struct.iter_unpack("<qQ", data[offset:offset + length]):
                if tag == DT_NEEDED:
                    binary.needed.append(text_at(data, strings + value))
                elif tag in (DT_RPATH, DT_RUNPATH):
                    binary.search += text_at(data, strings + value).split(":")
        elif kind == ELF_DYNSYM:
            for name, _, _, section, _, _ in struct.iter_unpack("<IBBHQQ", data[offset:offset + length]):
                if name and section == 0:
                    binary.imports.append(text_at(data, strings + name))


def read_macho(data: bytes, binary: Binary) -> None:
    if data[:4] != b"\xcf\xfa\xed\xfe":
        raise ValueError("no 64-bit little-endian Mach-O file")
    count, = struct.unpack_from("<I", data, 16)
    at = 32
    for _ in range(count):
        command, size, name = struct.unpack_from("<III", data, at)
        if command in LC_LOADS:
            binary.needed.append(text_at(data, at + name))
        elif command == LC_RPATH:
            binary.search.append(text_at(data, at + name))
        at += size
