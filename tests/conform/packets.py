"""Packets for engine_networks and engine_policy, run in whatever network namespace the caller has entered.

usage: packets.py serve tcp|udp PORT NAME     answers everyone with NAME and the address it came from
       packets.py ask tcp|udp ADDRESS PORT    prints the answer; exit code 1 where none comes
       packets.py tell SOURCE ADDRESS PORT WORD   by udp, from that address; serve prints both
       packets.py follow ADDRESS PORT NAME    one UDP socket: `answered`, and `again` once there was no
                                              answer in between
       packets.py hold tcp|udp ADDRESS PORT   listens there and says nothing
       packets.py echo PORT                   by tcp, whatever comes, for as long as it comes
       packets.py stream ADDRESS PORT         to that: `alive` and `stalled`, whenever that changes
       packets.py sink PORT                   by udp; prints `ready`, and a second after the last how many came
       packets.py flood ADDRESS PORT COUNT BYTES   to that
       packets.py ping ADDRESS BYTES          exit code 1 where no answer comes
       packets.py dns FILE                    answers everyone on 127.0.0.1 with the addresses in FILE
"""
import os
import socket
import struct
import sys
import threading
import time

PATIENCE_S = float(os.environ.get("PATIENCE_S", "2"))
KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def serve(protocol, port, name):
    server = socket.socket(socket.AF_INET6, KINDS[protocol])
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    server.bind(("::", int(port)))
    if protocol == "udp":
        while True:
            said, peer = server.recvfrom(64)
            who = peer[0].removeprefix("::ffff:")
            print(who, said.decode(), flush=True)
            server.sendto(f"{name} {who}\n".encode(), peer)
    server.listen(16)
    while True:
        client, peer = server.accept()
        client.sendall(f"{name} {peer[0].removeprefix('::ffff:')}\n".encode())
        client.close()


def ask(protocol, address, port):
    client = socket.socket(family(address), KINDS[protocol])
    client.settimeout(PATIENCE_S)
    client.connect((address, int(port)))
    if protocol == "udp":
        client.send(b"?")
    answer = client.recv(256)
    if not answer:
        raise ConnectionError("closed without an answer")
    print(answer.decode(), end="")


def tell(source, address, port, word):
    client = socket.socket(family(address), socket.SOCK_DGRAM)
    client.bind((source, 0))
    client.sendto(word.encode(), (address, int(port)))


def follow(address, port, name):
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.settimeout(0.2)
    client.connect((address, int(port)))
    answered, silent, end = False, False, time.monotonic() + 60
    while time.monotonic() < end:
        try:
            client.send(b"?")
            if not client.recv(256).decode().startswith(name):
                continue
            if silent:
                print("again", flush=True)
                return
            if not answered:
                print("answered", flush=True)
            answered = True
            time.sleep(0.05)
        except OSError:
            silent = answered


def hold(protocol, address, port):
    server = socket.socket(family(address), KINDS[protocol])
    if family(address) == socket.AF_INET6:
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    server.bind((address, int(port)))
    if protocol == "tcp":
        server.listen(1)
    print("held", flush=True)
    sys.stdin.read()


def echo(port):
    server = socket.create_server(("0.0.0.0", int(port)), reuse_port=True)
    while True:
        client, _ = server.accept()
        threading.Thread(target=echo_one, args=(client,), daemon=True).start()


def echo_one(client):
    while said := client.recv(64):
        client.sendall(said)


def stream(address, port):
    client = socket.create_connection((address, int(port)), PATIENCE_S)
    state, end = None, time.monotonic() + 60
    while time.monotonic() < end:
        try:
            client.sendall(b"x")
            now = "alive" if client.recv(64) else "closed"
        except TimeoutError:
            now = "stalled"
        if now != state:
            state = now
            print(state, flush=True)
        time.sleep(0.05)


def sink(port):
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    server.bind(("0.0.0.0", int(port)))
    server.settimeout(20)
    print("ready", flush=True)
    count = 0
    try:
        while server.recv(65536):
            count += 1
            server.settimeout(1)
    except TimeoutError:
        print(count, flush=True)


def flood(address, port, count, size):
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for _ in range(int(count)):
        try:
            client.sendto(b"x" * int(size), (address, int(port)))
        except PermissionError:
            pass  # the kernel says so of some that are dropped on the way


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def ping6(address, size):
    client = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    client.settimeout(PATIENCE_S)
    rest = struct.pack("!HH", os.getpid() & 0xFFFF, 1) + b"x" * int(size)
    client.sendto(struct.pack("!BBH", 128, 0, 0) + rest, (address, 0))
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        said = client.recv(65536)
        if said[0] == 129 and said[4:] == rest:
            return
    raise TimeoutError("timed out")


def ping(address, size):
    if family(address) == socket.AF_INET6:
        ping6(address, size)
        return
    client = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    client.settimeout(PATIENCE_S)
    number = os.getpid() & 0xFFFF
    rest = struct.pack("!HH", number, 1) + b"x" * (int(size) // 2 * 2)
    client.sendto(struct.pack("!BBH", 8, 0, checksum(b"\x08\0\0\0" + rest)) + rest, (address, 0))
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        said, peer = client.recvfrom(65536)
        if peer[0] == address and said[20] == 0 and said[24:] == rest:
            return
    raise TimeoutError("timed out")


def dns(path):
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))
    while True:
        asked, peer = server.recvfrom(512)
        question = asked[12:asked.index(0, 12) + 5]
        with open(path) as file:
            addresses = file.read().split()
        answers = b"".join(b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4" + socket.inet_aton(each) for each in addresses)
        head = asked[:2] + b"\x81\x80\0\1" + len(addresses).to_bytes(2, "big") + b"\0\0\0\0"
        server.sendto(head + question + answers, peer)


try:
    {"serve": serve, "echo": echo, "stream": stream, "sink": sink, "flood": flood, "dns": dns, "ping": ping,
     "ask": ask, "tell": tell, "follow": follow, "hold": hold}[sys.argv[1]](*sys.argv[2:])
except OSError as error:
    print(f"{type(error).__name__}: {error}")
    sys.exit(1)
