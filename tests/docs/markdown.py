"""Code blocks of a Markdown file, and its text without them."""
from collections import namedtuple

Block = namedtuple("Block", "language flags text line")  # line: of the opening fence


def read(path):
    """The blocks in order, and the lines outside of blocks as (number, text)."""
    blocks, prose, inside = [], [], None
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if inside is None and line.startswith("```"):
            words = line[3:].split()
            inside = Block(words[0] if words else "", words[1:], [], number)
        elif inside is not None and line.startswith("```"):
            blocks.append(inside._replace(text="\n".join(inside.text)))
            inside = None
        elif inside is not None:
            inside.text.append(line)
        else:
            prose.append((number, line))
    if inside is not None:
        raise SystemExit(f"{path}:{inside.line}: a code block without an end")
    return blocks, prose
