#!/usr/bin/env python3
"""What two builders made of the same Dockerfiles, compared: `ok NAME`, `not ok NAME: WHY`.

usage: image_diff.py OURS THEIRS OTHERS TAG...

OURS, THEIRS and OTHERS are what `docker save` writes (OTHERS a directory of such archives), with images
TAG... Of each image, the configuration that a container starts from and all files are compared: path,
type, mode, owner, where links lead, content, extended attributes; times are not. Ours are to be as
theirs, dockerd's. Others', Buildah's, are to be so but for what OTHERWISE says of them.
"""
import dataclasses
import gzip
import hashlib
import io
import json
import pathlib
import posixpath
import re
import sys
import tarfile

FIELDS = ("Env", "Cmd", "Entrypoint", "User", "WorkingDir", "ExposedPorts", "Volumes", "Labels",
          "Healthcheck", "StopSignal", "OnBuild", "Shell")

# What is another with each run of the same command: when it was, and what is ordered by it.
NEVER_THE_SAME = re.compile(r"var/cache/ldconfig/aux-cache|var/log/(apt/.*|dpkg\.log|alternatives\.log)")
# Days since 1970 on which passwords were changed.
DAYS = re.compile(rb"(?m)^([^:\n]*:[^:\n]*):\d+:")
DAYS_IN = ("etc/shadow", "etc/shadow-")

# Where Buildah does not do as dockerd does: what of which image, and why.
OTHERWISE = (
    ("whoami:1", "WorkingDir", "/ where nothing says so"),
    ("heredoc:1", "/etc/caddy/Caddyfile|/usr/local/bin/start", "no variables in here-documents"),
    ("heredoc:1", "/etc/caddy/empty", "an empty here-document has a line"),
    ("heredoc:1", "/srv", "a WORKDIR that nothing follows is not made"),
    ("alpine:3", "/opt/1/bin/state", "a WORKDIR takes no set-group-ID bit from the directory it is in"),
    ("assembled:1", "/usr/share/grafana/conf", "--chmod is not for directories on the way"),
)

KINDS = {tarfile.REGTYPE: "file", tarfile.AREGTYPE: "file", tarfile.DIRTYPE: "directory",
         tarfile.SYMTYPE: "link", tarfile.CHRTYPE: "character device", tarfile.BLKTYPE: "block device",
         tarfile.FIFOTYPE: "pipe"}
SHOWN_MAX = 6


@dataclasses.dataclass(frozen=True)
class File:
    kind: str
    mode: int
    owner: tuple
    link: str = ""  # or a device's numbers
    content: str = ""
    attributes: tuple = ()

    def __str__(self):
        uid, gid = self.owner
        return " ".join(filter(None, (self.kind, f"{self.mode:o} {uid}:{gid}", self.link, self.content,
                                      str(self.attributes or ""))))


def digest(content):
    return hashlib.sha256(content).hexdigest()[:16]


def normal(name):
    """Of the root itself, which not every layer has: nothing."""
    return posixpath.normpath("/" + name)[1:]


class Layer:
    """Files by path, and what of the layers below is hidden: paths, and directories' content."""

    def __init__(self, archive):
        self.files, self.gone, self.opaque = {}, [], []
        for entry in archive:
            path = normal(entry.name)
            directory, _, name = path.rpartition("/")
            if name == ".wh..wh..opq":
                self.opaque.append(directory)
            elif name.startswith(".wh."):
                self.gone.append(f"{directory}/{name[4:]}".lstrip("/"))
            elif entry.islnk():
                self.files[path] = self.files[normal(entry.linkname)]
            elif path:
                self.files[path] = self.read(archive, entry, path)

    @staticmethod
    def read(archive, entry, path):
        content = ""
        if entry.isreg():
            text = archive.extractfile(entry).read()
            content = digest(DAYS.sub(rb"\1:", text) if path in DAYS_IN else text)
        link = entry.linkname if entry.issym() else ""
        if entry.ischr() or entry.isblk():
            link = f"{entry.devmajor}:{entry.devminor}"
        attributes = tuple(sorted((name, digest(value.encode("utf-8", "surrogateescape")))
                                  for name, value in entry.pax_headers.items() if name.startswith("SCHILY.xattr.")))
        return File(KINDS[entry.type], entry.mode & 0o7777, (entry.uid, entry.gid), link, content, attributes)

    def onto(self, below):
        """The files of all, where `below` are those of the layers below. What is no directory hides one."""
        hidden = set(self.gone) | {path for path, each in self.files.items() if each.kind != "directory"}
        shown = {path: each for path, each in below.items()
                 if not any(parent in hidden for parent in with_parents(path))
                 and not any(parent in self.opaque for parent in with_parents(path)[1:])}
        return {**shown, **self.files}


