#!/usr/bin/env python3
"""killer.py --kind registry|layout --architecture ARCH --mmoci PROGRAM --work DIR --old TREE --new TREE --keys DIR --kills N
          [--registry HOST:PORT --storage DIR --log FILE]

Pushes TREE new over a snapshot of TREE old N times, each into a place of its own, and ends mmoci by SIGKILL at a random
instant. Then: the old snapshot's tag names it still and verifies in every byte; the alias names the old or the new one; a
rerun finishes with the root of an undisturbed push; what the killed run had completed is not sent, or written, again: at a
registry (distribution) its access log tells, in a layout the inodes. The upstream is served here, slowly, so that instants
fall into all of a push. Prints the histogram of phases hit; exit code 1 if anything did not hold, or if fewer than 80 % of
the kills fell while mmoci ran.
"""
import argparse, collections, concurrent.futures, http.server, json, os, random, re, shutil, signal, statistics, subprocess, sys, threading, time

LANES = 8  # at once: they mostly wait for the upstream
ENOUGH = 0.8  # share of the kills that must hit a running process
PAUSE = {"registry": 0.3, "layout": 0.9}  # of the upstream before each package: a layout commits every 2 s

PUT = re.compile(r'"PUT /v2/([^/]+/[^/]+)/blobs/uploads/[^ ]*digest=sha256(?::|%3A)([0-9a-f]{64})[^"]*" 201 ')


class Upstream(http.server.ThreadingHTTPServer):
    """Serves /NAME/... from the tree of NAME; what was asked for last, by name."""

    request_queue_size = 128

    def __init__(self, old, new, pause):
        self.trees, self.pause, self.last = {"old": old}, pause, {}
        self.new = new
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        pass  # clients are killed here


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        _, name, path = self.path.split("/", 2)
        if name != "old":
            self.server.last[name] = path
            if path.startswith("pool/"):
                time.sleep(self.server.pause)
        try:
            with open(os.path.join(self.server.trees.get(name, self.server.new), path), "rb") as f:
                data = f.read()
        except OSError:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


