#!/usr/bin/env python3
"""Unpacks one Debian layer of some 300 MB with nacelle-worker and its peers, round by round.

usage: unpack.py [--smoke] [--rounds N] [--strict] UNPACK_LAYER NACELLE_WORKER

Goal: what a layer costs from its compressed blob to a directory, ours including syncfs, which no peer
does (tar is also timed with it). Method: everything on the same disk, each round all of them, medians
and their ratios. The layer is made once of tools/rootfs's Debian and kept in /var/cache/nacelle/bench/unpack.
"""
import argparse
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOTFS = pathlib.Path("/var/cache/nacelle/rootfs/debian")
CACHE = pathlib.Path("/var/cache/nacelle/bench/unpack")
TARGETS = {"tar+pigz": 1.0, "umoci": 0.6, "podman load": 0.7}
PEAK_KIB_MAX = 64 * 1024


def call(*command, **options):
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL, **options)


def make_layer():
    """The layer as gzip in an OCI layout (and its archive), and as zstd."""
    if (CACHE / "complete").exists():
        return
    shutil.rmtree(CACHE, ignore_errors=True)
    CACHE.mkdir(parents=True)
    tar = CACHE / "layer.tar"
    plain = ["--format=pax", "--xattrs", "--xattrs-include=*", "--numeric-owner",
             "--pax-option=delete=atime,delete=ctime"]
    call("tar", *plain, "-cf", tar, "-C", ROOTFS, ".")
    # A second copy comes too late for any window of a compressor to notice.
    call("tar", *plain, "-rf", tar, "-C", ROOTFS, "--transform", r"s,^\./usr,./opt/usr,", "./usr")
    call("umoci", "init", "--layout", CACHE / "layout")
    call("umoci", "new", "--image", f"{CACHE}/layout:bench")
    call("umoci", "raw", "add-layer", "--image", f"{CACHE}/layout:bench", tar)
    blobs = (CACHE / "layout/blobs/sha256").iterdir()
    blob = max(blobs, key=lambda path: path.stat().st_size)
    os.link(blob, CACHE / "layer.tar.gz")
    call("zstd", "-q", "-3", tar, "-o", CACHE / "layer.tar.zst")
    call("tar", "-cf", CACHE / "image.tar", "-C", CACHE / "layout", ".")
    (CACHE / "complete").touch()


def timed(command, environment=None):
    begun = time.monotonic()
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                          env={**os.environ, **(environment or {})})
    took = time.monotonic() - begun
    if done.returncode != 0:
        raise RuntimeError(f"{command}: {done.stderr.strip()[-400:]}")
    return took, done.stdout


class Bench:
    def __init__(self, arguments, work):
        self.arguments, self.work = arguments, work
        self.peak_kib = 0

    def fresh(self, name):
        path = self.work / name
        if path.exists():
            call("rm", "-rf", path)
        path.mkdir()
        call("sync")
        return path

    def ours(self, blob):
        target = self.fresh("ours")
        took, out = timed([self.arguments.unpack_layer, blob, target],
                          {"NACELLE_WORKER": self.arguments.worker})
        self.peak_kib = max(self.peak_kib, int(out.split()[1]))
        return took

    def tar(self, blob, program, sync=False):
        target = self.fresh("tar")
        quoted = f"tar -I {program} --xattrs --xattrs-include='*' --numeric-owner -xpf {blob} -C {target}"
        return timed(["sh", "-c", quoted + (f" && sync -f {target}" if sync else "")])[0]

    def umoci(self):
        target = self.fresh("umoci")
        return timed(["umoci", "unpack", "--image", f"{CACHE}/layout:bench", target / "bundle"])[0]

    def podman(self):
        target = self.fresh("p")  # podman refuses a run root of more than 50 bytes
        return timed(["unshare", "-m", "-n", "podman", "--root", target / "root", "--runroot",
                      target / "run", "--storage-driver", "overlay", "load", "-q", "-i",
                      CACHE / "image.tar"])[0]


def measure(bench, contenders, rounds):
    """Medians by name; who cannot run here is named and left out."""
    times = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            if times[name] is None:
                continue
            try:
                times[name].append(run())
            except (RuntimeError, OSError) as error:
                print(f"{name}: left out: {error}")
                times[name] = None
    return {name: statistics.median(all_of) for name, all_of in times.items() if all_of}


def report(title, medians, strict):
    missed = False
    print(f"\n{title}")
    ours = medians["nacelle"]
    for name, median in medians.items():
        line = f"  {name:14} {median:7.3f} s"
        if name != "nacelle":
            line += f"   ours / it = {ours / median:.2f}"
            if name in TARGETS:
                good = ours / median <= TARGETS[name]
                missed |= not good
                line += f"   (at most {TARGETS[name]}: {'yes' if good else 'NO'})"
        print(line)
    return missed and strict


def smoke(arguments, work):
    """A layer of a few files: it arrives, with both digests found."""
    source = work / "source"
    source.mkdir()
    for i in range(20):
        (source / f"f{i}").write_bytes(os.urandom(10_000))
    call("tar", "-czf", work / "layer.tar.gz", "-C", source, ".")
    bench = Bench(arguments, work)
    took = bench.ours(work / "layer.tar.gz")
    call("diff", "-r", source, work / "ours")
    print(f"{took * 1000:.1f} ms, {bench.peak_kib} KiB")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--strict", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("unpack_layer")
    parser.add_argument("worker")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        print("needs root")
        return 0 if arguments.smoke else 1
    # On the disk that holds the peers' storage too: /tmp may be memory.
    CACHE.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE.parent, prefix="u-") as directory:
        work = pathlib.Path(directory)
        if arguments.smoke:
            smoke(arguments, work)
            return 0
        make_layer()
        bench = Bench(arguments, work)
        gzip, zstd = CACHE / "layer.tar.gz", CACHE / "layer.tar.zst"
        size = (CACHE / "layer.tar").stat().st_size / 1e6
        print(f"{size:.0f} MB of tar, load average {os.getloadavg()[0]:.1f}, {arguments.rounds} rounds")
        missed = report(f"gzip, {gzip.stat().st_size / 1e6:.0f} MB", measure(bench, {
            "nacelle": lambda: bench.ours(gzip), "tar+pigz": lambda: bench.tar(gzip, "pigz"),
            "tar+pigz+sync": lambda: bench.tar(gzip, "pigz", True), "umoci": bench.umoci,
            "podman load": bench.podman}, arguments.rounds), arguments.strict)
        report(f"zstd, {zstd.stat().st_size / 1e6:.0f} MB", measure(bench, {
            "nacelle": lambda: bench.ours(zstd), "tar+zstd": lambda: bench.tar(zstd, "zstd"),
            "tar+zstd+sync": lambda: bench.tar(zstd, "zstd", True)}, arguments.rounds), False)
        good = bench.peak_kib <= PEAK_KIB_MAX
        print(f"\nour peak resident memory: {bench.peak_kib} KiB (at most {PEAK_KIB_MAX}: "
              f"{'yes' if good else 'NO'})")
        call("rm", "-rf", *work.iterdir())
        return 1 if missed or (arguments.strict and not good) else 0


if __name__ == "__main__":
    sys.exit(main())
