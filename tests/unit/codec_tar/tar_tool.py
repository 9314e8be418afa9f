#!/usr/bin/env python3
"""Archives as Python's tarfile makes and reads them, for tests.

tar_tool.py make FORMAT FILE   an archive of varied entries
tar_tool.py list FILE          one line an entry, as the test prints them"""
import io
import os
import sys
import tarfile
import zlib

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
TYPES = {tarfile.REGTYPE: 0, tarfile.AREGTYPE: 0, tarfile.CONTTYPE: 0, tarfile.GNUTYPE_SPARSE: 0,
         tarfile.LNKTYPE: 1, tarfile.SYMTYPE: 2, tarfile.CHRTYPE: 3, tarfile.BLKTYPE: 4,
         tarfile.DIRTYPE: 5, tarfile.FIFOTYPE: 6}
XATTR = "SCHILY.xattr."


def make(name, path):
    large = name != "ustar"
    with tarfile.open(path, "w", format=FORMATS[name], encoding="utf-8",
                      errors="surrogateescape") as tar:
        def add(entry, kind=tarfile.REGTYPE, target="", content=b"", **more):
            member = tarfile.TarInfo(entry)
            member.type, member.linkname, member.size = kind, target, len(content)
            member.uid, member.gid, member.mtime, member.mode = 1000, 100, 1700000000, 0o4755
            for key, value in more.items():
                setattr(member, key, value)
            tar.addfile(member, io.BytesIO(content))

        add("etc", tarfile.DIRTYPE)
        add("etc/empty")
        add("etc/file", content=b"x" * 513)
        add("etc/cafe\u0301", content=b"decomposed")
        add("etc/latin-\udce9", content=b"not UTF-8")
        add("p" * 100 + "/" + "n" * 99, content=b"prefix")
        add("link", tarfile.SYMTYPE, "../a/b")
        add("hard", tarfile.LNKTYPE, "etc/file")
        add("null", tarfile.CHRTYPE, devmajor=1, devminor=3)
        add("disk", tarfile.BLKTYPE, devmajor=259, devminor=70000)
        add("pipe", tarfile.FIFOTYPE)
        add("contiguous", tarfile.CONTTYPE, content=b"c")
        if large:
            add("l" * 300, content=b"long")
            add("d" * 300, tarfile.DIRTYPE)
            add("long-link", tarfile.SYMTYPE, "t" * 300)
            add("long-both" * 50, tarfile.LNKTYPE, "t" * 300)
            add("ids", uid=3000000000, gid=4000000000)
            add("old", mtime=-5)
        if name == "pax":
            add("fine", pax_headers={"mtime": "1700000000.123456789"})
            add("early", pax_headers={"mtime": "-2.25"})
            add("xattrs", pax_headers={XATTR + "user.a": "b", XATTR + "user.bytes": "\udcff\n=\0"})
            add("\udce9" * 200)


def time_of(member):
    text = member.pax_headers.get("mtime")
    if text is None:
        return f"{int(member.mtime)}.0"
    whole, _, fraction = text.partition(".")
    seconds, nanoseconds = int(whole), int(fraction.ljust(9, "0")[:9])
    if whole.startswith("-") and nanoseconds:
        seconds, nanoseconds = seconds - 1, 1000000000 - nanoseconds
    return f"{seconds}.{nanoseconds}"


def listing(path):
    with tarfile.open(path, encoding="utf-8", errors="surrogateescape") as tar:
        for member in tar:
            link = member.linkname if member.islnk() or member.issym() else ""
            is_file = TYPES[member.type] == 0
            device = (member.devmajor, member.devminor) if member.isdev() and not member.isfifo() \
                else (0, 0)
            content = tar.extractfile(member).read() if is_file else b""
            xattrs = sorted((os.fsencode(key[len(XATTR):]), value.encode("utf-8", "surrogateescape"))
                            for key, value in member.pax_headers.items() if key.startswith(XATTR))
            print(TYPES[member.type], os.fsencode(member.name).hex(), os.fsencode(link).hex(),
                  len(content), oct(member.mode & 0o7777)[2:], member.uid, member.gid,
                  time_of(member), device[0], device[1], zlib.crc32(content),
                  ",".join(f"{key.hex()}={value.hex()}" for key, value in xattrs), sep="|")


if sys.argv[1] == "make":
    make(sys.argv[2], sys.argv[3])
else:
    listing(sys.argv[2])
