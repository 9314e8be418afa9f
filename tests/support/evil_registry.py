#!/usr/bin/env python3
"""A registry that misbehaves on request: the repository's name says how.

usage: evil_registry.py PORT DATA LOG OTHER [CERTIFICATE KEY]

DATA holds `manifest`, `config` and `layer`; LOG gets a line for each request: method, path and what
its Authorization header was (`-`: none). OTHER is the URL of another such server. It speaks HTTP by
hand, since no library would let it break the rules.
"""
import base64
import gzip
import hashlib
import socket
import ssl
import sys
import threading
import time

port, data, log_path, other = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]


def read(name):
    with open(f"{data}/{name}", "rb") as file:
        return file.read()


def digest(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


manifest, config, layer = read("manifest"), read("config"), read("layer")
blobs = {digest(each): each for each in (config, layer)}
scheme = "https" if len(sys.argv) > 5 else "http"
here = f"{scheme}://localhost:{port}"
OCI = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
lock = threading.Lock()
counts = {}


def count(key):
    """How often it was called with this key before."""
    with lock:
        counts[key] = counts.get(key, 0) + 1
        return counts[key] - 1


class Connection:
    def __init__(self, plain):
        self.socket = plain
        self.file = plain.makefile("rb")

    def serve(self):
        while self.one():
            pass

    def one(self):
        line = self.file.readline(65536).decode("latin-1").split()
        if len(line) != 3:
            return False
        self.method, self.path = line[0], line[1]
        self.headers = {}
        while True:
            header = self.file.readline(65536).decode("latin-1").strip()
            if not header:
                break
            name, _, value = header.partition(":")
            self.headers[name.lower()] = value.strip()
        with lock, open(log_path, "a") as log:
            log.write(f"{self.method} {self.path} {self.headers.get('authorization', '-')}\n")
        self.alive = True
        if self.headers.get("expect") and "cut-upload" not in self.path:
            self.socket.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        route(self)
        return self.alive

    def take_body(self):
        return self.file.read(int(self.headers.get("content-length", "0")))

    def head(self, status, headers):
        lines = [f"HTTP/1.1 {status} x"] + [f"{name}: {value}" for name, value in headers.items()]
        self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))

    def answer(self, status, body=b"", **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        headers.setdefault("Content-Length", len(body))
        self.head(status, headers)
        if self.method != "HEAD":
            self.socket.sendall(body)

    def hang_up(self):
        self.alive = False
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def chunks(self, pieces):
        for piece in pieces:
            self.socket.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.socket.sendall(b"0\r\n\r\n")


def route(c):
    if c.path.startswith("/token/"):
        return token(c)
    parts = c.path.split("/")
    if len(parts) < 5 or parts[1] != "v2":
        c.take_body()
        return c.answer(404)
    how, what = parts[2], parts[3]
    challenge = challenges.get(how)
    if challenge is not None and not allowed(c, how):
        c.take_body()
        return c.answer(401, WWW_Authenticate=challenge) if challenge else c.answer(401)
    if what == "manifests":
        return put_manifest(c, how) if c.method == "PUT" else get_manifest(c, how)
    if "/blobs/uploads/" in c.path:
        return upload(c, how)
    return get_blob(c, how, parts[4])


# Who asks ---------------------------------------------------------------------------------------

BASIC = "Basic " + base64.b64encode(b"user:secret").decode()


def bearer(name):
    return f'Bearer realm="{here}/token/{name}",service="evil"'


challenges = {
    "basic": 'Basic realm="x"', "basic-elsewhere": 'Basic realm="x"',
    "basic-loop": 'Basic realm="x"', "basic-upload-elsewhere": 'Basic realm="x"',
    "never": 'Basic realm="x"', "never-token": bearer("good"),
    "bearer": bearer("good"), "bearer-short": bearer("short"), "bearer-secret": bearer("secret"),
    "bearer-large": bearer("large"), "bearer-deep": bearer("deep"), "bearer-lines": bearer("lines"),
    "bearer-none": bearer("none"), "bearer-number": bearer("number"),
    "bearer-broken": bearer("broken"), "bearer-endless": bearer("endless"),
    "bearer-denied": bearer("denied"), "bearer-refresh": bearer("refresh"),
    "bearer-redirect": bearer("redirect"),
    "realm-host": f'Bearer realm="http://127.0.0.1:{port}/token/secret",service="evil"',
    "realm-open": f'Bearer realm="http://127.0.0.1:{port}/token/good",service="evil"',
    "realm-plain": f'Bearer realm="{other}/token/good"', "realm-file": 'Bearer realm="file:///x"',
    "realm-metadata": 'Bearer realm="http://169.254.169.254/token"', "realm-none": "Bearer x=y",
    "garbage-1": 'Bearer realm="', "garbage-2": ",,,", "garbage-3": "\x01\x02", "garbage-4": "",
    "garbage-5": "Bearer realm=" + "a" * 9000, "garbage-6": "A a=b, " * 400,
    "negotiate": "Negotiate",
}


def allowed(c, how):
    given = c.headers.get("authorization", "")
    if how.startswith("basic"):
        return given == BASIC
    if how == "bearer-short":  # each token is good for two requests
        return given.startswith("Bearer t") and count(given) < 2
    if how == "realm-open":
        return given.startswith("Bearer t")
    return how.startswith("bearer") and given.startswith("Bearer t")


def token(c):
    body = c.take_body()
    name = c.path.split("/")[2].split("?")[0]
    if name in ("good", "short"):
        return c.answer(200, b'{"token":"t%d","expires_in":300}' % count("token"))
    if name == "secret" and c.headers.get("authorization") == BASIC:
        return c.answer(200, b'{"access_token":"t1"}')
    if name == "refresh" and c.method == "POST" and b"refresh_token=identity%21" in body:
        return c.answer(200, b'{"access_token":"t1"}')
    if name == "redirect":
        return c.answer(307, Location=f"{other}/token/good")
    if name == "large":
        return c.answer(200, b'{"token":"' + b"t" * (2 << 20) + b'"}')
    if name == "deep":
        return c.answer(200, b"[" * 100000 + b"]" * 100000)
    if name == "lines":
        return c.answer(200, b'{"token":"t\\r\\nX-Injected: 1"}')
    if name == "none":
        return c.answer(200, b"{}")
    if name == "number":
        return c.answer(200, b'{"token":7}')
    if name == "broken":
        return c.answer(200, b'{"token":"t')
    if name == "endless":
        c.head(200, {"Transfer-Encoding": "chunked"})
        return c.chunks(b" " * 65536 for _ in range(100000))
    c.answer(401, b'{"details":"no\\u001b[31m such\\u0007 user"}')


# Manifests --------------------------------------------------------------------------------------

redirects = {
    "loop": lambda c: f"{here}{c.path}", "basic-loop": lambda c: f"{here}{c.path}",
    "elsewhere": lambda c: f"{other}/v2/good/manifests/latest",
    "basic-elsewhere": lambda c: other + c.path.replace("basic-elsewhere", "good"),
    "metadata": lambda c: "http://169.254.169.254/latest/meta-data/",
    "metadata-name": lambda c: "http://metadata.test/latest/meta-data/",
    "metadata-6": lambda c: "http://[fe80::1]/", "metadata-mapped": lambda c: "http://[::ffff:a9fe:a9fe]/",
    "metadata-number": lambda c: "http://2852039166/", "metadata-hex": lambda c: "http://0xa9fea9fe/",
    "inside-number": lambda c: f"http://2130706433:{port}/v2/good/manifests/latest",
    "inside-network": lambda c: "http://[::ffff:10.0.0.1]/",
    "file": lambda c: "file:///etc/passwd", "gopher": lambda c: "gopher://localhost:1/x",
    "nonsense": lambda c: "http://[::1", "empty-host": lambda c: "http://?x",
    "password": lambda c: "http://user:secret@localhost:1/", "long": lambda c: "/" + "a" * 20000,
    "relative": lambda c: "../../good/manifests/latest",
}


def get_manifest(c, how):
    if how in redirects:
        return c.answer(307, b"gone there", Location=redirects[how](c))
    if how == "headers":
        c.socket.sendall(b"HTTP/1.1 200 OK\r\n")
        while True:
            c.socket.sendall(b"X-Filler: " + b"a" * 1000 + b"\r\n")
    if how == "giant":
        c.head(200, {"Content-Type": OCI, "Transfer-Encoding": "chunked"})
        return c.chunks(b" " * 65536 for _ in range(100000))
    if how == "giant-promised":
        return c.answer(200, b" " * ((4 << 20) + 1), Content_Type=OCI)
    if how == "silent" or (how == "silent-mirror" and port == 7001):
        time.sleep(60)
        return c.hang_up()
    if how == "trickle":
        c.head(200, {"Content-Type": OCI, "Content-Length": len(manifest)})
        for byte in manifest:
            c.socket.sendall(bytes([byte]))
            time.sleep(0.2)
        return None
    if how == "gzip":
        return c.answer(200, gzip.compress(manifest), Content_Type=OCI, Content_Encoding="gzip")
    if how == "other-bytes":
        return c.answer(200, manifest + b" ", Content_Type=OCI)
    if how == "digest-path":
        return c.answer(200, manifest, Content_Type=OCI, Docker_Content_Digest="../../x")
    if how == "digest-other":
        return c.answer(200, manifest, Content_Type=OCI, Docker_Content_Digest=digest(b"x"))
    if how == "type-html":
        return c.answer(200, manifest, Content_Type="text/html")
    if how == "type-none":
        return c.answer(200, manifest)
    if how == "type-index":
        return c.answer(200, manifest, Content_Type=INDEX)
    if how == "schema-1":
        kind = "application/vnd.docker.distribution.manifest.v1+prettyjws"
        return c.answer(200, b"{}", Content_Type=kind)
    if how == "ambiguous":
        body = manifest.rstrip()[:-1] + b',"manifests":[]}'
        return c.answer(200, body, Content_Type=OCI)
    if how == "not-json":
        return c.answer(200, b"<html>", Content_Type=OCI)
    if how == "not-http":
        c.socket.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
        return c.hang_up()
    if how == "slow-down" and count("slow-down") < 2:
        return c.answer(429, Retry_After="0")
    if how == "slow-down-forever":
        return c.answer(429, Retry_After="86400")
    if how == "stumble" and count("stumble") < 3:
        return c.answer(503, b"<html>busy</html>")
    if how == "broken":
        return c.answer(500)
    if how == "words":
        body = b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"no \\u001b[31mred\\u0007 ' + b"x" * 5000
        return c.answer(404, body + b'"}]}')
    if how == "forbidden":
        return c.answer(403, b'{"errors":[{"code":"DENIED","message":"pay first"}]}')
    c.answer(200, manifest, Content_Type=OCI, Docker_Content_Digest=digest(manifest))


def put_manifest(c, how):
    body = c.take_body()
    if how == "put-other":
        return c.answer(201, Docker_Content_Digest=digest(b"x"))
    if how == "put-redirect":
        return c.answer(307, Location=f"{other}/v2/good/manifests/latest")
    c.answer(201, Docker_Content_Digest=digest(body))


# Blobs ------------------------------------------------------------------------------------------

def get_blob(c, how, name):
    content = blobs.get(name)
    if content is None or how in ("absent", "upload", "mount") or "upload" in how:
        return c.answer(404)
    size = len(content)
    asked = c.headers.get("range", "")
    begin = int(asked[len("bytes="):-1]) if asked else 0
    partial = {"Content-Range": f"bytes {begin}-{size - 1}/{size}"} if asked else {}
    if how == "blob-elsewhere" or how == "basic-elsewhere":
        return c.answer(307, Location=f"{other}/v2/good/blobs/{name}")
    if how == "wrong-bytes":
        return c.answer(200, bytes(size))
    if how == "wrong-once" and count("wrong-once") == 0:
        return c.answer(200, bytes(size))
    if how == "longer":
        return c.answer(200, content + b"x")
    if how == "shorter":
        return c.answer(200, content[:-1])
    if how == "longer-unsaid":
        c.head(200, {"Transfer-Encoding": "chunked"})
        return c.chunks(content[:1] * 65536 for _ in range(100000))
    if how == "shorter-unsaid":
        c.head(200, {"Transfer-Encoding": "chunked"})
        return c.chunks([content[: size // 2]])
    if how == "part-unasked":
        c.head(206, {"Content-Range": f"bytes 0-{size - 1}/{size}", "Content-Length": size})
        return c.socket.sendall(content)
    if how == "no-content":
        return c.answer(204)
    if how == "gzip":
        return c.answer(200, gzip.compress(content), Content_Encoding="gzip")
    if how == "wrong-mirror" and port == 7001:  # the other server is right
        return c.answer(200, bytes(size))
    if how == "cut-silent" or (how == "half-mirror" and port == 7001):  # never gets further than the middle
        c.head(206 if asked else 200, {"Content-Length": size - begin, **partial})
        c.socket.sendall(content[begin : max(begin, size // 2)])
        return c.hang_up()
    if how == "slow":  # fast enough to be no stall
        c.head(206 if asked else 200, {"Content-Length": size - begin, **partial})
        while True:
            c.socket.sendall(content[begin : begin + 1000])
            begin += 1000
            time.sleep(0.2)
    if how == "cut-often":
        c.head(206 if asked else 200, {"Content-Length": size - begin, **partial})
        c.socket.sendall(content[begin : begin + 1000])
        return c.hang_up()
    if how == "trickle":
        c.head(200, {"Content-Length": size})
        while True:
            c.socket.sendall(content[:1])
            time.sleep(0.1)
    if how.startswith("cut") and (count(how) < 3 or not asked):
        end = begin + (size - begin) // 2
        c.head(206 if asked else 200, {"Content-Length": size - begin, **partial})
        c.socket.sendall(content[begin:end])
        return c.hang_up()
    if how == "cut-no-range":
        return c.answer(200, content)
    if how == "cut-lying-range":
        partial = {"Content-Range": f"bytes 0-{size - begin - 1}/{size}"}
    if how == "cut-lying-total":
        partial = {"Content-Range": f"bytes {begin}-{size - 1}/{size + 7}"}
    if how == "cut-mad-range":
        partial = {"Content-Range": "bytes 18446744073709551616-1/-3"}
    if how == "cut-missing-range":
        partial = {}
    if how == "cut-416":
        return c.answer(416)
    c.answer(206 if asked else 200, content[begin:], **partial)


locations = {
    "upload-none": None, "upload-nonsense": "http://[::1", "upload-file": "file:///tmp/x",
    "upload-metadata": "http://169.254.169.254/", "upload-plain": "http://localhost:1/x",
    "upload-password": "http://user:secret@localhost/",
}


def upload(c, how):
    body = c.take_body() if not how.startswith("cut-upload") or c.method != "PUT" else b""
    if c.method == "POST":
        if "mount=" in c.path and how == "mount":
            return c.answer(201, Location="/v2/x")
        if how in locations and locations[how] is None:
            return c.answer(202)
        where = locations.get(how, f"/v2/{how}/blobs/uploads/one?state=a%20b")
        if how in ("basic-upload-elsewhere", "upload-away"):
            where = f"{other}/v2/upload/blobs/uploads/one"
        return c.answer(202, Location=where)
    if c.method == "DELETE":
        return c.answer(204)
    if how == "cut-upload" and count("cut-upload") < 2:
        c.file.read(100000)
        return c.hang_up()
    if how == "upload-forgotten" and count("forgotten") < 1:
        return c.answer(404)
    if how == "upload-accepted":
        return c.answer(202)
    if how == "upload-other":
        return c.answer(201, Docker_Content_Digest=digest(b"x"))
    if how == "upload-digest-path":
        return c.answer(201, Docker_Content_Digest="../../x")
    if how == "upload-invalid":
        return c.answer(400, b'{"errors":[{"code":"DIGEST_INVALID","message":"provided digest"}]}')
    if how.startswith("cut-upload"):
        body = c.take_body()
    if f"digest={digest(body)}" not in c.path.replace("%3A", ":"):
        return c.answer(400)
    c.answer(201, Docker_Content_Digest=digest(body))


def handle(plain):
    try:
        Connection(plain).serve()
    except OSError:
        pass
    finally:
        plain.close()


listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
listener.listen(64)
context = None
if scheme == "https":
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[5], sys.argv[6])


def accept(plain):
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if context:
        try:
            plain = context.wrap_socket(plain, server_side=True)
        except (ssl.SSLError, OSError):
            return
    handle(plain)


while True:
    incoming, _ = listener.accept()
    threading.Thread(target=accept, args=(incoming,), daemon=True).start()
