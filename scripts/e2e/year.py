#!/usr/bin/env python3
"""year.py DIR ARCHITECTURE SEED COUNT DAY

Makes DIR what a site's own archive and images are on DAY (1, 2, ..): DIR/debs holds COUNT small .debs, DIR/images is an OCI layout
of four images, one of them of two platforms. Each day one package of a hundred has a new version, and one image a new layer.
What is new is written, what is old removed; the same arguments give the same bytes.

DIR/days/DAY lists what there is on that day, "SHA256 SIZE" of each .deb and of each blob and document of the images.
"""
import gzip, hashlib, json, os, random, sys, tarfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import synthetic  # noqa: E402

IMAGES = 4


def changes(seed, count, day):
    """The packages that have a new version on a day."""
    if day == 1:
        return range(count)
    return random.Random(f"{seed} {day}").sample(range(count), max(1, count // 100))


def image_day(i, day):
    """The day on which image i was changed last."""
    return max(d for d in range(1, day + 1) if d == 1 or d % IMAGES == i)


class Layout:
    def __init__(self, top):
        self.top, self.parts, self.index = top, {}, []
        os.makedirs(os.path.join(top, "blobs", "sha256"), exist_ok=True)

    def blob(self, media_type, data):
        digest = hashlib.sha256(data).hexdigest()
        path = os.path.join(self.top, "blobs", "sha256", digest)
        if not os.path.exists(path):
            with open(path, "wb") as f:
                f.write(data)
        self.parts[digest] = len(data)
        return {"mediaType": media_type, "digest": "sha256:" + digest, "size": len(data)}

    def document(self, kind, **keys):
        media_type = f"application/vnd.oci.image.{kind}.v1+json"
        return self.blob(media_type, json.dumps({"schemaVersion": 2, "mediaType": media_type, **keys}).encode())

    def layer(self, name, size):
        data = synthetic.tar([(name, random.Random(name).randbytes(size))])
        return self.blob("application/vnd.oci.image.layer.v1.tar+gzip", data), hashlib.sha256(gzip.decompress(data)).hexdigest()

    def image(self, seed, i, architecture, day):
        layers = [self.layer(f"{seed}/base", 60000), self.layer(f"{seed}/{i}/{architecture}/app-{image_day(i, day)}", 20000)]
        config = json.dumps({"architecture": architecture, "os": "linux", "config": {"Cmd": ["/app"]},
                             "rootfs": {"type": "layers", "diff_ids": ["sha256:" + d for _, d in layers]}}).encode()
        return self.document("manifest", config=self.blob("application/vnd.oci.image.config.v1+json", config), layers=[b for b, _ in layers])

    def finish(self, names):
        entries = [{**d, "annotations": {"org.opencontainers.image.ref.name": n}} for n, d in names]
        for name, content in (("oci-layout", {"imageLayoutVersion": "1.0.0"}), ("index.json", {"schemaVersion": 2, "manifests": entries})):
            with open(os.path.join(self.top, name), "w") as f:
                json.dump(content, f)
        for old in set(os.listdir(os.path.join(self.top, "blobs", "sha256"))) - set(self.parts):
            os.remove(os.path.join(self.top, "blobs", "sha256", old))


def main():
    top, architecture, seed, count, day = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])
    debs, days = os.path.join(top, "debs"), os.path.join(top, "days")
    os.makedirs(debs, exist_ok=True)
    os.makedirs(days, exist_ok=True)
    there = {}  # name of the file -> (digest, size)
    state = os.path.join(top, "state.json")
    if os.path.exists(state):
        with open(state) as f:
            there = json.load(f)
    by_name = {f.split("_")[0]: f for f in there}
    for i in changes(seed, count, day):
        name = f"package{i:05d}"
        if old := by_name.get(name):
            os.remove(os.path.join(debs, old))
            del there[old]
        size = int(2000 * 2 ** random.Random(f"{seed} size {i}").uniform(0, 5))  # 2 to 64 kB
        file = f"{name}_1.{day}_{architecture}.deb"
        data = synthetic.deb(name, f"1.{day}", architecture, size)
        with open(os.path.join(debs, file), "wb") as f:
            f.write(data)
        there[file] = (hashlib.sha256(data).hexdigest(), len(data))
    with open(state, "w") as f:
        json.dump(there, f)

    layout = Layout(os.path.join(top, "images"))
    names = [(f"app{i}", layout.image(seed, i, architecture, day)) for i in range(1, IMAGES)]
    two = [{**layout.image(seed, 0, a, day), "platform": {"os": "linux", "architecture": a}} for a in ("amd64", "arm64")]
    names.append(("app0", layout.document("index", manifests=two)))
    layout.finish(names)
    with open(os.path.join(days, str(day)), "w") as f:
        for digest, size in sorted({*map(tuple, there.values()), *layout.parts.items()}):
            f.write(f"{digest} {size}\n")


main()
