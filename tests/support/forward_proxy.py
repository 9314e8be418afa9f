#!/usr/bin/env python3
"""A forward proxy for plain HTTP: `forward_proxy.py ADDRESS PORT NAME TARGET LOG` fetches http://NAME/...
from TARGET (host:port) and writes each request it was given to LOG."""
import http.server
import sys
import urllib.error
import urllib.request

ADDRESS, PORT, NAME, TARGET, LOG = sys.argv[1:]
PASSED = ("Accept", "Range", "Authorization")
ANSWERED = ("Content-Type", "Docker-Content-Digest", "Content-Range", "Www-Authenticate")


class Proxy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with open(LOG, "a", encoding="utf-8") as log:
            log.write(self.path + "\n")
        headers = {name: ",".join(self.headers.get_all(name)) for name in PASSED
                   if self.headers.get_all(name)}
        request = urllib.request.Request(self.path.replace(NAME, TARGET, 1), headers=headers)
        try:
            answer = urllib.request.urlopen(request)
        except urllib.error.HTTPError as error:
            answer = error
        body = answer.read()
        self.send_response(answer.status)
        for name in ANSWERED:
            if answer.headers.get(name):
                self.send_header(name, answer.headers[name])
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer((ADDRESS, int(PORT)), Proxy).serve_forever()
