"""Chromium without a window, driven through the DevTools protocol over a pipe."""
import base64
import json
import os
import queue
import shutil
import subprocess
import tempfile
import threading
import time

KEYS = {"Tab": 9, "Enter": 13, "Space": 32, "ArrowDown": 40, "Escape": 27}
TEXT_OF_KEY = {"Enter": "\r", "Space": " "}
SHIFT, CONTROL = 8, 2


def find_chromium():
    named = os.environ.get("M2BERT_CHROMIUM")
    return named or next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)


class Browser:
    """One tab. Hosts other than this machine cannot be reached."""

    def __init__(self, program):
        self.folder = tempfile.mkdtemp(prefix="m2bert-browser-")
        to_read, self.to = os.pipe()
        self.from_, to_write = os.pipe()
        arguments = [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                     "--disable-extensions", "--disable-background-networking", "--disable-component-update",
                     "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
                     f"--user-data-dir={self.folder}", "--remote-debugging-pipe", "--window-size=1100,1400", "about:blank"]
        shell = ["bash", "-c", f'exec "$@" 3<&{to_read} 4>&{to_write}', "bash", *arguments]
        self.process = subprocess.Popen(shell, pass_fds=(to_read, to_write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                        env={**os.environ, "HOME": self.folder})
        os.close(to_read)
        os.close(to_write)
        self.number, self.replies, self.events, self.session = 0, queue.Queue(), [], None
        self.on_event = None
        threading.Thread(target=self.read, daemon=True).start()
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log", "DOM", "Accessibility"):
            self.send(f"{domain}.enable")

    def close(self):
        try:
            self.send("Browser.close")
            self.process.wait(10)
        except (OSError, RuntimeError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        os.close(self.to)
        shutil.rmtree(self.folder, ignore_errors=True)

    # ---- the protocol ----
    def read(self):
        rest = b""
        while piece := os.read(self.from_, 1 << 16):
            *messages, rest = (rest + piece).split(b"\0")
            for message in map(json.loads, messages):
                if "id" in message:
                    self.replies.put(message)
                else:
                    self.events.append(message)
                    if self.on_event:
                        self.on_event(message)

    def post(self, method, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        return self.number

    def send(self, method, **parameters):
        number = self.post(method, **parameters)
        while True:
            try:
                reply = self.replies.get(timeout=60)
            except queue.Empty:
                raise RuntimeError(f"no reply to {method}") from None
            if reply["id"] == number:
                break
        if "error" in reply:
            raise RuntimeError(f"{method}: {reply['error']}")
        return reply["result"]

    # ---- what tests do ----
    def open(self, url):
        self.send("Page.navigate", url="about:blank")  # ends what the page before still asks for
        self.wait_for("document.readyState === 'complete' && location.href === 'about:blank'")
        self.events.clear()
        self.send("Page.navigate", url=url)
        self.wait_for("document.readyState === 'complete' && location.href !== 'about:blank'")

    def evaluate(self, expression):
        result = self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def wait_for(self, expression, seconds=60):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.evaluate(f"Boolean({expression})"):
                return
            time.sleep(0.05)
        raise AssertionError(f"not within {seconds} s: {expression}")

    def press(self, key, modifiers=0):
        event = {"key": " " if key == "Space" else key, "code": key, "windowsVirtualKeyCode": KEYS[key], "modifiers": modifiers}
        if key in TEXT_OF_KEY and not modifiers:
            event["text"] = TEXT_OF_KEY[key]
        self.send("Input.dispatchKeyEvent", type="keyDown", **event)
        self.send("Input.dispatchKeyEvent", type="keyUp", **{k: v for k, v in event.items() if k != "text"})

    def type(self, text):
        self.send("Input.insertText", text=text)

    def focused(self):
        return self.evaluate("document.activeElement.id || document.activeElement.tagName")

    def tab_to(self, element):
        """Presses Tab until this element has the focus. Returns what had it on the way."""
        way = []
        for _ in range(40):
            self.press("Tab")
            way.append(self.focused())
            if way[-1] == element:
                return way
        raise AssertionError(f"Tab never came to {element}: {way}")

    def choose_file(self, element, path):
        root = self.send("DOM.getDocument")["root"]["nodeId"]
        node = self.send("DOM.querySelector", nodeId=root, selector=f"#{element}")["nodeId"]
        self.send("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def color_scheme(self, name):
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def delay(self, milliseconds):
        self.send("Network.emulateNetworkConditions", offline=False, latency=milliseconds, downloadThroughput=-1, uploadThroughput=-1)

    def answer_once(self, path, status, headers, body):
        """The next request to this path gets this response instead of the server's."""
        def answer(event):
            if event["method"] != "Fetch.requestPaused":
                return
            self.on_event = None
            self.post("Fetch.fulfillRequest", requestId=event["params"]["requestId"], responseCode=status,
                      responseHeaders=[{"name": k, "value": v} for k, v in headers.items()], body=base64.b64encode(body.encode()).decode())
            self.post("Fetch.disable")
        self.on_event = answer
        self.send("Fetch.enable", patterns=[{"urlPattern": f"*{path}"}])

    def screenshot(self, path):
        image = self.send("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(image))

    def requests(self):
        return [e["params"]["request"] for e in list(self.events) if e["method"] == "Network.requestWillBeSent"]

    def complaints(self):
        """Errors of scripts and of the content security policy; responses of 4xx and 5xx are none."""
        said = []
        for event in list(self.events):
            if event["method"] == "Log.entryAdded" and event["params"]["entry"]["source"] != "network":
                said.append(event["params"]["entry"]["text"])
            if event["method"] == "Runtime.exceptionThrown":
                said.append(str(event["params"]["exceptionDetails"]))
            if event["method"] == "Runtime.consoleAPICalled" and event["params"]["type"] in ("error", "assert"):
                said.append(str(event["params"]["args"]))
        return said
