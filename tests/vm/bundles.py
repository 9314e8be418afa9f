#!/usr/bin/env python3
"""Writes the bundles of the virtual machine: DIRECTORY/NAME/config.json, all over one root.

Usage: bundles.py DIRECTORY

@MAJOR@ and @MINOR@ stand for the block device, whose number is known only inside the machine.
"""
import json
import pathlib
import re
import sys

ROOT = "/vm/rootfs"
CAPABILITIES = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL", "CAP_MKNOD",
                "CAP_SETGID", "CAP_SETUID", "CAP_SYS_CHROOT"]
DEVICE_DENIAL = {"allow": False, "access": "rwm"}
USUAL_DEVICES = [{"allow": True, "type": "c", "major": 1, "minor": minor, "access": "rwm"}
                 for minor in (3, 5, 7, 8, 9)]


def base(name, *words):
    quiet = ["nosuid", "noexec", "nodev"]
    return {
        "ociVersion": "1.0.2",
        "hostname": name,
        "root": {"path": ROOT},
        "process": {
            "cwd": "/", "args": ["/guest", *words], "env": ["PATH=/bin"],
            "user": {"uid": 0, "gid": 0},
            "capabilities": {which: CAPABILITIES for which in ("bounding", "effective", "permitted")},
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": quiet},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "mode=755", "size=1m"]},
        ],
        "linux": {
            "cgroupsPath": f"/vm/{name}",
            "namespaces": [{"type": kind}
                           for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup")],
            "resources": {},
        },
    }


def limited(name, resources, *words):
    config = base(name, *words)
    config["linux"]["resources"] = resources
    return config


def with_block_device(name, resources, *words):
    allowed = {"allow": True, "type": "b", "major": "@MAJOR@", "minor": "@MINOR@", "access": "rwm"}
    config = limited(name, {**resources, "devices": [DEVICE_DENIAL, allowed]}, *words)
    config["linux"]["devices"] = [{"path": "/dev/block", "type": "b", "major": "@MAJOR@",
                                   "minor": "@MINOR@", "fileMode": 0o666, "uid": 0, "gid": 0}]
    return config


def rate(bytes_per_second):
    return {"blockIO": {"throttleWriteBpsDevice": [
        {"major": "@MAJOR@", "minor": "@MINOR@", "rate": bytes_per_second}]}}


MEBIBYTE = 1 << 20


def bundles():
    yield base("hello", "hostname", "exit", "42")
    yield base("waits", "wait")
    yield limited("memory", {"memory": {"limit": 16 * MEBIBYTE, "swap": 16 * MEBIBYTE}},
                  "eat", str(64 * MEBIBYTE))
    yield limited("memory-exec", {"memory": {"limit": 16 * MEBIBYTE, "swap": 16 * MEBIBYTE}}, "wait")
    yield limited("memory-enough", {"memory": {"limit": 32 * MEBIBYTE}}, "eat", str(8 * MEBIBYTE),
                  "exit", "5")
    yield limited("swap", {"memory": {"limit": 64 * MEBIBYTE, "swap": 96 * MEBIBYTE,
                                      "reservation": 48 * MEBIBYTE}}, "wait")
    yield limited("tiny", {"memory": {"limit": 512 * 1024}}, "exit", "7")
    yield limited("cpu", {"cpu": {"quota": 20000, "period": 100000}}, "spin", "300", "wait")
    yield limited("cpuset", {"cpu": {"cpus": "0", "mems": "0"}}, "status", "Cpus_allowed_list", "wait")
    yield limited("pids", {"pids": {"limit": 8}}, "fork", "40")
    yield limited("pids-exec", {"pids": {"limit": 8}}, "wait")
    yield with_block_device("io", rate(MEBIBYTE), "direct", "/dev/block", str(2 * MEBIBYTE))
    yield with_block_device("io-free", {}, "direct", "/dev/block", str(2 * MEBIBYTE))
    yield limited("hugetlb", {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MEBIBYTE}]}, "wait")
    yield limited("unified", {"unified": {"cpu.weight": "77", "memory.high": str(24 * MEBIBYTE)}},
                  "wait")
    # Whether an unlisted node may be made is the runtime's choice; opening it must fail.
    words = ["open", "/dev/null", "rw", "mknod", "/dev/disk", "b", "@MAJOR@", "@MINOR@",
             "open", "/dev/disk", "r"]
    yield limited("devices", {"devices": [DEVICE_DENIAL, *USUAL_DEVICES]}, *words)
    yield limited("devices-all", {"devices": [{"allow": True, "access": "rwm"}]}, *words)
    yield base("unlimited", "fork", "40")

    seccomp = base("seccomp", "mkdir", "/tmp/x", "syscall", "39")
    seccomp["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 105}]}
    yield seccomp

    family = base("family")
    family["process"]["args"] = ["/bin/sh", "-c", "sleep 600 & sleep 600 & trap '' TERM; wait; wait"]
    yield family

    overlay = base("overlay", "cat", "/over/name")
    overlay["mounts"].append({"destination": "/over", "type": "overlay", "source": "overlay",
                              "options": ["lowerdir=/vm/lower", "upperdir=/vm/over/upper",
                                          "workdir=/vm/over/work"]})
    yield overlay

    wrong = limited("wrong", {"unified": {"memory.high": "not a number"}}, "exit", "0")
    yield wrong


def main():
    directory = pathlib.Path(sys.argv[1])
    for config in bundles():
        place = directory / config["hostname"]
        place.mkdir(parents=True)
        text = json.dumps(config, indent=1)
        # Numbers, once the machine has put them in; in arguments they stay text.
        text = re.sub(r'("(?:major|minor)": )"(@[A-Z]+@)"', r"\1\2", text)
        (place / "config.json").write_text(text)


if __name__ == "__main__":
    main()
