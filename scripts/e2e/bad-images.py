#!/usr/bin/env python3
"""bad-images.py forge LAYOUT
       bad-images.py serve LAYOUT

forge adds images to an OCI layout that has a good one under the tag good, each beside the truth in one thing; see IMAGES below.
serve is a registry of the layout that can only be read; the repository's name says in what it lies, see LIES. Prints its address.
"""
import base64, hashlib, http.server, json, os, re, sys

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"


class Layout:
    def __init__(self, top):
        self.top = top
        with open(os.path.join(top, "index.json")) as f:
            self.index = json.load(f)

    def path(self, digest):
        return os.path.join(self.top, "blobs", *digest.split(":"))

    def read(self, digest):
        with open(self.path(digest), "rb") as f:
            return f.read()

    def tagged(self, tag):
        for d in self.index["manifests"]:
            if d.get("annotations", {}).get("org.opencontainers.image.ref.name") == tag:
                return d

    def blob(self, media_type, data, digest=None):
        digest = digest or "sha256:" + hashlib.sha256(data).hexdigest()
        with open(self.path(digest), "wb") as f:
            f.write(data)
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    def document(self, content):
        return self.blob(content.get("mediaType", MANIFEST), json.dumps(content).encode())

    def tag(self, name, d):
        self.index["manifests"].append({**d, "annotations": {"org.opencontainers.image.ref.name": name}})
        with open(os.path.join(self.top, "index.json"), "w") as f:
            json.dump(self.index, f)


def forge(top):
    l = Layout(top)
    good = json.loads(l.read(l.tagged("good")["digest"]))
    config = json.loads(l.read(good["config"]["digest"]))

    def manifest(**changed):
        return {"schemaVersion": 2, "mediaType": MANIFEST, "config": good["config"], "layers": good["layers"], **changed}

    def platform(architecture):
        c = l.blob(good["config"]["mediaType"], json.dumps({**config, "architecture": architecture}).encode())
        return {**l.document(manifest(config=c)), "platform": {"os": "linux", "architecture": architecture}}

    def index(*architectures):
        return l.document({"schemaVersion": 2, "mediaType": INDEX, "manifests": [platform(a) for a in architectures]})

    def layer(**changed):
        return [{**good["layers"][0], **changed}] + good["layers"][1:]

    first = l.read(good["layers"][0]["digest"])
    other = first[:-1] + bytes([first[-1] ^ 1])
    lying = l.blob(good["layers"][0]["mediaType"], other, "sha256:" + hashlib.sha256(first + b"lie").hexdigest())
    alone = l.blob(good["layers"][0]["mediaType"], first + b"alone")  # no other image has it
    IMAGES = {
        "beside": l.document(manifest(layers=[l.blob(good["layers"][0]["mediaType"], first + b"beside")])),
        "alone": l.document(manifest(layers=[alone])),
        "two": index("amd64", "arm64"),
        "platforms": index(*(["amd64"] + [f"cpu{i}" for i in range(199)])),
        "urls": l.document(manifest(layers=layer(mediaType="application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
                                                 urls=["https://elsewhere.example.org/layer.tar.gz"]))),
        "digest": l.document(manifest(layers=[lying] + good["layers"][1:])),
        "longer": l.document(manifest(layers=layer(size=len(first) + 1))),
        "shorter": l.document(manifest(layers=layer(size=len(first) - 1))),
        "huge": l.document(manifest(layers=layer(size=1 << 60))),
        "negative": l.document(manifest(layers=layer(size=-1))),
        "lost": l.document(manifest(layers=layer(digest="sha256:" + 64 * "7"))),
        "both": l.document({**manifest(), "manifests": []}),
        "twice": l.blob(MANIFEST, json.dumps(manifest()).encode()[:-1] + b', "layers": []}'),
        "cycle": l.document({"schemaVersion": 2, "mediaType": INDEX, "manifests": [index("amd64")] * 1 + [
            l.document({"schemaVersion": 2, "mediaType": INDEX, "manifests": [
                l.document({"schemaVersion": 2, "mediaType": INDEX, "manifests": [index("arm64")]})]})]}),
        "html": l.blob(MANIFEST, b"<html><body>Please log in</body></html>"),
        "schema1": l.blob(SCHEMA1, json.dumps({
            "schemaVersion": 1, "name": "old/app", "tag": "1", "architecture": "amd64",
            "fsLayers": [{"blobSum": good["layers"][0]["digest"]}], "history": [{"v1Compatibility": "{}"}],
            "signatures": [{"header": {"alg": "ES256"}, "signature": base64.b64encode(b"x").decode(), "protected": "e30"}]}).encode()),
    }
    for name, d in IMAGES.items():
        l.tag(name, d)


def serve(top):
    LIES = {  # repository: what it makes of the answer (kind, body) -> status, body
        "plain": lambda kind, body: (200, body),
        "flipped": lambda kind, body: (200, body[:-1] + bytes([body[-1] ^ 1]) if kind == "blobs" else body),
        "short": lambda kind, body: (200, body[:-1] if kind == "blobs" else body),
        "long": lambda kind, body: (200, body + b"x" if kind == "blobs" else body),
        "other": lambda kind, body: (200, body + b"\n" if kind == "digest" else body),
        "denied": lambda kind, body: (403, b'{"errors":[{"code":"DENIED","message":"not from here"}]}'),
        "login": lambda kind, body: (401, b'{"errors":[{"code":"UNAUTHORIZED","message":"who are you"}]}'),
        "page": lambda kind, body: (200, b"<html>Please log in</html>"),
    }

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            if self.path == "/v2/":
                return self.answer(200, b"{}", "application/json")
            m = re.match(r"/v2/(\w+)/(manifests|blobs)/([^/?]+)$", self.path)
            layout = Layout(top)
            try:
                digest = m[3] if ":" in m[3] else layout.tagged(m[3])["digest"]
                body = layout.read(digest)
            except (OSError, TypeError):
                return self.answer(404, b'{"errors":[{"code":"NAME_UNKNOWN"}]}', "application/json")
            kind = "blobs" if m[2] == "blobs" else "digest" if ":" in m[3] else "tag"
            media_type = "application/octet-stream"
            if kind != "blobs":
                try:
                    document = json.loads(body)
                    media_type = document.get("mediaType", SCHEMA1 if "fsLayers" in document else MANIFEST)
                except ValueError:
                    media_type = MANIFEST
            status, body = LIES[m[1]](kind, body)
            self.answer(status, body, media_type, digest)

        do_HEAD = do_GET

        def answer(self, status, body, media_type, digest=None):
            self.send_response(status)
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(body)))
            if status == 401:
                self.send_header("WWW-Authenticate", 'Basic realm="site"')
            if digest:
                self.send_header("Docker-Content-Digest", digest)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(f"127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


{"forge": forge, "serve": serve}[sys.argv[1]](sys.argv[2])
