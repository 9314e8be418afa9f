#!/usr/bin/env python3
"""Requests no client library would send, and streams as they are on the wire, to a Docker API.

usage: api_raw.py SOCKET ROOTFS_TAR dockerd|nacelle

The cases in api_raw_cases.tsv are what dockerd 28.5 answers: status, method, target, body, message
({c1} and {c2}: ids; a message ending in * is the beginning of one). Where a sixth and seventh column
stand, they are the status and message of ours, which differs on purpose.
"""
import base64
import http.client
import io
import json
import os
import socket
import struct
import sys
import tarfile
import time

SOCKET, ROOTFS, WHO = sys.argv[1:4]
OURS = WHO == "nacelle"
failures = 0


def verdict(name, wrong):
    global failures
    if wrong:
        failures += 1
        print(f"not ok {name}: {str(wrong)[:500]}".replace("\n", "|").replace("\r", ""))
    else:
        print(f"ok {name}")
    sys.stdout.flush()


class Connection(http.client.HTTPConnection):
    def __init__(self, timeout=10):
        super().__init__("d", timeout=timeout)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(SOCKET)


def call(method, target, body=None, headers=None, timeout=10):
    """Status, headers, bytes."""
    connection = Connection(timeout)
    headers = dict(headers or {})
    if isinstance(body, (dict, list)):
        body = json.dumps(body)
    if isinstance(body, str):
        body = body.encode()
    if body is not None:
        headers.setdefault("Content-Type", "application/json")
    connection.request(method, target, body, headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, answer.headers, content


def parsed(answer):
    return json.loads(answer[2])


def raw(text, until=b"\r\n\r\n", timeout=10):
    """Sends bytes; the head of the answer, what came behind it, and the socket."""
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(timeout)
    client.connect(SOCKET)
    client.sendall(text.encode() if isinstance(text, str) else text)
    got = b""
    while until not in got:
        piece = client.recv(65536)
        if not piece:
            break
        got += piece
    head, _, rest = got.partition(b"\r\n\r\n")
    return head.decode(), rest, client


def rest_of(client, first=b"", timeout=10):
    client.settimeout(timeout)
    got = first
    while True:
        piece = client.recv(65536)
        if not piece:
            return got
        got += piece


def frames(content):
    out = []
    while content:
        stream, length = struct.unpack(">BxxxI", content[:8])
        out.append((stream, content[8 : 8 + length]))
        content = content[8 + length :]
    return out


def joined(content, stream):
    return b"".join(piece for which, piece in frames(content) if which == stream)


def container(name, command, **more):
    config = {"Image": "busybox", "Cmd": command, "HostConfig": {"NetworkMode": "none"}}
    host = more.pop("HostConfig", {})
    config.update(more)
    config["HostConfig"].update(host)
    return parsed(call("POST", f"/containers/create?name={name}", config))["Id"]


tests = []


def test(function):
    tests.append(function)
    return function


@test
def bad_requests_are_refused_as_docker_does():
    ids = {"{c1}": container("c1", ["true"]), "{c2}": container("c2", ["sleep", "1000"])}
    assert call("POST", "/containers/c2/start")[0] == 204
    here = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(here, "api_raw_cases.tsv")) as cases:
        for line in cases:
            if line.startswith("#") or not line.strip():
                continue
            columns = line.rstrip("\n").split("\t") + [""] * 7
            status, method, target, body, message = columns[:5]
            if OURS and columns[5]:
                status, message = columns[5:7]
            for name, value in ids.items():
                message = message.replace(name, value)
            got, headers, content = call(method, target.replace('"', "%22"), body or None)
            said = ""
            if got >= 400 and content:
                text = content.decode()
                said = json.loads(text)["message"] if text.startswith("{") else text.strip()
            wrong = got != int(status) or (
                not said.startswith(message[:-1]) if message.endswith("*") else said != message
            )
            if method == "HEAD":
                wrong = got != int(status)
            if OURS and got >= 400 and method != "HEAD" and not content.startswith(b"{"):
                wrong = not target.startswith("/v1.2")
            verdict(f"{method} {target} {body}", wrong and f"{got} {said}, not {status} {message}")
            if got == 201 and "/create" in target:
                call("DELETE", f"/containers/{json.loads(content)['Id']}?force=1")
    for name in ids.values():
        assert call("DELETE", f"/containers/{name}?force=1")[0] == 204


