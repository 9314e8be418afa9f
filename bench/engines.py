"""For the benchmarks of Docker's API: the engines that answer it, each with its own data, in a private
host."""
import http.client
import json
import os
import pathlib
import signal
import socket
import time

from peers import DOCKER_SOCKET, start_dockerd, start_server


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("d", timeout=120)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Engine:
    """Something that answers Docker's API on `socket`."""

    def __init__(self, name, path):
        self.name, self.socket, self.server = name, path, None

    def call(self, method, target, body=None, raw=None):
        connection = UnixConnection(self.socket)
        content = raw if raw is not None else json.dumps(body) if body is not None else None
        connection.request(method, target, content, {"Content-Type": "application/json"})
        reply = connection.getresponse()
        said = reply.read()
        connection.close()
        if reply.status >= 400:
            raise RuntimeError(f"{self.name}: {method} {target}: {reply.status} {said.decode()}")
        return said

    def import_image(self, archive, name="busybox"):
        with open(archive, "rb") as content:
            self.call("POST", f"/images/create?fromSrc=-&repo={name}&tag=latest", raw=content)

    def start_container(self, command, network="none", **host):
        body = {"Image": "busybox", "Cmd": command, "HostConfig": {"NetworkMode": network, **host}}
        name = json.loads(self.call("POST", "/containers/create", body))["Id"]
        self.call("POST", f"/containers/{name}/start")
        return name

    def remove_container(self, name):
        self.call("DELETE", f"/containers/{name}?force=1")

    def stop(self):
        if self.server is not None:
            self.server.send_signal(signal.SIGTERM)
            self.server.wait(timeout=60)
            self.server = None


class Nacelled(Engine):
    """One with its own data, its own nacelle-core and a subnet of its own."""

    subnets = iter(range(1, 200))

    def __init__(self, programs, work, name):
        super().__init__("nacelled", f"/run/nacelle-{name}/api.sock")
        self.programs, self.data, self.log_path = programs, work / f"data-{name}", work / f"{name}.log"
        self.run_directory = pathlib.Path(f"/run/nacelle-{name}")
        self.options = ("--data-root", self.data, "--exec-root", self.run_directory, "--host",
                        f"unix://{self.socket}", "--cgroup-parent", f"nacelle-{name}", "--bip",
                        f"10.{next(Nacelled.subnets)}.0.1/16")
        self.start()

    def start(self):
        """Seconds until it answered for the first time."""
        # The last one's socket would be found and refuse.
        pathlib.Path(self.socket).unlink(missing_ok=True)
        with open(self.log_path, "ab") as log:
            begin = time.monotonic()
            self.server = start_server(self.programs / "nacelled", *self.options, log=log)
        while True:
            client = socket.socket(socket.AF_UNIX)
            try:
                client.connect(self.socket)
                client.sendall(b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n")
                said = client.recv(4096)
                took = time.monotonic() - begin
                if b" 200 OK" not in said:
                    raise RuntimeError(f"nacelled: /_ping: {said.decode()}")
                return took
            except OSError:
                if self.server.poll() is not None or time.monotonic() - begin > 60:
                    said = self.log_path.read_text()[-500:]
                    raise RuntimeError(f"nacelled does not start: {said}") from None
                time.sleep(0.0002)
            finally:
                client.close()

    def core(self):
        """nacelle-core of this engine, whose child it is as long as nobody started nacelled again."""
        said = {pid: pathlib.Path(f"/proc/{pid}/cmdline").read_text() for pid in pids_of("nacelle-core")}
        # What it starts of itself to help it is told where the pins are.
        return [pid for pid, words in said.items()
                if str(self.run_directory) in words and "\0--netns-maker" not in words
                and "\0--bpf-loader" not in words]

    def processes(self):
        """Those of the engine, and none of its containers."""
        mine, core = [self.server.pid], self.core()
        for pid in pids_of("nacelle-core", "nacelle-worker"):
            if pid in core or parent_of(pid) in core or parent_of(pid) == self.server.pid:
                mine.append(pid)
        return mine

    def end_core(self):
        for pid in self.core():
            os.kill(pid, signal.SIGKILL)
            while pathlib.Path(f"/proc/{pid}").exists():
                time.sleep(0.001)


class Dockerd(Engine):
    def __init__(self, work):
        super().__init__("dockerd", DOCKER_SOCKET)
        with open(work / "dockerd.log", "ab") as log:
            self.server = start_dockerd(work, "--bip", "10.200.0.1/16", "--iptables=false",
                                        "--ip6tables=false", log=log)

    def processes(self):
        return pids_of("dockerd", "containerd", "containerd-shim", "docker-proxy")


def pids_of(*names):
    found = []
    for each in pathlib.Path("/proc").iterdir():
        try:
            # The kernel keeps 15 characters of a name.
            if each.name.isdigit() and (each / "comm").read_text().strip() in [
                    name[:15] for name in names]:
                found.append(int(each.name))
        except OSError:
            pass  # gone meanwhile
    return sorted(found)


def parent_of(pid):
    return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
