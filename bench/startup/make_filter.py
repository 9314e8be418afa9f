#!/usr/bin/env python3
"""Compiles the seccomp section of a config.json into a C header of BPF instructions.

usage: make_filter.py CONFIG HEADER

libseccomp does the work, at optimise level 2 (a balanced tree), when the floor is built: loading the
filter belongs to a start, compiling it does not. Names this libseccomp does not know are left out,
as every runtime leaves them out.
"""
import ctypes
import json
import os
import struct
import sys
import tempfile

ACTIONS = {"SCMP_ACT_ALLOW": 0x7FFF0000, "SCMP_ACT_ERRNO": 0x00050000}
ARCHITECTURES = {
    "SCMP_ARCH_X86_64": 0xC000003E,
    "SCMP_ARCH_X86": 0x40000003,
    "SCMP_ARCH_X32": 0x4000003E,
}
COMPARISONS = {
    "SCMP_CMP_NE": 1, "SCMP_CMP_LT": 2, "SCMP_CMP_LE": 3, "SCMP_CMP_EQ": 4,
    "SCMP_CMP_GE": 5, "SCMP_CMP_GT": 6, "SCMP_CMP_MASKED_EQ": 7,
}
ATTRIBUTE_OPTIMIZE = 8
UNKNOWN_CALL = -1


class Comparison(ctypes.Structure):
    _fields_ = [("index", ctypes.c_uint), ("op", ctypes.c_int),
                ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


def action_of(rule, errno_key, fallback):
    action = ACTIONS[rule]
    return action | (fallback if errno_key is None else errno_key) if action == 0x00050000 else action


def check(result, what):
    if result < 0 and result != -17:  # an architecture that is already there
        sys.exit(f"make_filter.py: {what}: {os.strerror(-result)}")


def compile_filter(profile):
    lib = ctypes.CDLL("libseccomp.so.2")
    lib.seccomp_init.restype = ctypes.c_void_p
    lib.seccomp_init.argtypes = [ctypes.c_uint32]
    for name in ("seccomp_arch_add", "seccomp_attr_set", "seccomp_rule_add_array",
                 "seccomp_export_bpf"):
        getattr(lib, name).restype = ctypes.c_int
    default = action_of(profile["defaultAction"], profile.get("defaultErrnoRet"), 1)
    context = ctypes.c_void_p(lib.seccomp_init(ctypes.c_uint32(default)))
    for architecture in profile["architectures"]:
        check(lib.seccomp_arch_add(context, ctypes.c_uint32(ARCHITECTURES[architecture])),
              architecture)
    check(lib.seccomp_attr_set(context, ATTRIBUTE_OPTIMIZE, ctypes.c_uint32(2)), "optimise")
    for rule in profile["syscalls"]:
        action = action_of(rule["action"], rule.get("errnoRet"), 1)
        if action == default:
            continue
        wanted = rule.get("args", [])
        comparisons = (Comparison * max(1, len(wanted)))()
        for at, argument in enumerate(wanted):
            masked = argument["op"] == "SCMP_CMP_MASKED_EQ"
            comparisons[at] = Comparison(argument["index"], COMPARISONS[argument["op"]],
                                         argument["value"],
                                         argument.get("valueTwo", 0) if masked else 0)
        for name in rule["names"]:
            number = lib.seccomp_syscall_resolve_name(name.encode())
            if number == UNKNOWN_CALL:
                continue
            check(lib.seccomp_rule_add_array(context, ctypes.c_uint32(action), number,
                                             len(wanted), comparisons), f"rule for {name}")
    with tempfile.TemporaryFile() as out:
        check(lib.seccomp_export_bpf(context, out.fileno()), "export")
        out.seek(0)
        return out.read()


def main():
    config, header = sys.argv[1:]
    with open(config, encoding="utf-8") as file:
        program = compile_filter(json.load(file)["linux"]["seccomp"])
    with open(header, "w", encoding="utf-8") as file:
        file.write("// Made by make_filter.py: Docker's seccomp profile as one BPF program.\n")
        file.write("static const struct sock_filter floor_filter[] = {\n")
        for code, jump_true, jump_false, k in struct.iter_unpack("<HBBI", program):
            file.write(f"  {{{code:#x}, {jump_true}, {jump_false}, {k:#x}}},\n")
        file.write("};\n")


main()
