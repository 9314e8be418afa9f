"""For the benchmarks that are scripts: the private host, and Docker from Debian sid inside of it."""
import os
import pathlib
import shutil
import subprocess
import sys
import time

CACHE = pathlib.Path(os.environ.get("NACELLE_CACHE", "/var/cache/nacelle"))
SID = CACHE / "peers/sid"
SID_HERE = pathlib.Path("/tmp/sid")  # in the private host


def run(*words, **options):
    return subprocess.run([str(word) for word in words], check=True, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, timeout=600, **options)


def first_line(*words):
    done = subprocess.run([str(word) for word in words], check=False, text=True, capture_output=True)
    return (done.stdout.splitlines() or ["?"])[0]


def eventually(*words):
    for _ in range(200):
        if subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          check=False).returncode == 0:
            return
        time.sleep(0.1)
    sys.exit(f"{pathlib.Path(sys.argv[0]).name}: {' '.join(words)}: never answered")


def enter_private_host(host):
    """Runs this script again inside of a private host; comes back only there."""
    if os.environ.get("NACELLE_INSIDE") == "1":
        return
    environment = dict(os.environ, NACELLE_INSIDE="1")
    os.execve(host, [host, sys.executable, os.path.abspath(sys.argv[0]), *sys.argv[1:]], environment)


def make_work_directory(name):
    """On disk, as an engine's data is; HOME is there too."""
    work = CACHE / "bench" / f"{name}-{os.getpid()}-{time.monotonic_ns()}"
    work.mkdir(parents=True)
    os.environ["HOME"] = str(work)
    return work


def has_dockerd():
    return (SID / "usr/sbin/dockerd").exists()


def mount_sid(work):
    """The sid tree with its writes in `work`, and the machine's own directories in it."""
    for name in ("upper", "overlay-work"):
        (work / name).mkdir()
    # Not below `work`, which is deleted in the end: mounts of the machine's are in there.
    SID_HERE.mkdir()
    run("mount", "-t", "overlay", "overlay", "-o",
        f"lowerdir={SID},upperdir={work}/upper,workdir={work}/overlay-work", SID_HERE)
    for name in ("proc", "sys", "dev", "run", "var/cache"):
        run("mount", "--rbind", f"/{name}", SID_HERE / name)


def in_sid(*words):
    return ("chroot", str(SID_HERE), *(str(word) for word in words))


def start_server(*words, log=subprocess.DEVNULL):
    environment = dict(os.environ, PATH="/usr/sbin:/usr/bin:/sbin:/bin")
    return subprocess.Popen([str(word) for word in words], env=environment, stdout=log, stderr=log)


def start_dockerd(work, *options, log=subprocess.DEVNULL):
    """Answers when it is there; its socket is DOCKER_SOCKET."""
    server = start_server(*in_sid(
        "/usr/sbin/dockerd", "--data-root", work / "docker", "--exec-root", "/run/docker-bench",
        "--pidfile", "/run/docker-bench.pid", "-H", f"unix://{DOCKER_SOCKET}", "--storage-driver",
        "overlay2", *options), log=log)
    eventually(*docker("version"))
    return server


def docker(*words, socket=None):
    return in_sid("docker", "-H", f"unix://{socket or DOCKER_SOCKET}", *words)


def remove(directory):
    shutil.rmtree(directory, ignore_errors=True)


DOCKER_SOCKET = "/run/docker-bench.sock"
