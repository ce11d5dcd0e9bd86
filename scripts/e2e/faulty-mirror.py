#!/usr/bin/env python3
"""faulty-mirror.py DIR FAULTS RATE: serves DIR at a free port of loopback, whose URL it prints.

FAULTS names a file of lines "KIND PATH", read at each request: lack (404), lie (one byte is another), stall (half of the
file, then nothing), reset. RATE is bytes a second of each connection, 0: as they come. Standard error has a line for each
request: STATUS KIND PATH.
"""
import http.server
import os
import socketserver
import struct
import socket
import sys
import time
import urllib.parse

top, faults, rate = sys.argv[1], sys.argv[2], int(sys.argv[3])


def fault(path):
    with open(faults) as f:
        for line in f:
            kind, name = line.split()
            if name == path:
                return kind
    return "none"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def say(self, status, kind, path):
        sys.stderr.write(f"{status} {kind} {path}\n")
        sys.stderr.flush()

    def do_GET(self):
        path = urllib.parse.unquote(self.path).lstrip("/")
        kind = fault(path)
        name = os.path.join(top, path)
        if kind == "lack" or not os.path.isfile(name):
            self.say(404, kind, path)
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        size, start = os.path.getsize(name), 0
        asked = self.headers.get("Range")
        if asked and asked.startswith("bytes=") and asked.endswith("-"):
            start = int(asked[6:-1])
        self.say(206 if start else 200, kind, path)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.send_header("Content-Length", str(size - start))
        self.end_headers()
        left = size - start
        with open(name, "rb") as f:
            f.seek(start)
            while left > 0:
                data = bytearray(f.read(min(65536, (size - start + 1) // 2)))  # in two parts at least
                if not data:
                    break
                if kind == "lie" and left == size - start:
                    data[len(data) // 2] ^= 1
                if kind == "stall" and left <= (size - start + 1) // 2:
                    time.sleep(120)
                    return
                if kind == "reset" and left <= (size - start + 1) // 2:
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.connection.close()
                    return
                self.wfile.write(data)
                left -= len(data)
                if rate:
                    time.sleep(len(data) / rate)


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass


s = Server(("127.0.0.1", 0), Handler)
print(f"http://127.0.0.1:{s.server_address[1]}", flush=True)
s.serve_forever()
