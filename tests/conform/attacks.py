"""Frames that no container may send, sent as they are from the interface eth0 of whatever network
namespace the caller has entered. Each carries `forged` to UDP port 53 where it can.

usage: attacks.py KIND VICTIM [ADDRESS]     ADDRESS: whom it claims to be. Both of IPv6 for a KIND that
                                            ends in 6
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


def own6():
    with open("/proc/net/if_inet6", encoding="ascii") as table:
        for line in table:
            words = line.split()
            if words[5] == NAME and words[3] == "00":
                return bytes.fromhex(words[0])
    sys.exit("the interface has no IPv6 address")


def ip6(source, destination, payload, following=17, hops=64, version=6):
    return struct.pack("!BBHHBB", version << 4, 0, 0, len(payload), following, hops) + source + destination + payload


def sum6(source, destination, protocol, payload, at):
    """The payload with the checksum that it lacks."""
    pseudo = source + destination + struct.pack("!IxxxB", len(payload), protocol)
    return payload[:at] + struct.pack("!H", checksum(pseudo + payload)) + payload[at + 2:]


def attacks6(kind, victim, claimed):
    own = own6()
    nodes = socket.inet_pton(socket.AF_INET6, "ff02::1")
    loopback = socket.inet_pton(socket.AF_INET6, "::1")
    mapped = bytes(10) + b"\xff\xff" + victim[-4:]
    other_mac = b"\x02\x00\x00\x00\x00\x77"
    def datagram(source, destination=victim):
        return sum6(source, destination, 17, udp(), 6)
    def icmp(source, destination, body):
        return sum6(source, destination, 58, body, 2)
    def neighbour(type, target, mac, flags=0x20, destination=nodes, source=own, prefix=b"", following=58):
        body = struct.pack("!BBHBxxx", type, 0, 0, flags) + target + struct.pack("!BB", 1 if type == 135 else 2, 1) + mac
        return ip6(source, destination, prefix + icmp(source, destination, body), following, 255)
    def router(type, source=own):
        body = struct.pack("!BBHBBHII", type, 0, 0, 64, 0, 1800, 0, 0) + victim + struct.pack("!BB", 1, 1) + own_mac
        return ip6(source, nodes, icmp(source, nodes, body), 58, 255)
    def piece(following, offset, more=1):
        return struct.pack("!BBHI", following, 0, offset << 3 | more, 7)
    def option(following):
        return struct.pack("!BB", following, 0) + b"\x01\x04\0\0\0\0"
    def whole(payload, following=17, source=own, destination=victim):
        return frame(0x86DD, ip6(source, destination, payload, following))
    return {
        "honest6": lambda: [whole(datagram(own))],
        "source-address6": lambda: [whole(datagram(claimed), source=claimed)],
        "source-mac6": lambda: [frame(0x86DD, ip6(own, victim, datagram(own)), source=other_mac)],
        "fragments6": lambda: [whole(piece(17, 0) + datagram(claimed)[:8], 44, claimed),
                               whole(piece(17, 1, 0) + datagram(claimed)[8:], 44, claimed)],
        "neighbour-claim6": lambda: [frame(0x86DD, each) for each in (
            neighbour(136, claimed, own_mac), neighbour(136, claimed, own_mac, source=claimed),
            neighbour(136, own, other_mac), neighbour(136, own, own_mac, flags=0xA0),
            neighbour(136, own, own_mac, destination=victim), neighbour(135, claimed, other_mac),
            neighbour(136, own, own_mac, prefix=piece(58, 0, 0), following=44))],
        "router6": lambda: [frame(0x86DD, router(type)) for type in (133, 134, 137)],
        "extension6": lambda: [whole(option(17) + datagram(own), each) for each in (0, 60, 135, 253)] +
                              [whole(piece(60, 0, 0) + option(17) + datagram(own), 44)],
        "source-route6": lambda: [whole(struct.pack("!BBBBI", 17, 0, 4, 0, 0) + datagram(own), 43)],
        "loopback6": lambda: [whole(datagram(own, loopback), destination=loopback)],
        "malformed6": lambda: [frame(0x86DD, ip6(own, victim, datagram(own), version=4)),
                               whole(datagram(own), destination=mapped),
                               whole(piece(17, 0) + b"xx", 44)],
    }[kind]()


def addresses(family):
    return [socket.inet_pton(family, each) for each in sys.argv[2:]]


def main():
    if sys.argv[1].endswith("6") and sys.argv[1] != "ipv6":
        victim, *claimed = addresses(socket.AF_INET6)
        send(attacks6(sys.argv[1], victim, claimed[0] if claimed else None))
        return
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
    send(frames)


def send(frames):
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind((NAME, 0))
        for each in frames:
            sender.send(each)
    print(len(frames))


main()