class Place:
    """One registry repository or layout, with the configuration of pushes into it."""

    def __init__(self, a, up, name):
        self.a, self.name = a, name
        self.dir = os.path.join(a.work, name)
        os.makedirs(self.dir)
        self.ref = f"{a.registry}/{a.kind}/{name}:day" if a.kind == "registry" else f"oci:{self.dir}/layout:day"
        self.config = os.path.join(self.dir, "mmoci.yaml")
        self.configure(up, name)

    def configure(self, up, source):
        with open(self.config, "w") as f:
            f.write(f"""ref: {self.ref}
sign: {{key: {self.a.keys}/site.asc}}
trust: [{self.a.keys}/site.pub.asc]
archives:
- prefix: up
  mode: curated
  url: http://127.0.0.1:{up.server_port}/{source}
  suites: [own]
  components: [main]
  architectures: [{self.a.architecture}]
  signed-by: {self.a.keys}/up.pub.asc
  packages: all
""")

    def command(self, *words):
        env = dict(os.environ, XDG_STATE_HOME=os.path.join(self.dir, "state"))
        return subprocess.Popen([self.a.mmoci, *words, "-f", self.config], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def run(self, *words):
        p = self.command(*words)
        out, _ = p.communicate()
        if p.returncode:
            raise AssertionError(f"mmoci {' '.join(words)}: exit {p.returncode}: {out[-600:]}")
        return out

    def tags(self):
        return {t["tag"]: t["digest"] for t in json.loads(self.run("tag", "list", "--json"))}

    def like(self, first):
        """Makes the place what another one is."""
        if self.a.kind == "layout":
            shutil.copytree(first.dir + "/layout", self.dir + "/layout")
        else:
            repositories = os.path.join(self.a.storage, "docker/registry/v2/repositories", self.a.kind)
            shutil.copytree(os.path.join(repositories, first.name), os.path.join(repositories, self.name))

    def blobs(self):
        """What is complete: at a layout digest and inode; at a registry nothing, its log tells."""
        if self.a.kind == "registry":
            return {}
        there = self.dir + "/layout/blobs/sha256"
        return {n: os.stat(os.path.join(there, n)).st_ino for n in os.listdir(there)}


def log_of(a, repository):
    with open(a.log, errors="replace") as f:
        return [line for line in f if f"/v2/{repository}/" in line]


def phase(a, up, place, old, before, tags):
    """Where a kill hit, by what was asked for last and what has become of it."""
    asked = up.last.get(place.name)
    if any(t not in old for t in tags if "-ckpt-" not in t):
        return "6 after a tag was set"
    if a.kind == "layout":
        if set(place.blobs()) - set(before):
            return "5 after a batch got its names"
        if asked and asked.startswith("pool/"):
            return "4 writing packages, none has its name yet"
    else:
        lines = [l.split('"')[1] for l in log_of(a, f"{a.kind}/{place.name}") if '"PUT ' in l]
        if any("/manifests/" in l for l in lines):
            return "5 after a manifest was put"
        if lines:
            return "4 uploading blobs"
        if asked and asked.startswith("pool/"):
            return "3 reading the first packages"
    if asked and "binary-" in asked:
        return "2 reading or resolving indices"
    if asked:
        return "1 reading Releases"
    return "0 starting, reading the replaced snapshot"


def undisturbed(place, first):
    """How long a push takes."""
    place.like(first)
    begin = time.monotonic()
    place.run("push")
    return time.monotonic() - begin


def one(a, up, first, old, want, instant, name):
    place = Place(a, up, name)
    place.like(first)
    before = place.blobs()
    p = place.command("push")
    time.sleep(instant)
    p.send_signal(signal.SIGKILL)
    p.communicate()
    if p.returncode not in (0, -signal.SIGKILL):
        raise AssertionError(f"push ended by itself with {p.returncode}")
    tags, immutable = place.tags(), next(t for t in old if t != "day")
    hit = phase(a, up, place, old, before, tags) if p.returncode else "7 it had ended"
    if tags.get(immutable) != old[immutable] or tags["day"] not in (old["day"], want):
        raise AssertionError(f"after the kill the tags are {tags}")
    place.run("verify", place.ref.removesuffix("day") + immutable)
    complete = place.blobs()
    place.run("push")
    if place.tags()["day"] != want:
        raise AssertionError("the rerun made another root")
    place.run("verify", place.ref)
    sent = collections.Counter()
    if a.kind == "registry":
        time.sleep(0.05)  # the log is written after the answer
        sent.update(m[2] for m in map(PUT.search, log_of(a, f"{a.kind}/{name}")) if m)
        twice = [d for d, n in sent.items() if n > 1]
    else:
        after = place.blobs()
        twice = [d for d, inode in complete.items() if after.get(d) != inode]
    if twice:
        raise AssertionError(f"{len(twice)} blobs were sent again: {twice[:3]}")
    shutil.rmtree(place.dir)
    return hit, len(sent) if a.kind == "registry" else len(set(complete) - set(before))


def main():
    o = argparse.ArgumentParser()
    for name in ("kind", "architecture", "mmoci", "work", "old", "new", "keys", "registry", "storage", "log"):
        o.add_argument("--" + name)
    o.add_argument("--kills", type=int)
    a = o.parse_args()
    up = Upstream(a.old, a.new, PAUSE[a.kind])

    # The old snapshot, and how long undisturbed pushes of the new one take, as many at once as there will be.
    first = Place(a, up, "first")
    first.configure(up, "old")
    first.run("push")
    old = first.tags()
    clean = [Place(a, up, f"clean{i}") for i in range(LANES)]
    with concurrent.futures.ThreadPoolExecutor(LANES) as lanes:
        lasts = statistics.median(lanes.map(lambda c: undisturbed(c, first), clean))
    want = clean[0].tags()["day"]
    if a.kind == "registry":
        print(f"an undisturbed push takes {lasts:.2f} s and sends {sum(1 for l in log_of(a, 'registry/clean0') if PUT.search(l))} blobs")
    else:
        print(f"an undisturbed push takes {lasts:.2f} s and writes {len(clean[0].blobs()) - len(first.blobs())} blobs")

    seed = random.randrange(1 << 32)
    instants = [random.Random(seed + i).uniform(0, lasts) for i in range(a.kills)]
    phases, kept, failed = collections.Counter(), 0, 0
    with concurrent.futures.ThreadPoolExecutor(LANES) as lanes:
        runs = {lanes.submit(one, a, up, first, old, want, t, f"kill{i:03d}"): t for i, t in enumerate(instants)}
        for r in concurrent.futures.as_completed(runs):
            try:
                hit, n = r.result()
            except AssertionError as e:
                failed += 1
                print(f"not so: killed after {runs[r]:.3f} s: {e}")
                continue
            phases[hit] += 1
            kept += n
    ran = sum(n for p, n in phases.items() if not p.startswith("7"))
    print(f"{a.kills} kills, seed {seed}, {ran} while it ran:")
    for p, n in sorted(phases.items()):
        print(f"{n:5d}  {p[2:]:45s} {'#' * n}")
    if a.kind == "layout":
        print(f"{kept} blobs had been completed by killed runs, none was written again")
    else:
        print(f"{kept} blobs were sent by killed runs and reruns together, none twice")
    sys.exit(0 if failed == 0 and ran >= ENOUGH * a.kills else 1)


main()
