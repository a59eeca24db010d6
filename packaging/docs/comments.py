"""comments.py OUT HEADER...: writes C++ headers for Doxygen into the folder OUT, with their plain comments turned into descriptions.

`//` on a line of its own becomes `///`, behind a declaration `///<`; the comment at the top describes the file. Lines keep their numbers.
"""
import re
import sys
from pathlib import Path

OWN_LINE = re.compile(r"(\s*)//(?!/)\s?(.*)$")
TRAILING = re.compile(r"(.*[\w;,})\]])(\s+)//(?!/)\s?(.*)$")  # behind code, but not behind an opening brace


def escaped(comment: str) -> str:
    """The comment without what Doxygen takes for commands, tags and links; code in backticks stays as it is."""
    parts = comment.split("`")
    if len(parts) % 2 == 0:
        parts = [comment]
    parts[::2] = [re.sub(r"([\\@<>&#%$])", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)


def converted(lines: list[str]) -> list[str]:
    out: list[str] = []
    column = -1  # of a comment behind code, which may continue below
    for number, line in enumerate(lines):
        own, trailing = OWN_LINE.match(line), TRAILING.match(line)
        if own and len(own[1]) == column:
            out.append(f"{own[1]}///< {escaped(own[2])}")
            continue
        column = -1
        if own:
            out.append(f"{own[1]}/// {escaped(own[2])}")
        elif line == "#pragma once" and lines[number + 1:number + 2] and OWN_LINE.match(lines[number + 1]):
            out.append("/// \\file")
        elif trailing and trailing[1].count('"') % 2 == 0 and trailing[1].strip() not in ("}", "};"):
            column = len(trailing[1] + trailing[2])
            out.append(f"{trailing[1]}{trailing[2]}///< {escaped(trailing[3])}")
        else:
            out.append(line)
    return out


def main() -> None:
    folder = Path(sys.argv[1])
    for header in sys.argv[2:]:
        file = folder / header
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(converted(Path(header).read_text(encoding="utf-8").splitlines())) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
