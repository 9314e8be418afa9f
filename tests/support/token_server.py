#!/usr/bin/env python3
"""A token server for docker-registry's token authentication: basic credentials in, a signed JWT out.

usage: token_server.py PORT KEY CERTIFICATE USER PASSWORD LOG

Everyone may pull from repositories named `open...`; USER may do whatever was asked for. The
signature is openssl's. LOG gets each request's query and whether it came with credentials.
"""
import base64
import http.server
import json
import subprocess
import sys
import time
import urllib.parse

port, key, certificate, user, password, log_path = sys.argv[1:7]
basic = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def encoded(content):
    return base64.urlsafe_b64encode(content).rstrip(b"=")


with open(certificate) as file:
    chain = ["".join(line.strip() for line in file if "CERTIFICATE" not in line)]


def make_token(service, access):
    now = int(time.time())
    header = {"typ": "JWT", "alg": "RS256", "x5c": chain}
    claims = {"iss": "nacelle-tests", "sub": user, "aud": service, "exp": now + 300, "nbf": now - 10,
              "iat": now, "jti": str(time.time_ns()), "access": access}
    signed = encoded(json.dumps(header).encode()) + b"." + encoded(json.dumps(claims).encode())
    signature = subprocess.run(["openssl", "dgst", "-sha256", "-sign", key], input=signed,
                               stdout=subprocess.PIPE, check=True).stdout
    return (signed + b"." + encoded(signature)).decode()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        query = urllib.parse.parse_qs(urllib.parse.urlparse(self.path).query)
        given = self.headers.get("Authorization")
        with open(log_path, "a") as log:
            log.write(f"{self.path} {'with' if given else 'without'}\n")
        if given and given != basic:
            return self.reply(401, {"details": "incorrect username or password"})
        access = []
        for scope in query.get("scope", []):
            kind, name, actions = scope.split(":")
            may = actions.split(",")
            if not given:
                may = ["pull"] if name.startswith("open") and "pull" in may else []
            access.append({"type": kind, "name": name, "actions": may})
        self.reply(200, {"token": make_token(query["service"][0], access), "expires_in": 300})

    def reply(self, status, content):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()
