"""Packets for engine_networks, run in whatever network namespace the caller has entered.

usage: packets.py serve tcp|udp PORT NAME     answers everyone with NAME and the address it came from
       packets.py ask tcp|udp ADDRESS PORT    prints the answer; exit code 1 where none comes
       packets.py tell SOURCE ADDRESS PORT WORD   by udp, from that address; serve prints both
       packets.py follow ADDRESS PORT NAME    one UDP socket: `answered`, and `again` once there was no
                                              answer in between
       packets.py hold tcp|udp ADDRESS PORT   listens there and says nothing
"""
import os
import socket
import sys
import time

PATIENCE_S = float(os.environ.get("PATIENCE_S", "2"))
KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


def serve(protocol, port, name):
    server = socket.socket(socket.AF_INET, KINDS[protocol])
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("0.0.0.0", int(port)))
    if protocol == "udp":
        while True:
            said, peer = server.recvfrom(64)
            print(peer[0], said.decode(), flush=True)
            server.sendto(f"{name} {peer[0]}\n".encode(), peer)
    server.listen(16)
    while True:
        client, peer = server.accept()
        client.sendall(f"{name} {peer[0]}\n".encode())
        client.close()


def ask(protocol, address, port):
    client = socket.socket(socket.AF_INET, KINDS[protocol])
    client.settimeout(PATIENCE_S)
    client.connect((address, int(port)))
    if protocol == "udp":
        client.send(b"?")
    answer = client.recv(256)
    if not answer:
        raise ConnectionError("closed without an answer")
    print(answer.decode(), end="")


def tell(source, address, port, word):
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
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
    server = socket.socket(socket.AF_INET, KINDS[protocol])
    server.bind((address, int(port)))
    if protocol == "tcp":
        server.listen(1)
    print("held", flush=True)
    sys.stdin.read()


try:
    {"serve": serve, "ask": ask, "tell": tell, "follow": follow, "hold": hold}[sys.argv[1]](*sys.argv[2:])
except OSError as error:
    print(f"{type(error).__name__}: {error}")
    sys.exit(1)
