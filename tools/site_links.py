"""site_links.py FOLDER [--ignore LINK...]: checks the links of a site. Prints those that lead nowhere, and exits with 1 if there are any.

Every href and src without a scheme must lead to a file of the site, and its #anchor to an element with that id or name. Other sites are not
asked. --ignore LINK: a link, as it is written, that may lead nowhere.
"""
import argparse
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[tuple[int, str]] = []  # (line, link)
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value and (name in ("href", "src")):
                self.links.append((self.getpos()[0], value))
            elif value and (name == "id" or name == "name" and tag == "a"):
                self.anchors.add(value)


class Site:
    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.pages: dict[Path, Page] = {}

    def page(self, file: Path) -> Page:
        if file not in self.pages:
            self.pages[file] = Page(file.read_text(encoding="utf-8", errors="replace"))
        return self.pages[file]

    def problem(self, file: Path, link: str) -> str | None:
        parts = urlsplit(link)
        if parts.scheme or parts.netloc or link.startswith("//"):
            return None
        base = self.folder if parts.path.startswith("/") else file.parent
        target = (base / unquote(parts.path).lstrip("/")).resolve() if parts.path else file
        if target.is_dir():
            target /= "index.html"
        if not target.is_file() or not target.is_relative_to(self.folder):
            return "there is no such file"
        if parts.fragment and target.suffix == ".html" and unquote(parts.fragment) not in self.page(target).anchors:
            return "there is no such anchor"
        return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ignore", metavar="LINK", action="append", default=[])
    arguments = parser.parse_args()
    site, checked, broken = Site(arguments.folder), 0, 0
    for file in sorted(site.folder.rglob("*.html")):
        name = file.relative_to(site.folder).as_posix()
        if name == "404.html":  # its links are absolute, for wherever the site lies
            continue
        for line, link in site.page(file).links:
            checked += 1
            problem = None if link in arguments.ignore else site.problem(file, link)
            if problem:
                broken += 1
                print(f"{name}:{line}: {link}: {problem}")
    print(f"{checked} links, {broken} broken")
    return 1 if broken or checked == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
