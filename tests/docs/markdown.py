"""Reads the code blocks of a Markdown file and the paragraphs between them."""
from collections import namedtuple

Block = namedtuple("Block", "language flags text line")  # line: of the opening fence


def read(path):
    """Returns the blocks in order, and the paragraphs as (number of the first line, text joined to one line)."""
    blocks, paragraphs, inside, open_paragraph = [], [], None, False
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if inside is None and line.startswith("```"):
            words = line[3:].split()
            inside = Block(words[0] if words else "", words[1:], [], number)
        elif inside is not None and line.startswith("```"):
            blocks.append(inside._replace(text="\n".join(inside.text)))
            inside = None
        elif inside is not None:
            inside.text.append(line)
        elif open_paragraph and line.strip():
            paragraphs[-1] = (paragraphs[-1][0], paragraphs[-1][1] + " " + line.strip())
        elif line.strip():
            paragraphs.append((number, line.strip()))
        open_paragraph = inside is None and bool(line.strip()) and not line.startswith("```")
    if inside is not None:
        raise SystemExit(f"{path}:{inside.line}: a code block without an end")
    return blocks, paragraphs
