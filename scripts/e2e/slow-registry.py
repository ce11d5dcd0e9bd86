#!/usr/bin/env python3
"""slow-registry.py LAYOUT LOG

A registry that can only be read, of what is in an OCI layout, at a slow pace, so that there is time to kill who reads.
Prints its address. LOG gets a line for each answer: path, first byte asked for, bytes sent; a pace in LOG.pace (seconds a
64 KiB) is obeyed at once; one of 1 and more by the KiB: 64 is 1 KiB a second.
"""
import http.server, json, os, re, sys, time

layout, log = sys.argv[1], open(sys.argv[2], "a", buffering=1)


def pace():
    try:
        with open(sys.argv[2] + ".pace") as f:
            return float(f.read() or 0)
    except OSError:
        return 0


def digest(reference):
    if ":" in reference:
        return reference
    with open(os.path.join(layout, "index.json")) as f:
        for d in json.load(f)["manifests"]:
            if d.get("annotations", {}).get("org.opencontainers.image.ref.name") == reference:
                return d["digest"]
    return "sha256:none"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/v2/":
            return self.answer(200, b"{}", "application/json", 0)
        m = re.match(r"/v2/.+/(manifests|blobs)/([^/?]+)$", self.path)
        try:
            with open(os.path.join(layout, "blobs", *digest(m[2]).split(":")), "rb") as f:
                data = f.read()
        except (OSError, TypeError):
            return self.answer(404, b"{}", "application/json", 0)
        kind = json.loads(data)["mediaType"] if m[1] == "manifests" else "application/octet-stream"
        first = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if first:
            return self.answer(206, data, kind, int(first[1]))
        self.answer(200, data, kind, 0)

    do_HEAD = do_GET

    def answer(self, status, data, kind, first):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data) - first))
        if status == 206:
            self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        sent = 0
        try:
            while self.command == "GET" and first + sent < len(data):
                wait = pace()
                size = 65536 if wait < 1 else 1024
                sent += self.wfile.write(data[first + sent : first + sent + size])
                time.sleep(wait * size / 65536)
        except OSError:
            self.close_connection = True
        log.write(f"{self.path} {first} {sent}\n")

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(f"127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
