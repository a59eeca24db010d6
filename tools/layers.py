"""Checks every #include of m2bert/, cli/ and the installed headers against tools/layers.txt; says what breaks it and exits with 1.

allow FOLDER: FOLDER ...     what the folder may include beside itself (* means all); headers directly in m2bert/ are open to all
own FOLDER: PREFIX ...       third-party headers that only this folder may include, and only in its .cpp files
deny FOLDER ...: PREFIX ...  headers that these folders may never include; a FOLDER may be deeper, such as ops/backend
"""
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
INCLUDE = re.compile(r'\s*#\s*include\s*[<"]([^>"]+)[>"]')
RULE = re.compile(r"(allow|own|deny)\s+([^:]+):(.*)")


def read_rules(text):
    """The three tables: folder -> allowed folders, header prefix -> owner, (folders, prefixes) that exclude each other."""
    allow, owner, deny = {}, {}, []
    for line in text.splitlines():
        match = RULE.match(line)
        if not match:
            continue
        kind, left, right = match[1], match[2].split(), match[3].split()
        if kind == "allow":
            allow[left[0]] = {left[0], *right}
        elif kind == "own":
            owner.update({prefix: left[0] for prefix in right})
        else:
            deny.append((set(left), tuple(right)))
    return allow, owner, deny


def complaints(place, header, public, rules):
    """What is wrong with a file in `place`, a path below m2bert/ or cli, that includes `header`."""
    allow, owner, deny = rules
    folder = place.parts[0]
    enclosing = {place.as_posix(), *(parent.as_posix() for parent in place.parents)}
    parts = header.split("/")
    if parts[0] == "m2bert" and len(parts) > 2 and not allow[folder] & {parts[1], "*"}:
        yield f"{folder} may not include {header}"
    if parts[0] == "cli" and folder != "cli":
        yield f"{folder} may not include {header}"
    for prefix, folder_that_owns in owner.items():
        if header.startswith(prefix) and folder != folder_that_owns:
            yield f"{header} belongs to {folder_that_owns}"
        if header.startswith(prefix) and public:
            yield f"a public header may not include {header}"
    for folders, prefixes in deny:
        for denied in folders & enclosing:
            if header.startswith(prefixes):
                yield f"{denied} may never include {header}"


def main():
    rules = read_rules((ROOT / "tools/layers.txt").read_text(encoding="utf-8"))
    files = [p for top in ("m2bert", "cli") for p in (ROOT / top).rglob("*") if p.suffix in {".h", ".cpp", ".cu", ".metal"}]
    wrong = []
    for path in sorted(files):
        place = path.relative_to(ROOT)
        folder = "cli" if place.parts[0] == "cli" else place.parts[1] if len(place.parts) > 2 else None
        inside = place.parent if folder == "cli" else place.parent.relative_to("m2bert")
        if folder is None:
            continue  # m2bert/error.h and its like: open to all
        if folder not in rules[0]:
            wrong.append(f"{place}: folder {folder} is not in tools/layers.txt")
            continue
        public = path.suffix == ".h" and folder != "cli" and len(place.parts) == 3  # deeper folders are internal
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            match = INCLUDE.match(line)
            if match:
                wrong += [f"{place}:{number}: {what}" for what in complaints(inside, match[1], public, rules)]
    print("\n".join(wrong) if wrong else f"{len(files)} files keep to tools/layers.txt")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
