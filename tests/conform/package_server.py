#!/usr/bin/env python3
"""An apt repository and an npm registry of what tools/packages has fetched, on 127.0.0.1.

usage: package_server.py PACKAGES PORT

/debian/ is a flat repository: `deb [trusted=yes] http://127.0.0.1:PORT/debian ./`. Below /npm/ are what
npm asks a registry for: documents of packages, made of their archives, and the archives.
"""
import base64
import functools
import hashlib
import http.server
import json
import pathlib
import sys
import tarfile


def read_npm_packages(directory, address):
    """Documents by name, archives by where the documents say they are."""
    documents, archives = {}, {}
    for path in sorted(directory.glob("*.tgz")):
        content = path.read_bytes()
        with tarfile.open(path) as archive:
            version = json.load(archive.extractfile("package/package.json"))
        where = f"/npm/{version['name']}/-/{path.name}"
        archives[where] = content
        version["dist"] = {
            "tarball": address + where, "shasum": hashlib.sha1(content).hexdigest(),
            "integrity": "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()}
        document = documents.setdefault(f"/npm/{version['name']}", {
            "name": version["name"], "dist-tags": {}, "versions": {}})
        document["versions"][version["version"]] = version
        document["dist-tags"]["latest"] = version["version"]
    return documents, archives


class Server(http.server.SimpleHTTPRequestHandler):
    documents, archives = {}, {}

    def do_GET(self):
        if self.path in self.documents:
            self.reply("application/json", json.dumps(self.documents[self.path]).encode())
        elif self.path in self.archives:
            self.reply("application/octet-stream", self.archives[self.path])
        elif self.path.startswith("/debian/"):
            super().do_GET()
        else:
            self.send_error(404)

    def reply(self, kind, content):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def main():
    packages, port = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    Server.documents, Server.archives = read_npm_packages(packages / "npm", f"http://127.0.0.1:{port}")
    handler = functools.partial(Server, directory=str(packages))
    http.server.ThreadingHTTPServer(("127.0.0.1", port), handler).serve_forever()


main()
