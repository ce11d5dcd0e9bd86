#!/usr/bin/env python3
"""image-killer.py --mmoci PROGRAM --work DIR --old PLAN --new PLAN --kills N --seed N [--registry HOST:PORT]

Builds the image of PLAN new over that of PLAN old, N times, each into a place of its own (a registry's repository, a layout and
an oci-archive in turn) and with a state directory of its own (three times empty, three times with all layers), and ends mmoci by
SIGKILL at an instant drawn by seed between its start and its end; where it had ended before, another instant is drawn. Then: the
tag names the old image or the new one, whole, every blob with the bytes of its name; a rerun ends with the digest of an
undisturbed build, the same for all three kinds; nothing temporary is left. Prints where the kills hit; exit code 1 if anything
did not hold, or if it ran out of draws.
"""

import argparse, collections, hashlib, json, os, random, signal, subprocess, sys, tarfile, time, urllib.request

KINDS = "registry", "layout", "oci-archive"
TYPES = ("application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json")


class Wrong(Exception):
    pass


class Place:
    def __init__(self, a, kind, name):
        self.a, self.kind = a, kind
        self.dir = os.path.join(a.work, name)
        os.makedirs(self.dir)
        self.repository = "killed/" + name
        self.ref = {
            "registry": f"{a.registry}/{self.repository}:1",
            "layout": f"oci:{self.dir}/layout:1",
            "oci-archive": f"oci-archive:{self.dir}/image.tar:1",
        }[kind]

    def start(self, plan, ref=None):
        env = dict(os.environ, XDG_STATE_HOME=os.path.join(self.dir, "state"), TMPDIR=self.dir)
        words = [self.a.mmoci, "image", "build", "-q", "-f", plan, ref or self.ref]
        return subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def build(self, plan, ref=None):
        p = self.start(plan, ref)
        out, err = p.communicate()
        if p.returncode:
            raise Wrong(f"exit {p.returncode}: {err[-400:]}")
        return out.strip().rsplit("@", 1)[-1]

    def before(self, warm):
        """The old image, and a state directory that knows the layers of the new one or not."""
        if warm:
            self.build(self.a.new, f"oci:{self.dir}/other:1")
        return self.build(self.a.old)

    def get(self, path, digest=None):
        """A document or blob; of a digest its bytes are compared with it."""
        if self.kind == "registry":
            r = urllib.request.Request(f"http://{self.a.registry}/v2/{self.repository}/{path}", headers={"Accept": ", ".join(TYPES)})
            with urllib.request.urlopen(r) as f:
                data = f.read()
        elif self.kind == "layout":
            with open(f"{self.dir}/layout/{path}", "rb") as f:
                data = f.read()
        else:
            with tarfile.open(self.dir + "/image.tar") as t:
                data = t.extractfile(path).read()
        if digest and "sha256:" + hashlib.sha256(data).hexdigest() != digest:
            raise Wrong(f"{path} has other bytes than its name says")
        return data

    def blob(self, digest, document=False):
        if self.kind == "registry":
            return self.get(("manifests/" if document else "blobs/") + digest, digest)
        return self.get("blobs/sha256/" + digest.removeprefix("sha256:"), digest)

    def tagged(self):
        """The digest that the tag names."""
        if self.kind == "registry":
            return "sha256:" + hashlib.sha256(self.get("manifests/1")).hexdigest()
        index = json.loads(self.get("index.json"))
        return next(m["digest"] for m in index["manifests"] if m.get("annotations", {}).get("org.opencontainers.image.ref.name") == "1")

    def whole(self):
        """The digest of the tagged image, every blob of which is read."""
        root = self.tagged()
        for m in json.loads(self.blob(root, True))["manifests"]:
            manifest = json.loads(self.blob(m["digest"], True))
            for d in [manifest["config"], *manifest["layers"]]:
                self.blob(d["digest"])
        return root

    def files(self):
        return {os.path.join(top, n) for top, _, names in os.walk(self.dir) for n in names}

    def half(self):
        """Blobs of a layout whose bytes are not those of their names, and what is temporary."""
        out = []
        for top, _, files in os.walk(self.dir):
            for name in files:
                path = os.path.join(top, name)
                if top.endswith("/blobs/sha256"):
                    with open(path, "rb") as f:
                        if len(name) == 64 and hashlib.sha256(f.read()).hexdigest() != name:
                            out.append(path)
                if "tmp" in name:
                    out.append(path)
        return out


def main():
    o = argparse.ArgumentParser()
    for name in ("mmoci", "work", "old", "new", "registry"):
        o.add_argument("--" + name)
    o.add_argument("--kills", type=int)
    o.add_argument("--seed", type=int)
    a = o.parse_args()

    lasts, digests, failed = {}, {}, 0
    for kind in KINDS:
        for warm in False, True:
            clean = Place(a, kind, f"clean-{kind}-{'known' if warm else 'new'}")
            old = clean.before(warm)
            begin = time.monotonic()
            new = clean.build(a.new)
            lasts[kind, warm] = time.monotonic() - begin
            digests[kind, warm] = old, new
            if clean.whole() != new or old == new or clean.half():
                raise SystemExit(f"undisturbed, {kind}: {clean.whole()} {old} {new} {clean.half()}")
    print("an undisturbed build takes", ", ".join(f"{k}{', layers known,' if w else ''} {v:.2f} s" for (k, w), v in lasts.items()))
    if len(set(digests.values())) != 1:
        raise SystemExit(f"the digests are not one: {digests}")
    old, new = digests["layout", False]

    hits, ran, draws = collections.Counter(), 0, 0
    while ran < a.kills and draws < 4 * a.kills:
        kind, warm = KINDS[ran % len(KINDS)], ran // len(KINDS) % 2 == 1
        instant, draws = random.Random(f"{a.seed} {draws}").uniform(0, 1) * lasts[kind, warm], draws + 1
        place = Place(a, kind, f"kill{draws:03d}")
        try:
            place.before(warm)
            began, had = time.monotonic(), place.files()
            p = place.start(a.new)
            time.sleep(max(0, instant - (time.monotonic() - began)))
            p.send_signal(signal.SIGKILL)
            p.communicate()
            if p.returncode not in (0, -signal.SIGKILL):
                raise Wrong(f"it ended by itself with {p.returncode}")
            new_files = place.files() - had
            tag = place.whole()
            if tag not in (old, new):
                raise Wrong(f"the tag names {tag}")
            if place.build(a.new) != new or place.whole() != new:
                raise Wrong("the rerun made another image")
            if place.half():
                raise Wrong(f"half or temporary: {place.half()[:3]}")
        except (Wrong, OSError, KeyError, StopIteration, tarfile.TarError) as e:
            failed, ran = failed + 1, ran + 1
            print(f"not so: {kind}, killed after {instant:.3f} s (draw {draws}): {type(e).__name__} {e}")
            continue
        subprocess.run(["rm", "-rf", place.dir])
        if p.returncode == 0:  # the machine is less busy now
            lasts[kind, warm] = min(lasts[kind, warm], instant)
            continue
        ran += 1
        hits[kind, "after the tag moved" if tag == new else "writing into its place" if any("/layout/" in f or ".tar" in f for f in new_files) else "sending known layers" if warm else "making layers" if new_files else "reading the snapshot"] += 1
    print(f"{ran} kills while it ran, seed {a.seed}; one digest in all three kinds:")
    for (kind, where), n in sorted(hits.items()):
        print(f"{n:5d}  {kind:12s} {where}")
    sys.exit(0 if failed == 0 and ran >= a.kills else 1)


main()