@test
def wait_answers_before_the_start():
    container("w1", ["sh", "-c", "exit 7"])
    head, rest, client = raw("POST /containers/w1/wait?condition=next-exit HTTP/1.1\r\nHost: d\r\n\r\n")
    assert head.startswith("HTTP/1.1 200 OK"), head
    assert "Content-Type: application/json" in head, head
    assert call("POST", "/containers/w1/start")[0] == 204
    got = rest
    while b"StatusCode" not in got:
        got += client.recv(4096)
    assert b'{"StatusCode":7}' in got, got
    assert call("POST", "/containers/w1/wait")[2].strip() == b'{"StatusCode":7}'
    assert call("DELETE", "/containers/w1")[0] == 204
    assert call("POST", "/containers/w1/wait")[0] == 404


@test
def wait_for_removal_of_one_that_removes_itself():
    container("r1", ["true"], HostConfig={"AutoRemove": True})
    head, rest, client = raw("POST /v1.43/containers/r1/wait?condition=removed HTTP/1.1\r\nHost: d\r\n\r\n")
    assert call("POST", "/containers/r1/start")[0] == 204
    got = rest
    while b"StatusCode" not in got:
        got += client.recv(4096)
    assert b'"StatusCode":0' in got, got
    assert call("GET", "/containers/r1/json")[0] == 404


@test
def start_and_stop_that_change_nothing_are_304():
    container("s1", ["sleep", "100"])
    assert call("POST", "/containers/s1/stop")[0] == 304
    assert call("POST", "/containers/s1/start")[0] == 204
    status, headers, content = call("POST", "/containers/s1/start")
    assert (status, content) == (304, b""), (status, content)
    assert call("POST", "/containers/s1/kill?signal=KILL")[0] == 204
    assert call("POST", "/containers/s1/wait")[2].strip() == b'{"StatusCode":137}'
    state = parsed(call("GET", "/containers/s1/json"))["State"]
    assert state["Status"] == "exited" and state["ExitCode"] == 137, state
    assert call("DELETE", "/containers/s1")[0] == 204


@test
def logs_are_framed_and_named():
    container("l1", ["sh", "-c", "echo two >&2; sleep 0.1; echo one; echo three"])
    call("POST", "/containers/l1/start")
    call("POST", "/containers/l1/wait")
    status, headers, content = call("GET", "/containers/l1/logs?stdout=1&stderr=1")
    assert headers["Content-Type"] == "application/vnd.docker.multiplexed-stream", headers
    assert joined(content, 1) == b"one\nthree\n" and joined(content, 2) == b"two\n", content
    status, headers, content = call("GET", "/v1.41/containers/l1/logs?stdout=1&tail=1")
    assert headers["Content-Type"] == "application/vnd.docker.raw-stream", headers
    assert frames(content) == [(1, b"three\n")], content
    content = call("GET", "/containers/l1/logs?stdout=1&timestamps=1")[2]
    for _, line in frames(content):
        stamp, _, word = line.partition(b" ")
        assert len(stamp) == 30 and stamp.endswith(b"Z") and word in (b"one\n", b"three\n"), line
    later = frames(call("GET", f"/containers/l1/logs?stdout=1&since={int(time.time()) + 100}")[2])
    assert later == [], later
    assert call("GET", "/containers/l1/logs?stdout=1&follow=1", timeout=5)[2], "follow of an ended one"
    call("DELETE", "/containers/l1")


@test
def a_terminals_log_is_raw():
    container("t1", ["sh", "-c", "echo one"], Tty=True)
    call("POST", "/containers/t1/start")
    call("POST", "/containers/t1/wait")
    status, headers, content = call("GET", "/containers/t1/logs?stdout=1")
    assert headers["Content-Type"] == "application/vnd.docker.raw-stream", headers
    assert content == b"one\r\n", content
    call("DELETE", "/containers/t1")


@test
def following_ends_with_the_container():
    container("f1", ["sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.2; done"])
    call("POST", "/containers/f1/start")
    content = call("GET", "/containers/f1/logs?stdout=1&follow=1")[2]
    assert joined(content, 1) == b"1\n2\n3\n", content
    call("DELETE", "/containers/f1")


ATTACH = "stream=1&stdin=1&stdout=1&stderr=1"


