"""Real English text from every Python installation: the language reference in pydoc."""
import re

from pydoc_data import topics


def sentences():
    """Prose sentences in a fixed order, without markup lines."""
    found = []
    for _, text in sorted(topics.topics.items()):
        for paragraph in re.split(r"\n\s*\n", text):
            if re.search(r"^ {4,}|::=|>>>", paragraph, flags=re.M):
                continue
            joined = re.sub(r"\s+", " ", paragraph).strip()
            found += [s for s in re.split(r"(?<=[.!?]) (?=[A-Z])", joined) if 5 <= len(s.split()) <= 40]
    return list(dict.fromkeys(found))


def passages(count, longest_words=270):
    """`count` different texts: single sentences, and every fifth text several sentences with 100 to about longest_words words."""
    pool = sentences()
    texts = []
    for number in range(count):
        text = pool[number]
        if number % 5 == 4:
            wanted, at = 100 + (number * 37) % (longest_words - 100), number * 3
            while len(text.split()) < wanted:
                text += " " + pool[at % len(pool)]
                at += 1
        texts.append(text)
    return texts