def with_parents(path):
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(len(parts), 0, -1)]


class Archive:
    """Images by tag: configuration, and files by path."""

    def __init__(self, path):
        self.images, self.layers = {}, {}
        with tarfile.open(path) as archive:
            for image in json.load(archive.extractfile("manifest.json")):
                config = json.load(archive.extractfile(image["Config"]))
                files = {}
                for name, expected in zip(image["Layers"], config["rootfs"]["diff_ids"], strict=True):
                    files = self.layer(archive, name, expected).onto(files)
                for tag in image["RepoTags"]:
                    self.images[tag.removeprefix("localhost/")] = config["config"], files

    def layer(self, archive, name, expected):
        """Read once, however many images have it."""
        if name not in self.layers:
            content = archive.extractfile(name).read()
            if content[:2] == b"\x1f\x8b":
                content = gzip.decompress(content)
            found = "sha256:" + hashlib.sha256(content).hexdigest()
            if found != expected:
                sys.exit(f"not ok layers: {name} is {found}, not {expected}")
            self.layers[name] = Layer(tarfile.open(fileobj=io.BytesIO(content)))
        return self.layers[name]


def differences(mine, theirs):
    """Of two images: (what, of one, of the other)."""
    (config, files), (other_config, other_files) = mine, theirs
    for field in FIELDS:
        one, other = config.get(field) or None, other_config.get(field) or None
        if one != other:
            yield field, one, other
    for path in sorted(files.keys() | other_files.keys()):
        one, other = files.get(path), other_files.get(path)
        if one != other and not NEVER_THE_SAME.fullmatch(path):
            yield "/" + path, one, other


def told(found):
    return "; ".join(f"{what}: {one}, not {other}" for what, one, other in found[:SHOWN_MAX]) + (
        f"; {len(found) - SHOWN_MAX} more" if len(found) > SHOWN_MAX else "")


def verdict(name, found):
    print(f"not ok {name}: {told(found)}" if found else f"ok {name}", flush=True)
    return not found


def said_before(tag, what):
    return any(re.fullmatch(image, tag) and re.fullmatch(path, what) for image, path, _ in OTHERWISE)


def main():
    ours, theirs = Archive(sys.argv[1]).images, Archive(sys.argv[2]).images
    others = {}
    for path in pathlib.Path(sys.argv[3]).iterdir():
        others |= Archive(path).images
    good = True
    for tag in sys.argv[4:]:
        name = re.sub(r"\W+", "_", tag)
        if any(tag not in images for images in (ours, theirs, others)):
            print(f"not ok {name}_is_compared: not everybody has it")
            good = False
            continue
        found = list(differences(ours[tag], theirs[tag]))
        good &= verdict(f"{name}_has_dockerds_configuration", [each for each in found if each[0][0] != "/"])
        good &= verdict(f"{name}_has_dockerds_files", [each for each in found if each[0][0] == "/"])
        good &= verdict(f"{name}_is_buildahs_too", [
            each for each in differences(others[tag], theirs[tag]) if not said_before(tag, each[0])])
    sys.exit(not good)


main()
