#!/usr/bin/env python3
"""Seeds for fuzz_decompress in the directory named: four bytes that choose (see there), a stream."""
import bz2
import lzma
import os
import subprocess
import sys
import zlib

TEXT = b"".join(b"%d bottles of %d kinds, " % (n, n * n) for n in range(400))
NOISE = bytes((n * n * 31 + n // 7) & 255 for n in range(5000))


def deflate(data, level, bits, strategy=zlib.Z_DEFAULT_STRATEGY):
    made = zlib.compressobj(level, zlib.DEFLATED, bits, 8, strategy)
    return made.compress(data) + made.flush()


def seeds():
    for level in (0, 1, 6, 9):
        for name, data in (("text", TEXT), ("noise", NOISE), ("empty", b"")):
            yield f"gzip-{name}-{level}", 0, deflate(data, level, 31)
            yield f"raw-{name}-{level}", 2, deflate(data, level, -15)
    yield "raw-fixed", 2, deflate(TEXT, 9, -15, zlib.Z_FIXED)
    yield "raw-huffman", 2, deflate(NOISE, 9, -15, zlib.Z_HUFFMAN_ONLY)
    small = deflate(b"x", 6, 31)
    yield "gzip-members", 0, small + small + bytes(100)
    fields = b"\x1f\x8b\x08\x1c" + bytes(4) + b"\x02\x03" + b"\x03\0abc" + b"name\0" + b"comment\0"
    yield "gzip-fields", 0, fields + small[10:]
    for level in ("-1", "-19"):
        frame = subprocess.run(["zstd", level, "-c", "--check"], input=TEXT, capture_output=True,
                               check=True).stdout
        yield "zstd" + level, 1, frame
        yield "zstd-frames" + level, 1, b"\x53\x2a\x4d\x18\x02\0\0\0ab" + frame + frame + bytes(9)
    for name, data in (("text", TEXT), ("noise", NOISE), ("empty", b"")):
        yield f"bzip2-{name}", 3, bz2.compress(data, 1)
        yield f"xz-{name}", 4, lzma.compress(data, preset=0)
    yield "bzip2-streams", 3, bz2.compress(b"x") + bz2.compress(TEXT) + bytes(9)
    yield "xz-streams", 4, lzma.compress(b"x") + bytes(8) + lzma.compress(TEXT, check=lzma.CHECK_SHA256)
    yield "xz-filters", 4, lzma.compress(NOISE, filters=[{"id": lzma.FILTER_DELTA, "dist": 3},
                                                         {"id": lzma.FILTER_LZMA2, "preset": 0}])


for name, mode, stream in seeds():
    for step, choice in (("whole", b"\xff\xff\xff"), ("cut", b"\x02\x06\x00")):
        with open(os.path.join(sys.argv[1], f"{name}-{step}"), "wb") as file:
            file.write(bytes([mode]) + choice + stream)
