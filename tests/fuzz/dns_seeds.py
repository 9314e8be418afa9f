#!/usr/bin/env python3
"""Questions, and questions with answers, as fuzz_dns reads them: usage: dns_seeds.py DIRECTORY"""
import pathlib
import struct
import sys


def name(text):
    return b"".join(bytes([len(each)]) + each.encode() for each in text.split(".") if each) + b"\0"


def message(flags, questions, answers=(), extras=()):
    return struct.pack(">HHHHHH", 0x1234, flags, len(questions), len(answers), 0,
                       len(extras)) + b"".join([*questions, *answers, *extras])


def question(text, kind=1):
    return name(text) + struct.pack(">HH", kind, 1)


def record(owner, kind, data):
    return owner + struct.pack(">HHIH", kind, 1, 60, len(data)) + data


OPT = b"\0" + struct.pack(">HHIH", 41, 1232, 0x8000, 0)
directory = pathlib.Path(sys.argv[1])
directory.mkdir(parents=True, exist_ok=True)
seeds = {
    "ours": (message(0x100, [question("C1.net")]), b""),
    "many": (message(0x100, [question("all")]), b""),
    "six": (message(0x100, [question("all", 28)], extras=[OPT]), b""),
    "link": (message(0x100, [question("db")]), b""),
    "address": (message(0x100, [question("7.0.0.10.in-addr.arpa", 12)]), b""),
    "update": (message(0x2800, [question("a")]), b""),
    "outside": (message(0x100, [question("www.example")], extras=[OPT]),
                message(0x8180, [question("www.example")],
                        [record(b"\xc0\x0c", 5, name("w.example")),
                         record(name("w.example"), 1, b"\x0a\x09\x09\x09")], [OPT])),
    "long": (message(0x100, [question("t.example", 16)]),
             message(0x8180, [question("t.example", 16)],
                     [record(b"\xc0\x0c", 16, b"\xff" + b"x" * 255)] * 3)),
}
for each, (asked, answered) in seeds.items():
    (directory / each).write_bytes(bytes([len(asked)]) + asked + answered)