@test
def attach_upgrades_and_frames():
    container("a1", ["sh", "-c", "read x; echo got $x; echo err >&2"], OpenStdin=True, StdinOnce=True)
    head, rest, client = raw(
        f"POST /containers/a1/attach?{ATTACH} HTTP/1.1\r\nHost: d\r\n"
        "Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n"
    )
    lines = head.lower().split("\r\n")
    assert lines[0] == "http/1.1 101 upgraded", head
    assert "connection: upgrade" in lines and "upgrade: tcp" in lines, head
    assert "content-type: application/vnd.docker.multiplexed-stream" in lines, head
    call("POST", "/containers/a1/start")
    client.sendall(b"word\n")
    client.shutdown(socket.SHUT_WR)
    content = rest_of(client, rest)
    assert joined(content, 1) == b"got word\n" and joined(content, 2) == b"err\n", content
    call("DELETE", "/containers/a1?force=1")


@test
def attach_without_an_upgrade_is_a_200():
    container("b1", ["sh", "-c", "cat; echo end"], OpenStdin=True, StdinOnce=True)
    head, rest, client = raw(
        f"POST /v1.41/containers/b1/attach?{ATTACH} HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n"
    )
    assert head.startswith("HTTP/1.1 200 OK"), head
    assert "Content-Type: application/vnd.docker.raw-stream" in head, head
    call("POST", "/containers/b1/start")
    client.sendall(b"x" * 100000 + b"\n")
    client.shutdown(socket.SHUT_WR)
    assert joined(rest_of(client, rest), 1) == b"x" * 100000 + b"\nend\n"
    call("DELETE", "/containers/b1?force=1")


@test
def detach_keys_leave_a_container_running():
    container("d1", ["cat"], OpenStdin=True, Tty=True)
    head, rest, client = raw(
        f"POST /containers/d1/attach?{ATTACH}&detachKeys=ctrl-x,y HTTP/1.1\r\nHost: d\r\n"
        "Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
    )
    assert "application/vnd.docker.raw-stream" in head, head
    call("POST", "/containers/d1/start")
    client.sendall(b"\x18y")
    rest_of(client, rest)
    assert parsed(call("GET", "/containers/d1/json"))["State"]["Running"]
    assert call("POST", "/containers/d1/resize?h=24&w=80")[0] == 200
    call("DELETE", "/containers/d1?force=1")


