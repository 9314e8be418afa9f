#!/usr/bin/env python3
"""Questions and answers of the domain name system, by hand, for engine_names.

usage: names.py ask QUESTION...          NAME/TYPE[/OPTIONS]: A, AAAA, PTR, MX or a number; options: t by
                                         TCP, e with EDNS, u:N EDNS with that size, n no recursion
       names.py raw HEX                  whatever comes back, as hexadecimal digits
       names.py serve ADDRESS LOG        a name server; a line `NAME SOURCE` per question into LOG
       names.py hold TYPE ADDRESS PORT   binds without any option, says `held`, and waits
       names.py speed COUNT NAME         so many questions one after the other: how many were answered
       names.py flood NAME               a thousand questions at once, by UDP, of names below NAME
An answer is one line: the question, the code, flags (tc), addresses in their order.
"""
import os
import random
import socket
import struct
import sys
import threading

TYPES = {"A": 1, "PTR": 12, "MX": 15, "AAAA": 28}
CODES = {0: "ok", 1: "formerr", 2: "servfail", 3: "nxdomain", 4: "notimp", 5: "refused"}
SERVER = ("127.0.0.11", 53)


def wire(name):
    return b"".join(bytes([len(each)]) + each.encode() for each in name.split(".") if each) + b"\0"


def read_name(message, at):
    labels, end = [], None
    while message[at]:
        if message[at] >= 0xc0:
            end = end or at + 2
            at = struct.unpack(">H", message[at:at + 2])[0] & 0x3fff
            continue
        labels.append(message[at + 1:at + 1 + message[at]].decode())
        at += 1 + message[at]
    return ".".join(labels), end or at + 1


def query(name, kind, edns=0, flags=0x100):
    number = random.randrange(65536)
    message = struct.pack(">HHHHHH", number, flags, 1, 0, 0, 1 if edns else 0) + wire(name)
    message += struct.pack(">HH", kind, 1)
    return message + (struct.pack(">xHHIH", 41, edns, 0, 0) if edns else b"")


def exchange(message, tcp=False, timeout=9):
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as s:
        s.settimeout(timeout)
        s.connect(SERVER)
        if not tcp:
            s.send(message)
            return s.recv(65535)
        s.sendall(struct.pack(">H", len(message)) + message)
        stream = s.makefile("rb")
        return stream.read(struct.unpack(">H", stream.read(2))[0])


def describe(reply, message):
    number, flags, questions, answers, _, extra = struct.unpack(">HHHHHH", reply[:12])
    assert number == struct.unpack(">H", message[:2])[0] and flags & 0x8000
    words = [CODES.get(flags & 15, str(flags & 15))] + (["tc"] if flags & 0x200 else [])
    words += ["edns"] if extra else []
    at = 12
    for _ in range(questions):
        at = read_name(reply, at)[1] + 4
    for _ in range(answers):
        at = read_name(reply, at)[1]
        kind, _, ttl, length = struct.unpack(">HHIH", reply[at:at + 10])
        data = reply[at + 10:at + 10 + length]
        if kind == 1:
            words.append(socket.inet_ntoa(data))
        elif kind == 28:
            words.append(socket.inet_ntop(socket.AF_INET6, data))
        elif kind == 12:
            words.append(read_name(reply, at + 10)[0])
        words.append(f"ttl={ttl}")
        at += 10 + length
    return " ".join(dict.fromkeys(words))


def ask(question):
    name, kind, *options = question.split("/")
    edns = next((int(each[2:]) for each in options if each.startswith("u:")), 0)
    edns = edns or (1232 if "e" in options else 0)
    message = query(name, TYPES.get(kind) or int(kind), edns, 0 if "n" in options else 0x100)
    try:
        print(question, describe(exchange(message, "t" in options), message), flush=True)
    except (OSError, struct.error) as error:
        print(question, f"nothing: {error}", flush=True)


def records(name, kind):
    """Code and addresses of what the server knows."""
    first = name.split(".")[0]
    if first == "big":
        return 0, [f"10.9.{each // 256}.{each % 256}" for each in range(100)]
    if first in ("fail", "refuse"):
        return (2 if first == "fail" else 5), []
    if not name.endswith(".example"):
        return 3, []
    return 0, ["10.9.9.9"] if kind == 1 else []


def respond(message, by_tcp):
    name, at = read_name(message, 12)
    kind = struct.unpack(">H", message[at:at + 2])[0]
    code, addresses = records(name, kind)
    question = message[12:at + 4]
    head = lambda flags, count: message[:2] + struct.pack(">HHHHH", flags, 1, count, 0, 0)
    whole = head(0x8180 | code, len(addresses)) + question + b"".join(
        struct.pack(">HHHIH", 0xc00c, 1, 1, 60, 4) + socket.inet_aton(each) for each in addresses)
    if len(whole) > 512 and not by_tcp:
        return name, head(0x8380, 0) + question
    return name, whole


def serve(address, log):
    def note(name, source):
        with open(log, "a") as file:
            file.write(f"{name} {source[0]} {source[1]}\n")

    def streams():
        listener = socket.create_server((address, 53))
        while True:
            connection, source = listener.accept()
            stream = connection.makefile("rwb")
            name, whole = respond(stream.read(struct.unpack(">H", stream.read(2))[0]), True)
            note(name + "/tcp", source)
            stream.write(struct.pack(">H", len(whole)) + whole)
            stream.flush()
            connection.close()

    threading.Thread(target=streams, daemon=True).start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind((address, 53))
        while True:
            message, source = s.recvfrom(65535)
            name, whole = respond(message, False)
            note(name, source)
            if name.startswith("slow"):
                continue
            if name.startswith("liar"):
                # Not the id that was asked with; not the question; no message; a pointer to itself.
                s.sendto(bytes([message[0] ^ 255]) + whole[1:], source)
                s.sendto(whole.replace(b"liar", b"lies"), source)
                s.sendto(whole[:-3], source)
                s.sendto(whole[:2] + struct.pack(">HHHHH", 0x8180, 1, 1, 0, 0) + whole[12:-16] +
                         struct.pack(">H", 0xc000 | len(whole) - 16) + b"\0" * 10, source)
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                    other.bind((address, 0))
                    other.sendto(whole.replace(b"\x0a\x09\x09\x09", b"\x06\x06\x06\x06"), source)
            s.sendto(whole, source)


def main(action, *words):
    if action == "ask":
        for each in words:
            ask(each)
    elif action == "raw":
        try:
            print(exchange(bytes.fromhex(words[0]), timeout=1).hex())
        except OSError as error:
            print(f"nothing: {error}")
    elif action == "serve":
        serve(*words)
    elif action == "hold":
        s = socket.socket(socket.AF_INET,
                          socket.SOCK_STREAM if words[0] == "tcp" else socket.SOCK_DGRAM)
        s.bind((words[1], int(words[2])))
        print("held", flush=True)
        sys.stdin.read()
    elif action == "speed":
        answered = 0
        for _ in range(int(words[0])):
            message = query(words[1], 1)
            answered += describe(exchange(message), message).startswith("ok")
        print(f"answered {answered}")
    elif action == "flood":
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.connect(SERVER)
            for each in range(1000):
                try:
                    s.send(query(f"{each}.{words[0]}", 1))
                except OSError:
                    pass
    else:
        sys.exit(__doc__)


main(*sys.argv[1:])
