#!/usr/bin/env python3
"""The metrics of a running engine: the format, the labels, and that numbers are true.

usage: metrics.py SOCKET check              the text is Prometheus' format; families are printed
       metrics.py SOCKET value NAME [LABEL=VALUE...]   the sum of the samples that match
       metrics.py HOST:PORT ...             the same over TCP
"""
import http.client
import re
import socket
import sys

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"'
SAMPLE = re.compile(rf"^({NAME})(?:\{{({LABEL}(?:,{LABEL})*)\}})? (\S+)$")
NUMBER = re.compile(r"^[0-9]+(\.[0-9]+)?$")
TYPES = {"counter", "gauge", "histogram"}


class UnixConnection(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.host)


def fetch(where, path="/metrics", method="GET"):
    if where.startswith("/"):
        connection = UnixConnection(where, timeout=20)
    else:
        connection = http.client.HTTPConnection(where, timeout=20)
    connection.request(method, path, headers={"Host": "d"})
    answer = connection.getresponse()
    return answer.status, answer.headers.get("Content-Type"), answer.read().decode()


def parse(text):
    """{family: (type, [(name, labels, value)])}; AssertionError where it is not the format."""
    assert text.endswith("\n"), "no line end at the end"
    families, seen, begun = {}, set(), None
    for line in text.splitlines():
        if line.startswith("# HELP "):
            begun = line.split(" ", 3)[2]
            assert re.fullmatch(NAME, begun), line
            assert begun not in families, f"{begun} stands in two places"
            families[begun] = (None, [])
            continue
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name == begun and kind in TYPES and families[name][0] is None, line
            families[name] = (kind, [])
            continue
        match = SAMPLE.match(line)
        assert match, f"not a sample: {line!r}"
        name, labels, value = match.group(1), match.group(2) or "", match.groups()[-1]
        assert NUMBER.match(value), line
        kind = families[begun][0]
        wanted = {begun}
        if kind == "histogram":
            wanted = {begun + "_bucket", begun + "_sum", begun + "_count"}
        assert name in wanted, f"{name} within {begun}"
        assert kind != "counter" or name.endswith("_total") or name == "container_memory_failcnt", line
        pairs = tuple(sorted((each[0], each[1]) for each in re.findall(LABEL, labels)))
        assert len(dict(pairs)) == len(pairs), f"a label twice: {line}"
        assert (name, pairs) not in seen, f"twice: {line}"
        seen.add((name, pairs))
        families[begun][1].append((name, dict(pairs), float(value)))
    for name, (kind, _) in families.items():
        assert kind, f"{name} has no type"
        check_histogram(name, families[name]) if kind == "histogram" else None
    return families


def check_histogram(name, family):
    buckets = [value for sample, _, value in family[1] if sample.endswith("_bucket")]
    count = [value for sample, _, value in family[1] if sample.endswith("_count")]
    assert buckets == sorted(buckets) and buckets[-1] == count[0], name


def main():
    where, what = sys.argv[1:3]
    status, kind, text = fetch(where)
    assert status == 200 and kind.startswith("text/plain; version=0.0.4"), (status, kind)
    families = parse(text)
    if what == "check":
        print(" ".join(sorted(name for name, (_, samples) in families.items() if samples)))
        return
    name, labels = sys.argv[3], dict(each.split("=", 1) for each in sys.argv[4:])
    found = [
        value
        for _, samples in families.values()
        for sample, have, value in samples
        if sample == name and labels.items() <= have.items()
    ]
    print(f"{sum(found):.9f}".rstrip("0").rstrip(".") if found else "absent")


if __name__ == "__main__":
    main()
