#!/usr/bin/env python3
"""Debian's python3-docker against the engine: `ok NAME`, `not ok NAME: WHY`. Run where it is installed."""
import io
import sys
import tarfile
import threading
import time

import docker

client = docker.DockerClient(base_url="unix:///run/nacelle/nacelle.sock")
failures = 0


def case(work):
    global failures
    name = "python_" + work.__name__
    try:
        work()
        print(f"ok {name}", flush=True)
    except Exception as error:  # a test goes on behind any failure
        failures += 1
        print(f"not ok {name}: {type(error).__name__}: {error}".replace("\n", " "), flush=True)


def raises(kind, work):
    try:
        work()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


@case
def ping_version_info():
    assert client.ping()
    assert client.version()["ApiVersion"] == "1.51"
    assert client.info()["OSType"] == "linux"


@case
def run_returns_output():
    assert client.containers.run("busybox", ["echo", "hi"], remove=True) == b"hi\n"


@case
def run_failure_is_an_error():
    error = raises(docker.errors.ContainerError, lambda: client.containers.run("busybox", "sh -c 'echo bad >&2; exit 3'", remove=True, stderr=True))
    assert error.exit_status == 3, error.exit_status


def context(**files):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    packed.seek(0)
    return packed


@case
def build():
    files = context(Dockerfile="FROM busybox\nARG who\nCOPY file /\nRUN echo $who >>/file\nCMD cat /file\n", file="one\n")
    image, lines = client.images.build(fileobj=files, custom_context=True, tag="py:built", buildargs={"who": "two"}, labels={"l": "1"}, rm=True)
    assert any("Successfully built" in line.get("stream", "") for line in lines)
    assert image.labels == {"l": "1"}, image.labels
    assert client.containers.run("py:built", remove=True) == b"one\ntwo\n"
    client.images.remove("py:built")


@case
def build_failure_is_an_error():
    error = raises(docker.errors.BuildError, lambda: client.images.build(fileobj=io.BytesIO(b"FROM busybox\nRUN exit 4\n"), rm=True, forcerm=True))
    assert "returned a non-zero code: 4" in error.msg, error.msg


@case
def missing_image():
    raises((docker.errors.ImageNotFound, docker.errors.NotFound), lambda: client.images.get("nothing/there"))


@case
def life():
    one = client.containers.run("busybox", ["sleep", "100"], detach=True, name="py", labels={"a": "b"}, environment={"E": "v"})
    one.reload()
    assert one.status == "running"
    assert client.containers.list(filters={"label": "a=b"})[0].id == one.id
    code, out = one.exec_run(["sh", "-c", "echo $E; exit 4"])
    assert (code, out) == (4, b"v\n"), (code, out)
    code, streams = one.exec_run(["sh", "-c", "echo o; echo e >&2"], demux=True)
    assert streams == (b"o\n", b"e\n"), streams
    stats = one.stats(stream=False)
    assert "cpu_stats" in stats
    assert one.top()["Processes"]
    one.pause()
    one.reload()
    assert one.status == "paused"
    one.unpause()
    one.rename("py2")
    one.update(restart_policy={"Name": "on-failure", "MaximumRetryCount": 1})
    one.stop(timeout=0)
    assert one.wait()["StatusCode"] == 137
    one.restart(timeout=0)
    one.kill()
    one.remove(force=True)
    raises(docker.errors.NotFound, lambda: client.containers.get("py2"))


@case
def logs_and_follow():
    one = client.containers.run("busybox", ["sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.1; done"], detach=True)
    assert b"".join(one.logs(stream=True, follow=True)) == b"1\n2\n3\n"
    assert one.logs(tail=1) == b"3\n"
    one.remove(force=True)


@case
def attach_socket():
    one = client.containers.create("busybox", "cat", stdin_open=True, tty=False)
    sock = one.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
    one.start()
    sock._sock.sendall(b"through\n")
    time.sleep(0.3)
    data = sock._sock.recv(100)
    assert data[8:] == b"through\n", data
    sock.close()
    one.remove(force=True)


@case
def archives():
    one = client.containers.create("busybox", "true")
    blob = io.BytesIO()
    with tarfile.open(fileobj=blob, mode="w") as tar:
        info = tarfile.TarInfo("put")
        info.size = 4
        tar.addfile(info, io.BytesIO(b"data"))
    assert one.put_archive("/tmp", blob.getvalue())
    chunks, stat = one.get_archive("/tmp/put")
    assert stat["name"] == "put" and stat["size"] == 4, stat
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
        assert tar.extractfile("put").read() == b"data"
    assert {"Kind": 1, "Path": "/tmp/put"} in one.diff(), one.diff()
    image = one.commit("py", tag="1")
    assert client.images.get("py:1").id == image.id
    one.remove()
    client.images.remove("py:1")


@case
def volumes_and_networks():
    volume = client.volumes.create("pyvol", labels={"x": "y"})
    client.containers.run("busybox", ["touch", "/v/f"], volumes={"pyvol": {"bind": "/v", "mode": "rw"}}, remove=True)
    assert client.containers.run("busybox", ["ls", "/v"], volumes={"pyvol": {"bind": "/v", "mode": "ro"}}, remove=True) == b"f\n"
    volume.remove()
    network = client.networks.create("pynet", driver="bridge")
    one = client.containers.run("busybox", ["sleep", "100"], detach=True, network="pynet")
    network.reload()
    assert [each.id for each in network.containers] == [one.id]
    one.remove(force=True)
    network.remove()


@case
def events_are_heard():
    heard = []
    stream = client.events(decode=True, filters={"type": "container"})
    thread = threading.Thread(target=lambda: heard.extend(event["Action"] for event in stream), daemon=True)
    thread.start()
    time.sleep(0.2)
    client.containers.run("busybox", ["true"], remove=True)
    time.sleep(0.3)
    stream.close()
    assert [each for each in heard if each in ("create", "start", "die", "destroy")] == ["create", "start", "die", "destroy"], heard


@case
def save_and_load():
    blob = b"".join(client.images.get("busybox").save(named=True))
    assert client.images.load(blob)[0].tags == ["busybox:latest"]


@case
def wait_condition_removed():
    one = client.containers.create("busybox", ["sh", "-c", "exit 6"])
    answer = {}
    thread = threading.Thread(target=lambda: answer.update(one.wait(condition="next-exit")))
    thread.start()
    time.sleep(0.2)
    one.start()
    thread.join(5)
    assert answer.get("StatusCode") == 6, answer
    one.remove()


sys.exit(failures > 0)
