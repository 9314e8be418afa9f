#!/usr/bin/env python3
"""Writes plans of small archives of images into the directory named, one in each form, and one
archive: seeds for fuzz_load, where their form is told."""
import gzip
import io
import pathlib
import sys
import tarfile

DIRECTORY = pathlib.Path(sys.argv[1])

TYPE = "application/vnd.oci.image."
# An empty archive as a layer: its digest is the same everywhere, and no plan can say it of itself.
LAYER = ("@", "\0" * 1024)
CONFIG = ("@", '{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["$1"]}}')
MANIFEST = ("@", '{"schemaVersion":2,"config":{"mediaType":"%sconfig.v1+json","digest":"$1","size":#1},'
            '"layers":[{"mediaType":"%slayer.v1.tar","digest":"$2","size":#2}]}' % (TYPE, TYPE))


def index(kind, more=""):
    return ('{"schemaVersion":2,"manifests":[{"mediaType":"%s%s.v1+json","digest":"$1","size":#1%s}]}'
            % (TYPE, kind, more))


NAMED = ',"annotations":{"io.containerd.image.name":"docker.io/library/a:1"}'
REF_NAMED = ',"annotations":{"org.opencontainers.image.ref.name":"localhost/a:1"}'
PLATFORM = ',"platform":{"os":"linux","architecture":"amd64"}'
DOCKER = '[{"Config":"c.json","RepoTags":["a:1"],"Layers":["1/layer.tar"]}]'

PLANS = {
    "layout": [("oci-layout", '{"imageLayoutVersion":"1.0.0"}'), LAYER, CONFIG, MANIFEST,
               ("index.json", index("manifest", NAMED))],
    "reference": [LAYER, CONFIG, MANIFEST, ("./index.json", index("manifest", REF_NAMED))],
    "nested": [LAYER, CONFIG, MANIFEST, ("@", index("manifest", PLATFORM)),
               ("index.json", index("index", NAMED))],
    "docker": [("2/layer.tar", LAYER[1]), (">1/layer.tar", "../2/layer.tar"),
               ("c.json", CONFIG[1]), ("manifest.json", DOCKER)],
    "both": [LAYER, CONFIG, MANIFEST, ("index.json", index("manifest", NAMED)),
             ("1/layer.tar", LAYER[1]), ("c.json", CONFIG[1]), ("manifest.json", DOCKER)],
}


def archive():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        content = b'{"schemaVersion":2,"manifests":[]}'
        member = tarfile.TarInfo("index.json")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


DIRECTORY.mkdir(parents=True, exist_ok=True)
for name, files in PLANS.items():
    plan = "\1" + "".join("\2%s\3%s" % file for file in files)
    (DIRECTORY / name).write_text(plan, newline="")
(DIRECTORY / "archive").write_bytes(archive())
(DIRECTORY / "archive.gz").write_bytes(gzip.compress(archive(), mtime=0))
