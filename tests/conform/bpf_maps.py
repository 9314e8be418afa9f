"""What the programs on containers' links know (bpf/abi/link.h), read from where core has pinned it.

usage: bpf_maps.py link DIRECTORY ADDRESS             the link of that address
       bpf_maps.py rows DIRECTORY                     how many links there are
       bpf_maps.py drops DIRECTORY ADDRESS REASON     packets of that link, by the reason's word
       bpf_maps.py counters DIRECTORY ADDRESS         sent bytes, packets, received bytes, packets
       bpf_maps.py forget DIRECTORY ADDRESS           takes the row of that link away
"""
import ctypes
import pathlib
import re
import socket
import struct
import sys

ABI = pathlib.Path(__file__).resolve().parents[2] / "bpf/abi/link.h"
SYS_BPF = 321
LOOKUP, DELETE, NEXT, OBJ_GET = 1, 3, 4, 7
LINK_BYTES, COUNTERS_BYTES, DROPS = 80, 32, 32
libc = ctypes.CDLL(None, use_errno=True)


def bpf(command, attr):
    attr = ctypes.create_string_buffer(attr.ljust(120, b"\0"), 120)
    return libc.syscall(SYS_BPF, command, attr, 120)


def address_of(buffer):
    return ctypes.addressof(buffer)


def open_map(directory, name):
    path = ctypes.create_string_buffer(f"{directory}/{name}".encode())
    descriptor = bpf(OBJ_GET, struct.pack("=Q", address_of(path)))
    if descriptor < 0:
        sys.exit(f"{name}: is not pinned in {directory}")
    return descriptor


def look(descriptor, key, size):
    key, value = ctypes.create_string_buffer(key, len(key)), ctypes.create_string_buffer(size)
    if bpf(LOOKUP, struct.pack("=I4xQQ", descriptor, address_of(key), address_of(value))) != 0:
        return None
    return value.raw


def keys(descriptor):
    before, size = None, 4
    while True:
        found = ctypes.create_string_buffer(size)
        key = ctypes.create_string_buffer(before, size) if before is not None else None
        where = address_of(key) if key is not None else 0
        if bpf(NEXT, struct.pack("=I4xQQ", descriptor, where, address_of(found))) != 0:
            return
        before = found.raw
        yield before


def link_of(directory, address):
    if ":" in address:
        key = socket.inet_pton(socket.AF_INET6, address)
    else:
        key = bytes(10) + b"\xff\xff" + socket.inet_aton(address)
    row = look(open_map(directory, "endpoints"), key, 4)
    if row is None:
        sys.exit(f"{address}: is nobody's")
    return row


def possible_cpus():
    return int(re.split("[-,]", pathlib.Path("/sys/devices/system/cpu/possible").read_text())[-1]) + 1


def main():
    verb, directory = sys.argv[1:3]
    if verb == "rows":
        print(len(list(keys(open_map(directory, "links")))))
        return
    link = link_of(directory, sys.argv[3])
    if verb == "link":
        print(*struct.unpack("=I", link))
    elif verb == "drops":
        words = dict((word, int(number)) for number, word in re.findall(r'X\((\d+), \w+, "([a-z0-9-]+)"', ABI.read_text()))
        row = look(open_map(directory, "drops"), link, 8 * DROPS)
        print(struct.unpack(f"={DROPS}Q", row)[words[sys.argv[4]]])
    elif verb == "counters":
        row = look(open_map(directory, "counters"), link, COUNTERS_BYTES * possible_cpus())
        each = struct.unpack(f"={len(row) // 8}Q", row)
        print(*(sum(each[at::4]) for at in range(4)))
    elif verb == "forget":
        key = ctypes.create_string_buffer(link, 4)
        sys.exit(bpf(DELETE, struct.pack("=I4xQ", open_map(directory, "links"), address_of(key))))


main()
