#!/usr/bin/env python3
"""Archives as nobody's tool writes them, for build_hostile.

usage: hostile_archive.py ARCHIVE <PYTHON       what the text on the input adds, with the functions below
       hostile_archive.py --ambiguous ARCHIVE   two:1, whose manifest is an index, too
       hostile_archive.py --liar ARCHIVE STEP HISTORY   an image with a history that is not its own
       hostile_archive.py --registry PORT FILE  a registry that has nothing; who asked what is in FILE
"""
import hashlib
import http.server
import io
import json
import sys
import tarfile


class Archive:
    def __init__(self, path):
        self.tar = tarfile.open(path, "w", format=tarfile.PAX_FORMAT)

    def add(self, name, kind, content=b"", mode=0o644, **fields):
        entry = tarfile.TarInfo()
        entry.name, entry.type, entry.mode, entry.size = name, kind, mode, len(content)
        for key, value in fields.items():
            setattr(entry, key, value)
        self.tar.addfile(entry, io.BytesIO(content))

    def file(self, name, content, mode=0o644):
        self.add(name, tarfile.REGTYPE, content.encode() if isinstance(content, str) else content, mode)

    def directory(self, name):
        self.add(name, tarfile.DIRTYPE, mode=0o755)

    def symlink(self, name, target):
        self.add(name, tarfile.SYMTYPE, linkname=target)

    def hardlink(self, name, target):
        self.add(name, tarfile.LNKTYPE, linkname=target)

    def device(self, name, major, minor, block=False):
        self.add(name, tarfile.BLKTYPE if block else tarfile.CHRTYPE, devmajor=major, devminor=minor)

    def sparse(self, name, size):
        """A hole with nothing around it, as GNU's PAX records say it (version 0.1)."""
        self.add(name, tarfile.REGTYPE, pax_headers={
            "GNU.sparse.size": str(size), "GNU.sparse.numblocks": "1", "GNU.sparse.map": f"{size},0"})

    def pax(self, headers):
        self.add("comment", tarfile.REGTYPE, pax_headers=headers)

    def names(self):
        return {name: getattr(self, name) for name in (
            "file", "directory", "symlink", "hardlink", "device", "sparse", "pax")}


def blob(archive, content):
    digest = hashlib.sha256(content).hexdigest()
    archive.file(f"blobs/sha256/{digest}", content)
    return {"digest": f"sha256:{digest}", "size": len(content)}


def layout(path, name, history, extra):
    """An OCI layout of one image of one layer."""
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w") as tar:
        entry = tarfile.TarInfo("word")
        entry.size = len(b"lie\n")
        tar.addfile(entry, io.BytesIO(b"lie\n"))
    archive = Archive(path)
    archive.file("oci-layout", '{"imageLayoutVersion":"1.0.0"}')
    layer = blob(archive, inner.getvalue())
    config = blob(archive, json.dumps({
        "architecture": "amd64", "os": "linux", "config": {"Cmd": ["/bin/sh"]}, "history": history,
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}}).encode())
    kind = "application/vnd.oci.image"
    manifest = blob(archive, json.dumps({
        "schemaVersion": 2, "mediaType": f"{kind}.manifest.v1+json",
        "config": {"mediaType": f"{kind}.config.v1+json", **config},
        "layers": [{"mediaType": f"{kind}.layer.v1.tar", **layer}], **extra}).encode())
    archive.file("index.json", json.dumps({"schemaVersion": 2, "manifests": [{
        "mediaType": f"{kind}.manifest.v1+json", **manifest,
        "annotations": {"org.opencontainers.image.ref.name": name,
                        "io.containerd.image.name": f"docker.io/library/{name}"}}]}))
    archive.tar.close()


def serve(port, path):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            with open(path, "a", encoding="utf-8") as asked:
                asked.write(f"{self.command} {self.path}\n{self.headers}\n")
            self.send_response(401 if "Authorization" not in self.headers else 404)
            self.send_header("WWW-Authenticate", 'Basic realm="evil"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()


def main():
    if sys.argv[1] == "--ambiguous":
        layout(sys.argv[2], "two:1", [], {"manifests": []})
    elif sys.argv[1] == "--liar":
        history = [{"created_by": words} for words in sys.argv[3:]]
        layout(sys.argv[2], "liar:1", history, {})
    elif sys.argv[1] == "--registry":
        serve(int(sys.argv[2]), sys.argv[3])
    else:
        archive = Archive(sys.argv[1])
        exec(compile(sys.stdin.read(), "the input", "exec"), archive.names())  # pylint: disable=exec-used
        archive.tar.close()


main()
