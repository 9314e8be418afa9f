#!/usr/bin/env python3
"""Writes small archives of every format into the directory named: seeds for fuzz_tar_reader.

Sums begin with '#', which asks the fuzzer's target to put in the right one after each mutation."""
import io
import pathlib
import sys
import tarfile

DIRECTORY = pathlib.Path(sys.argv[1])


def archive(tar_format):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tar_format) as tar:
        long = tar_format != tarfile.USTAR_FORMAT
        for name, kind, target, size in [
                ("d", tarfile.DIRTYPE, "", 0),
                ("d/f", tarfile.REGTYPE, "", 600),
                ("n" * 150 if long else "n", tarfile.REGTYPE, "", 3),
                ("s", tarfile.SYMTYPE, "t" * 150 if long else "t", 0),
                ("h", tarfile.LNKTYPE, "d/f", 0),
                ("c", tarfile.CHRTYPE, "", 0),
        ]:
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.size = kind, target, size
            if tar_format == tarfile.PAX_FORMAT:
                member.pax_headers = {"SCHILY.xattr.user.a": "b", "mtime": "-1.5"}
            tar.addfile(member, io.BytesIO(b"x" * size))
    return out.getvalue()


def sparse(records, content):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo("sparse")
        member.pax_headers, member.size = records, len(content)
        tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def old_sparse():
    header = bytearray(tarfile.TarInfo("old").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"00000000002\0"
    header[156:157] = b"S"
    header[386:410] = b"00000000000\000000000000001\0"[:12] + b"00000000001\0"
    header[482:483] = b"\1"
    header[483:495] = b"00000001000\0"
    more = (b"00000000100\0" + b"00000000001\0").ljust(512, b"\0")
    return bytes(header) + more + b"xy".ljust(512, b"\0")


SEEDS = {
    "ustar": archive(tarfile.USTAR_FORMAT),
    "gnu": archive(tarfile.GNU_FORMAT),
    "pax": archive(tarfile.PAX_FORMAT),
    "sparse_0_1": sparse({"GNU.sparse.size": "100", "GNU.sparse.numblocks": "2",
                          "GNU.sparse.map": "1,1,20,2"}, b"abc"),
    "sparse_1_0": sparse({"GNU.sparse.major": "1", "GNU.sparse.minor": "0",
                          "GNU.sparse.realsize": "100"}, b"1\n9\n2\n".ljust(512, b"\0") + b"ab"),
    "old_sparse": old_sparse(),
}
DIRECTORY.mkdir(parents=True, exist_ok=True)
for seed, content in SEEDS.items():
    marked = bytearray(content.rstrip(b"\0") + bytes(-len(content.rstrip(b"\0")) % 512 + 1024))
    for block in range(0, len(marked), 512):
        if marked[block + 257:block + 262] == b"ustar":
            marked[block + 148] = ord("#")
    (DIRECTORY / seed).write_bytes(marked)
