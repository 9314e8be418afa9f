"""Frames that no container may send, sent as they are from the interface eth0 of whatever network
namespace the caller has entered. Each carries `forged` to UDP port 53 where it can.

usage: attacks.py KIND VICTIM [ADDRESS]     ADDRESS: whom it claims to be
"""
import fcntl
import socket
import struct
import sys

NAME = "eth0"


def ask_interface(request, part):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        answer = fcntl.ioctl(any_socket, request, struct.pack("256s", NAME.encode()))
    return answer[part]


own_mac = ask_interface(0x8927, slice(18, 24))
own = ask_interface(0x8915, slice(20, 24))


def gateway_mac():
    with open("/proc/net/arp", encoding="ascii") as table:
        for line in table.readlines()[1:]:
            words = line.split()
            if words[5] == NAME and words[3] != "00:00:00:00:00:00":
                return bytes.fromhex(words[3].replace(":", ""))
    sys.exit("the gateway's MAC address is not known")


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ip(source, destination, payload, protocol=17, options=b"", fragment=0, ttl=64, version=4):
    words = 5 + len(options) // 4
    def header(check):
        return struct.pack("!BBHHHBBH4s4s", version << 4 | words, 0, words * 4 + len(payload), 7,
                           fragment, ttl, protocol, check, source, destination) + options
    return header(checksum(header(0))) + payload


def udp(port=53, data=b"forged"):
    return struct.pack("!HHHH", 4444, port, 8 + len(data), 0) + data


def frame(ethertype, payload, source=None, destination=None):
    return ((destination or gateway_mac()) + (source or own_mac) + struct.pack("!H", ethertype) + payload).ljust(60, b"\0")


def arp(operation, sender_mac, sender, target):
    return frame(0x0806, struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, operation, sender_mac, sender,
                                     b"\xff" * 6, target), destination=b"\xff" * 6)


def main():
    kind, victim = sys.argv[1], socket.inet_aton(sys.argv[2])
    claimed = socket.inet_aton(sys.argv[3]) if len(sys.argv) > 3 else own
    other_mac = b"\x02\x00\x00\x00\x00\x77"
    lsrr = bytes([131, 7, 4]) + own + b"\0"
    frames = {
        "honest": lambda: [frame(0x0800, ip(own, victim, udp()))],
        "source-address": lambda: [frame(0x0800, ip(claimed, victim, udp()))],
        "source-mac": lambda: [frame(0x0800, ip(own, victim, udp()), source=other_mac)],
        "vlan": lambda: [frame(0x8100, struct.pack("!HH", 5, 0x0800) + ip(own, victim, udp())),
                         frame(0x88A8, struct.pack("!HH", 5, 0x0800) + ip(own, victim, udp()))],
        "arp-claim": lambda: [arp(2, own_mac, claimed, victim), arp(1, own_mac, claimed, claimed),
                              arp(1, other_mac, own, victim)],
        "source-route": lambda: [frame(0x0800, ip(own, victim, udp(), options=lsrr)),
                                 frame(0x0800, ip(own, victim, udp(), options=b"\x01" + b"\x89" + lsrr[1:7]))],
        "ipv6": lambda: [frame(0x86DD, bytes([0x60, 0, 0, 0, 0, 0, 59, 64]) + bytes(32))],
        "ethertype": lambda: [frame(0x88B5, b"forged"), frame(0x0100, b"forged")],
        "loopback": lambda: [frame(0x0800, ip(own, socket.inet_aton("127.0.0.1"), udp()))],
        "malformed": lambda: [frame(0x0800, ip(own, victim, udp(), version=5)),
                              frame(0x0800, b"\x45\0\xff\xff" + ip(own, victim, udp())[4:])],
        "fragments": lambda: [frame(0x0800, ip(claimed, victim, udp()[:8], fragment=0x2000)),
                              frame(0x0800, ip(claimed, victim, udp()[8:], fragment=1))],
    }[kind]()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind((NAME, 0))
        for each in frames:
            sender.send(each)
    print(len(frames))


main()