@test
def exec_in_all_its_forms():
    container("e1", ["sleep", "1000"])
    call("POST", "/containers/e1/start")

    def made(**config):
        config.setdefault("AttachStdout", True)
        config.setdefault("AttachStderr", True)
        return parsed(call("POST", "/containers/e1/exec", config))["Id"]

    one = made(Cmd=["sh", "-c", "echo out; echo err >&2; exit 3"])
    looked = parsed(call("GET", f"/exec/{one}/json"))
    assert looked["Running"] is False and looked["ExitCode"] is None, looked
    assert looked["ProcessConfig"]["entrypoint"] == "sh", looked
    body = '{"Detach":false,"Tty":false}'
    head, rest, client = raw(
        f"POST /exec/{one}/start HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\n"
        f"Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    )
    assert head.startswith("HTTP/1.1 101 UPGRADED"), head
    assert "application/vnd.docker.multiplexed-stream" in head, head
    content = rest_of(client, rest)
    assert joined(content, 1) == b"out\n" and joined(content, 2) == b"err\n", content
    looked = parsed(call("GET", f"/exec/{one}/json"))
    assert looked["Running"] is False, looked
    assert looked["ExitCode"] == 3, looked

    detached = made(Cmd=["sleep", "100"])
    assert call("POST", f"/exec/{detached}/start", {"Detach": True})[0] == 200
    assert parsed(call("GET", f"/exec/{detached}/json"))["Running"]
    status, _, content = call("POST", f"/exec/{detached}/start", {"Detach": True})
    assert status == 409 and b"is already running" in content, content

    terminal = made(Cmd=["sh", "-c", "tty >/dev/null && echo yes"], Tty=True)
    head, rest, client = raw(
        f"POST /exec/{terminal}/start HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\n"
        'Content-Length: 12\r\n\r\n{"Tty":true}'
    )
    assert head.startswith("HTTP/1.1 200 OK"), head
    assert rest_of(client, rest) == b"yes\r\n"

    missing = made(Cmd=["nonexistent"])
    status, _, content = call("POST", f"/exec/{missing}/start", {"Detach": True})
    assert status == 400 and b"executable file not found" in content, (status, content)
    call("DELETE", "/containers/e1?force=1")


def tar_of(**files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@test
def files_go_in_and_come_out():
    container("cp", ["sleep", "1000"])
    for running in (False, True):
        if running:
            call("POST", "/containers/cp/start")
        data = os.urandom(300000)
        put = tar_of(file=data)
        status, _, content = call(
            "PUT", "/containers/cp/archive?path=/tmp", put, {"Content-Type": "application/x-tar"}
        )
        if status == 404:  # no /tmp in this image
            where = "/"
            status, _, content = call(
                "PUT", "/containers/cp/archive?path=/", put, {"Content-Type": "application/x-tar"}
            )
        else:
            where = "/tmp/"
        assert status == 200, content
        status, headers, content = call("HEAD", f"/containers/cp/archive?path={where}file")
        stat = json.loads(base64.b64decode(headers["X-Docker-Container-Path-Stat"]))
        assert stat["name"] == "file" and stat["size"] == 300000, stat
        status, headers, content = call("GET", f"/containers/cp/archive?path={where}file")
        assert headers["Content-Type"] == "application/x-tar", headers
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            assert tar.extractfile("file").read() == data
        status, headers, content = call("HEAD", "/containers/cp/archive?path=/bin")
        stat = json.loads(base64.b64decode(headers["X-Docker-Container-Path-Stat"]))
        assert stat["mode"] & (1 << 31), stat
    paths = {each["Path"]: each["Kind"] for each in parsed(call("GET", "/containers/cp/changes"))}
    assert paths[where + "file"] == 1, paths
    status, headers, content = call("GET", "/containers/cp/export")
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        assert (where + "file").lstrip("/") in tar.getnames()
    call("DELETE", "/containers/cp?force=1")


@test
def a_broken_archive_is_refused():
    container("cp", ["true"])
    status, _, content = call("PUT", "/containers/cp/archive?path=/", b"x" * 2000)
    assert status >= 400, (status, content)
    call("DELETE", "/containers/cp")


@test
def stats_are_of_two_moments():
    container("st", ["sleep", "1000"])
    empty = parsed(call("GET", "/containers/st/stats?stream=0"))
    assert empty["read"] == "0001-01-01T00:00:00Z" and empty["memory_stats"] == {}, empty
    call("POST", "/containers/st/start")
    one = parsed(call("GET", "/containers/st/stats?stream=0"))
    assert one["name"] == "/st" and one["precpu_stats"]["system_cpu_usage"] > 0, one
    assert one["cpu_stats"]["system_cpu_usage"] > one["precpu_stats"]["system_cpu_usage"], one
    begun = time.time()
    shot = parsed(call("GET", "/containers/st/stats?stream=0&one-shot=1"))
    assert time.time() - begun < 0.9 and shot["preread"].startswith("0001"), shot
    head, rest, client = raw("GET /containers/st/stats HTTP/1.1\r\nHost: d\r\n\r\n")
    got = rest
    while got.count(b'"read"') < 2:
        got += client.recv(65536)
    client.close()
    call("DELETE", "/containers/st?force=1")


@test
def the_list_has_dockers_shape():
    container("ls", ["sleep", "1000"], Labels={"a": "b"}, ExposedPorts={"80/tcp": {}})
    assert parsed(call("GET", "/containers/json")) == []
    (one,) = parsed(call("GET", "/containers/json?all=1"))
    assert one["Names"] == ["/ls"] and one["State"] == "created" and one["Status"] == "Created", one
    assert one["Command"] == "sleep 1000" and one["Labels"] == {"a": "b"}, one
    assert one["HostConfig"] == {"NetworkMode": "none"} and "none" in one["NetworkSettings"]["Networks"], one
    call("POST", "/containers/ls/start")
    for filters in ('{"name":["^/ls$"]}', '{"label":{"a=b":true}}', '{"status":["running"]}'):
        found = parsed(call("GET", f"/containers/json?filters={filters}".replace('"', "%22")))
        assert [each["Id"] for each in found] == [one["Id"]], (filters, found)
    (up,) = parsed(call("GET", "/containers/json?size=1"))
    assert up["Status"].startswith("Up ") and up["SizeRootFs"] > 0, up
    names = (one["Id"], one["Id"][:12], "ls", "%2Fls") if OURS else (one["Id"], one["Id"][:12], "ls")
    for name in names:
        assert parsed(call("GET", f"/containers/{name}/json"))["Name"] == "/ls", name
    call("DELETE", "/containers/ls?force=1")


@test
def a_long_list_is_whole():
    ids = [container(f"many{i}", ["true"]) for i in range(150)]
    for query in ("all=1", "all=1&size=1", "limit=149"):
        found = [each["Id"] for each in parsed(call("GET", f"/containers/json?{query}"))]
        assert found == ids[::-1][: len(found)] and len(found) >= 149, (query, len(found))
    gone = parsed(call("POST", "/containers/prune"))["ContainersDeleted"]
    assert sorted(gone) == sorted(ids), len(gone)


@test
def versions_and_pages():
    for target, wanted in {
        "/_ping": 200, "/v1.24/_ping": 200, "/v1.51/_ping": 200, "/v1.23/_ping": 400,
        "/v1.52/_ping": 400, "/nope": 404, "/v1.51/nope": 404, "/v1.51": 404,
    }.items():
        assert call("GET", target)[0] == wanted, target
    headers = call("HEAD", "/_ping")[1]
    assert headers["Api-Version"] == "1.51" and headers["Ostype"] == "linux", headers
    assert parsed(call("GET", "/nope"))["message"] == "page not found"
    assert call("DELETE", "/containers/json", timeout=5)[0] == 404
    assert call("POST", "/_ping")[0] == 404


@test
def bodies_are_json_or_nothing():
    for content_type, message in {
        "text/plain": "unsupported Content-Type header (text/plain): must be 'application/json'",
        "application/jsonx": "unsupported Content-Type header (application/jsonx): must be 'application/json'",
    }.items():
        answer = call("POST", "/containers/create", b'{"Image":"busybox"}', {"Content-Type": content_type})
        assert answer[0] == 400 and parsed(answer)["message"] == message, answer
    answer = call("POST", "/containers/create", b'{"Image":"nope:1"}', {"Content-Type": "application/json; charset=utf-8"})
    assert answer[0] == 404, answer
    chunked = (
        "POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\n"
        'Transfer-Encoding: chunked\r\n\r\n9\r\n{"Image":\r\n9\r\n"nope:1"}\r\n0\r\n\r\n'
    )
    head, rest, client = raw(chunked)
    assert head.startswith("HTTP/1.1 404"), head


@test
def one_connection_serves_many_requests():
    connection = Connection()
    for _ in range(50):
        connection.request("GET", "/containers/none/json")
        answer = connection.getresponse()
        assert answer.status == 404, answer.status
        answer.read()
    connection.close()


@test
def clients_that_vanish_leave_nothing():
    container("v1", ["sleep", "1000"])
    call("POST", "/containers/v1/start")
    for target in ("logs?stdout=1&follow=1", "stats", "export"):
        for _ in range(5):
            raw(f"GET /containers/v1/{target} HTTP/1.1\r\nHost: d\r\n\r\n", until=b"HTTP")[2].close()
    for _ in range(5):
        raw("POST /containers/v1/wait HTTP/1.1\r\nHost: d\r\n\r\n", until=b"HTTP")[2].close()
    assert call("DELETE", "/containers/v1?force=1")[0] == 204
    assert call("GET", "/_ping")[0] == 200


def main():
    end = time.time() + 30
    while True:
        try:
            call("GET", "/_ping")
            break
        except OSError:
            if time.time() > end:
                print("not ok engine_answers: no answer in 30 seconds")
                return 1
            time.sleep(0.05)
    with open(ROOTFS, "rb") as tar:
        status, _, content = call(
            "POST", "/images/create?fromSrc=-&repo=busybox&tag=latest", tar.read(),
            {"Content-Type": "application/x-tar"}, timeout=60,
        )
    assert status == 200 and b"error" not in content.lower(), content
    wanted = sys.argv[4:]
    for each in tests:
        if wanted and each.__name__ not in wanted:
            continue
        try:
            each()
            verdict(each.__name__, None)
        except Exception as error:  # whatever it is, it is this test's verdict
            line = error.__traceback__.tb_next.tb_lineno if error.__traceback__.tb_next else 0
            verdict(each.__name__, f"line {line}: {type(error).__name__}: {error}")
            for left in parsed(call("GET", "/containers/json?all=1")):
                call("DELETE", f"/containers/{left['Id']}?force=1")
    return failures > 0


if __name__ == "__main__":
    sys.exit(main())
