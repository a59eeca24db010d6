"""site_links_test.py REPOSITORY: tools/site_links.py on small sites; packaging/docs/comments.py on a small header."""
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

REPOSITORY = Path(sys.argv.pop(1))

SITE = {
    "index.html": '<a href="guide/#a-part">x</a><a href="guide/index.html">x</a><img src="a%20b.svg"><a href="https://example.org/none">x</a>'
                  '<a href="mailto:a@example.org">x</a><a href="#here">x</a><p id="here"><a href="/guide/">x</a>',
    "guide/index.html": '<h2 id="a-part">x</h2><a name="old"></a><a href="../index.html#here">x</a><a href="?page=2">x</a>',
    "a b.svg": "",
    "404.html": '<a href="/nowhere/">x</a>',
}


class SiteLinks(unittest.TestCase):
    def check(self, files, *arguments):
        with tempfile.TemporaryDirectory() as folder:
            for name, text in files.items():
                file = Path(folder, name)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
            done = subprocess.run([sys.executable, REPOSITORY / "tools/site_links.py", folder, *arguments], capture_output=True, text=True)
        return done.returncode, done.stdout

    def test_a_site_in_order(self):
        self.assertEqual(self.check(SITE), (0, "9 links, 0 broken\n"))

    def test_each_broken_link(self):
        for link, problem in (("none.html", "file"), ("../guide/#none", "anchor"), ("#none", "anchor"), ("empty/", "file"), ("/more.html", "file")):
            with self.subTest(link):
                code, said = self.check({**SITE, "guide/more.html": f'\n<a href="{link}">x</a>'})
                self.assertEqual((code, said), (1, f"guide/more.html:2: {link}: there is no such {problem}\n10 links, 1 broken\n"))

    def test_no_link_out_of_the_site(self):
        code, said = self.check({**SITE, "guide/more.html": '<a href="../../index.html">x</a>'})
        self.assertEqual(code, 1, said)

    def test_what_is_ignored(self):
        self.assertEqual(self.check({**SITE, "more.html": '<a href="#none">x</a>'}, "--ignore", "#none")[0], 0)

    def test_no_page_is_an_error(self):
        self.assertEqual(self.check({}), (1, "0 links, 0 broken\n"))


HEADER = """#pragma once
// Texts to vectors.
#include <string>

// A row of `vectors<float>`, 5 <em> & 50% of @k.
struct Row {  // not for this
  int length;           // tokens,
                        // without padding
  std::string a = "//"; // a \\t
  void f();
};  // struct Row
"""
CONVERTED = """/// \\file
/// Texts to vectors.
#include <string>

/// A row of `vectors<float>`, 5 \\<em\\> \\& 50\\% of \\@k.
struct Row {  // not for this
  int length;           ///< tokens,
                        ///< without padding
  std::string a = "//"; ///< a \\\\t
  void f();
};  // struct Row
"""


class Comments(unittest.TestCase):
    def test_plain_comments_become_descriptions(self):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "m2bert").mkdir()
            Path(folder, "m2bert/row.h").write_text(HEADER)
            subprocess.run([sys.executable, REPOSITORY / "packaging/docs/comments.py", "out", "m2bert/row.h"], cwd=folder, check=True)
            self.assertEqual(Path(folder, "out/m2bert/row.h").read_text(), CONVERTED)


if __name__ == "__main__":
    unittest.main()
