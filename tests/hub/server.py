"""A small model hub on this machine, with the URLs, headers and redirects of Hugging Face's. It misbehaves in any way that a test asks for.

The hub's address is http://127.0.0.1:PORT; large files are redirected to http://localhost:PORT/cdn/..., which is another host for clients.
"""
import hashlib
import http.server
import json
import socket
import ssl
import subprocess
import threading
import urllib.parse

LARGE = 1 << 12  # files of at least so many bytes are large: stored by SHA-256 and served by the other host


def git_sha1(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Repository:
    def __init__(self, files, commit="c" * 40, revisions=("main",)):
        self.files, self.commit, self.revisions = dict(files), commit, list(revisions)

    def etag(self, name):
        content = self.files[name]
        return hashlib.sha256(content).hexdigest() if len(content) >= LARGE else git_sha1(content)


class Request:
    def __init__(self, handler):
        self.method, self.headers, self.host = handler.command, handler.headers, handler.headers.get("Host", "")
        address = urllib.parse.urlsplit(handler.path)
        self.proxied = bool(address.scheme)  # a proxy gets the whole URL
        self.path = urllib.parse.unquote(address.path)

    @property
    def kind(self):
        return next((k for k in ("api", "cdn") if self.path.startswith(f"/{k}/")), "resolve")

    @property
    def token(self):
        return self.headers.get("Authorization")

    @property
    def first_byte(self):
        return int(self.headers.get("Range", "bytes=0-")[len("bytes="):].rstrip("-"))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def handle(self):
        try:
            super().handle()
        except OSError:  # a client that disconnected, or does not trust the certificate
            pass

    def do_CONNECT(self):
        """As a proxy: a tunnel to the requested port, whatever the host."""
        hub = self.server.hub
        with hub.lock:
            hub.tunnels.append(self.headers)
        with socket.create_connection(("127.0.0.1", int(self.path.rsplit(":", 1)[1]))) as other:
            self.answer(200, length=None)
            self.close_connection = True
            back = threading.Thread(target=self.pass_on, args=(other, self.connection), daemon=True)
            back.start()
            self.pass_on(self.connection, other)
            back.join(5)

    @staticmethod
    def pass_on(source, target):
        try:
            while data := source.recv(1 << 16):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def do_GET(self):
        hub, request = self.server.hub, Request(self)
        with hub.lock:
            hub.requests.append(request)
        if not (hub.fault and hub.fault(self, request)):
            hub.serve(self, request)

    do_HEAD = do_GET

    def answer(self, status, headers=(), body=b"", length=True):
        self.send_response_only(status)
        for name, value in dict(headers).items():
            # written unchecked: a hostile server may send invalid headers
            self._headers_buffer.append(f"{name}: {value}\r\n".encode("utf-8", "surrogateescape"))
        if length is not None:
            self.send_header("Content-Length", str(len(body) if length is True else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def break_off(self):
        """Closes the connection, even in the middle of an answer."""
        self.wfile.flush()
        self.close_connection = True
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def make_certificate(file):
    """A self-signed one for this machine; returns False without the program openssl."""
    try:
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=m2bert test",
                        "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:hub.invalid", "-keyout", file, "-out", str(file) + ".crt"], check=True,
                       capture_output=True)
    except FileNotFoundError:
        return False
    with open(file, "a") as out, open(str(file) + ".crt") as certificate:
        out.write(certificate.read())
    return True


class Hub:
    """fault(handler, request): answers instead of the hub and returns True, or lets the hub answer."""

    def __init__(self, repositories, certificate=None):
        self.repositories = dict(repositories)
        self.requests, self.tunnels, self.fault, self.lock = [], [], None, threading.Lock()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads, self.server.hub = True, self
        self.port = self.server.server_address[1]
        scheme = "http"
        if certificate:
            context, scheme = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), "https"
            context.load_cert_chain(certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.address, self.elsewhere = f"{scheme}://127.0.0.1:{self.port}", f"{scheme}://localhost:{self.port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def asked(self, kind, method=None):
        with self.lock:
            return [r for r in self.requests if r.kind == kind and method in (None, r.method)]

    # ---- how a correct hub answers ----
    def serve(self, handler, request):
        if request.kind == "api":
            return self.serve_listing(handler, request)
        if request.kind == "cdn":
            name, file = request.path[len("/cdn/"):].split("/files/")
            return self.serve_bytes(handler, request, self.repositories[name].files[file], {"ETag": '"of-the-other-host"'})
        name, _, rest = request.path[1:].partition("/resolve/")
        commit, _, file = rest.partition("/")
        repository = self.repositories.get(name)
        if repository is None or commit not in (repository.commit, *repository.revisions) or file not in repository.files:
            return handler.answer(404, {"X-Error-Code": "EntryNotFound" if repository else "RepoNotFound"})
        headers = {"X-Repo-Commit": repository.commit}
        content = repository.files[file]
        if len(content) < LARGE:
            return self.serve_bytes(handler, request, content, {**headers, "ETag": f'"{repository.etag(file)}"'})
        headers |= {"X-Linked-Etag": f'"{repository.etag(file)}"', "X-Linked-Size": len(content)}
        handler.answer(302, {**headers, "Location": f"{self.elsewhere}/cdn/{name}/files/{urllib.parse.quote(file)}?signature=s3cret"})

    def serve_listing(self, handler, request):
        if "/tree/" in request.path:
            return self.serve_tree(handler, request)
        name, _, revision = request.path[len("/api/models/"):].partition("/revision/")
        repository = self.repositories.get(name)
        if repository is None:
            return handler.answer(404, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})
        if revision not in (repository.commit, *repository.revisions):
            return handler.answer(404, {"X-Error-Code": "RevisionNotFound", "X-Error-Message": f"Invalid rev id: {revision}"})
        siblings = [{"rfilename": file} for file in repository.files]
        handler.answer(200, {"Content-Type": "application/json"}, json.dumps({"id": name, "sha": repository.commit, "siblings": siblings}).encode())

    def serve_tree(self, handler, request):
        """What huggingface_hub asks for; m2bert does not."""
        repository = self.repositories[request.path[len("/api/models/"):].partition("/tree/")[0]]
        entries = []
        for file, content in repository.files.items():
            large = {"lfs": {"oid": repository.etag(file), "size": len(content), "pointerSize": 134}} if len(content) >= LARGE else {}
            entries.append({"type": "file", "path": file, "size": len(content), "oid": git_sha1(content), **large})
        handler.answer(200, {"Content-Type": "application/json"}, json.dumps(entries).encode())

    @staticmethod
    def serve_bytes(handler, request, content, headers=()):
        first = request.first_byte
        if first == 0 and "Range" not in request.headers:
            return handler.answer(200, headers, content)
        if first >= len(content):
            return handler.answer(416, {"Content-Range": f"bytes */{len(content)}"})
        handler.answer(206, {**dict(headers), "Content-Range": f"bytes {first}-{len(content) - 1}/{len(content)}"}, content[first:])
