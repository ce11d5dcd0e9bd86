package chaintest

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testarchive/forge"
	"example.org/mmoci/internal/testarchive/world"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

// forger makes forgeries of one good world; what they are made of is frozen once, when it is asked for.
type forger struct {
	t                  testing.TB
	good, older        func() *forge.Draft
	evil, evil1, noIn  func() *forge.Draft // docker-ce exchanged; libc6 exchanged; security without InRelease
	noInOlder, expired func() *forge.Draft
	evilSystemd        []byte
	newer              []byte // docker-ce of a version above all of upstream's
	newerStanza        string // with its path in the pool, newerPath
}

// newerPath is below dists/, where a Release could list it.
const newerPath = "dists/bookworm/pool/docker-ce_99_amd64.deb"

const (
	dockerCE  = "docker/dists/bookworm/pool/stable/amd64/docker-ce_28.5.2-1~debian.12~bookworm_amd64.deb"
	dockerCLI = "docker/dists/bookworm/pool/stable/amd64/docker-ce-cli_28.5.2-1~debian.12~bookworm_amd64.deb"
)

func newForger(t testing.TB) *forger {
	t.Helper()
	frozen := func(of func() world.Upstreams) func() *forge.Draft {
		return sync.OnceValue(func() *forge.Draft { return world.Draft(t, of()) })
	}
	p := *testarchive.Security().Suites[0].Package(t, "libsystemd0")
	poison(&p)
	newest := *testarchive.Docker().Suites[0].Package(t, "docker-ce")
	newest.Version = "5:99-1"
	poison(&newest)
	return &forger{
		t: t, good: frozen(world.Good), older: frozen(func() world.Upstreams { return world.Older(t) }),
		evil: frozen(func() world.Upstreams { return evilDocker(t) }), evil1: frozen(func() world.Upstreams { return evilDebian(t) }),
		noIn:      frozen(func() world.Upstreams { return withoutInRelease(t, world.Good()) }),
		noInOlder: frozen(func() world.Upstreams { return withoutInRelease(t, world.Older(t)) }),
		expired: frozen(func() world.Upstreams {
			u := world.Good()
			s := u.Security.Suite(t, "bookworm-security")
			s.Date = time.Date(2026, 1, 3, 0, 0, 0, 0, time.UTC)
			s.ValidUntil = s.Date.AddDate(0, 0, 7)
			return u
		}),
		evilSystemd: p.Deb(t), newer: newest.Deb(t), newerStanza: stanzaOf(t, newest, newerPath),
	}
}

// stanzaOf is a package's stanza in an index.
func stanzaOf(t testing.TB, p testarchive.Package, filename string) string {
	t.Helper()
	data := p.Deb(t)
	d, err := deb.ReadDeb(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	st, err := archive.SiteStanza(d.Control, filename, int64(len(data)), snapshot.Sum(data).Hex())
	if err != nil {
		t.Fatal(err)
	}
	return string(st) + "\n"
}

// poison exchanges what is in a package.
func poison(p *testarchive.Package) {
	p.ControlFiles = map[string]string{"postinst": "#!/bin/sh\necho evil\n"}
}

func evilDocker(t testing.TB) world.Upstreams {
	u := world.Good()
	u.Docker = u.Docker.Clone()
	docker := u.Docker.Suite(t, "bookworm")
	for i := range docker.Packages {
		if docker.Packages[i].Name == "docker-ce" {
			poison(&docker.Packages[i])
		}
	}
	u.Docker.Keys, u.DockerKey = []*testarchive.Key{forge.Mallory()}, forge.Mallory()
	return u
}

func evilDebian(t testing.TB) world.Upstreams {
	u := world.Good()
	u.Debian = u.Debian.Clone()
	poison(u.Debian.Suite(t, "bookworm").Package(t, "libc6"))
	u.Debian.Keys, u.DebianKey = []*testarchive.Key{testarchive.DockerKey()}, testarchive.DockerKey()
	return u
}

func withoutInRelease(t testing.TB, u world.Upstreams) world.Upstreams {
	u.Security.Suite(t, "bookworm-security").NoInRelease = true
	return u
}

// rowOf finds the path of a package.
func rowOf(t testing.TB, d *forge.Draft, name string) string {
	t.Helper()
	for _, p := range slices.Sorted(maps.Keys(d.Rows)) {
		if d.Rows[p].Name == name {
			return p
		}
	}
	t.Fatalf("no package %s", name)
	return ""
}

// evils are the digests that nobody's key should bring to a host.
func (f *forger) evils() map[snapshot.Digest]bool {
	return map[snapshot.Digest]bool{
		f.evil().Rows[dockerCE].Digest: true, f.evil1().Rows[rowOf(f.t, f.evil1(), "libc6")].Digest: true, snapshot.Sum(f.evilSystemd): true,
		snapshot.Sum(f.newer): true,
	}
}

const (
	dockerDists   = "docker/dists/bookworm/"
	dockerTheirs  = "upstream/docker/dists/bookworm/"
	dockerIndex   = "stable/binary-amd64/Packages.gz"
	securityDists = "security/dists/bookworm-security/"
	securityIndex = "main/binary-amd64/Packages.xz"
)

// forgery is one way to lie; make gives the draft before it is sealed.
type forgery struct {
	name, what string
	make       func(f *forger) *forge.Draft
	blob       bool // the bytes of docker-ce's blob are exchanged in the place
}

// forgeries are (a) to (m), some in several ways.
func forgeries() []forgery {
	return []forgery{
		{name: "good", what: "nothing is forged", make: func(f *forger) *forge.Draft { return f.good().Clone() }},
		{name: "a-rows", what: "two packages' rows exchanged in the table", make: func(f *forger) *forge.Draft {
			d := f.good().Clone()
			x, y := d.Rows[dockerCE], d.Rows[dockerCLI]
			x.Digest, x.Size, y.Digest, y.Size = y.Digest, y.Size, x.Digest, x.Size
			d.Rows[dockerCE], d.Rows[dockerCLI] = x, y
			return d
		}},
		{name: "b-deb", what: "a .deb, its stanza and the curated index exchanged, provenance left", make: func(f *forger) *forge.Draft {
			d := f.good().Clone()
			d.Take(f.evil(), dockerCE, dockerCE)
			d.EditIndex(dockerDists, dockerIndex, f.evilStanza)
			return d
		}},
		{name: "b-whole", what: "the same, and provenance under a key of the opponent's", make: func(f *forger) *forge.Draft {
			d := f.good().Clone()
			d.Splice(f.evil(), "docker")
			d.Archive("docker").UpstreamKeys = f.good().Archive("docker").UpstreamKeys
			return d
		}},
		{name: "b-verbatim", what: "a .deb of a verbatim archive exchanged with its index, InRelease signed by the opponent", make: func(f *forger) *forge.Draft {
			d := f.good().Clone()
			p := rowOf(f.t, d, "libsystemd0")
			for name, row := range d.Rows {
				if row.Name == "libsystemd0" && strings.HasPrefix(name, "security/") {
					p = name
				}
			}
			was := d.Rows[p].Blob()
			inRelease, index := d.Rows[securityDists+"InRelease"].Digest, d.Rows[securityDists+securityIndex].Digest
			d.Put(p, f.evilSystemd)
			d.EditIndex(securityDists, securityIndex, func(s string) string { return exchanged(s, was, snapshot.BlobOf(f.evilSystemd)) })
			d.EditLock(inRelease.String(), d.Rows[securityDists+"InRelease"].Digest.String())
			d.EditLock(index.String(), d.Rows[securityDists+securityIndex].Digest.String())
			return d
		}},
		{name: "b-blob", what: "other bytes stand where the blob of a .deb should", blob: true, make: func(f *forger) *forge.Draft { return f.good().Clone() }},
		{name: "c-curated", what: "upstream's InRelease and indices of an earlier day, the curated suite to match", make: func(f *forger) *forge.Draft {
			d := f.good().Clone()
			d.Splice(f.older(), "docker")
			return d
		}},
		{name: "c-verbatim", what: "a verbatim archive of an earlier day, within its Valid-Until", make: func(f *forger) *forge.Draft {
			d := f.good().Clone()
			d.Splice(f.older(), "security")
			return d
		}},
		{name: "c-expired", what: "a verbatim archive past its Valid-Until", make: func(f *forger) *forge.Draft {
			d := f.good().Clone()
			d.Splice(f.expired(), "security")
			return d
		}},
		{name: "d-other", what: "another archive's InRelease and indices as provenance", make: func(f *forger) *forge.Draft {
			d := f.good().Clone()
			d.Remove(dockerTheirs)
			d.Take(f.good(), "upstream/debian/dists/bookworm/", dockerTheirs)
			s := &d.Archive("docker").Suites[0]
			theirs := *f.good().Archive("debian").Suites[0].File(snapshot.UpstreamInRelease)
			theirs.Path = dockerTheirs + "InRelease"
			*s.File(snapshot.UpstreamInRelease) = theirs
			return d
		}},
		{name: "e-stanza", what: "a curated stanza that is not upstream's: a dependency left out", make: func(f *forger) *forge.Draft {
			d := f.good().Clone()
			d.EditIndex(dockerDists, dockerIndex, func(s string) string { return strings.Replace(s, "iptables | nftables, ", "", 1) })
			return d
		}},
		{name: "f-indices", what: "provenance without its indices", make: func(f *forger) *forge.Draft {
			d := f.good().Clone()
			d.Remove(dockerTheirs + dockerIndex)
			return d
		}},
		{name: "f-all", what: "no provenance at all", make: func(f *forger) *forge.Draft {
			d := f.good().Clone()
			withoutProvenance(d)
			return d
		}},
		{name: "g-prefix", what: "upstream's InRelease of one prefix, with a .deb exchanged, signed by the key of another", make: func(f *forger) *forge.Draft {
			d := f.good().Clone()
			d.Splice(f.evil1(), "debian")
			d.Archive("debian").UpstreamKeys = f.good().Archive("debian").UpstreamKeys
			return d
		}},
		{name: "g-statement", what: "statement and curated suites signed by an upstream's key", make: func(f *forger) *forge.Draft {
			d := f.good().Clone()
			d.Signer = testarchive.DockerKey()
			return d
		}},
		{name: "h-curated", what: "Release.gpg of another day beside a curated Release", make: func(f *forger) *forge.Draft {
			d := f.good().Clone()
			d.Put(dockerDists+"Release.gpg", f.older().Read(dockerDists+"Release.gpg"))
			d.Odd = map[string]bool{dockerDists: true}
			return d
		}},
		{name: "h-verbatim", what: "Release of one day and Release.gpg of another, no InRelease", make: func(f *forger) *forge.Draft {
			d := f.good().Clone()
			d.Splice(f.noIn(), "security")
			d.Put(securityDists+"Release.gpg", f.noInOlder().Read(securityDists+"Release.gpg"))
			return d
		}},
		{name: "i-archive", what: "an archive dropped", make: func(f *forger) *forge.Draft {
			d := f.good().Clone()
			d.Drop("security")
			return d
		}},
		{name: "j-suites", what: "bookworm of today with bookworm-updates of an earlier day", make: func(f *forger) *forge.Draft {
			d := f.good().Clone()
			today := f.good().Archive("debian").Suites[0].File(snapshot.UpstreamInRelease)
			d.Splice(f.older(), "debian")
			for p := range f.good().Rows {
				if strings.HasPrefix(p, "upstream/debian/dists/bookworm/") {
					d.Take(f.good(), p, p)
				}
			}
			*d.Archive("debian").Suites[0].File(snapshot.UpstreamInRelease) = *today
			d.EditLock(lockOf(d.Lock, "release debian bookworm "), lockOf(f.good().Lock, "release debian bookworm "))
			return d
		}},
		{name: "k-lock", what: "a package line of the lock changed", make: func(f *forger) *forge.Draft {
			d := f.good().Clone()
			d.EditLock("docker-ce 5:28.5.2-1", "docker-ce 5:28.5.9-1")
			return d
		}},
		{name: "k-reason", what: "a reason in the lock changed", make: func(f *forger) *forge.Draft {
			d := f.good().Clone()
			d.EditLock(": docker-ce\n", ": docker-ce or so\n")
			return d
		}},
		{name: "l-class", what: "an archive of class upstream called the site's own, a .deb exchanged", make: func(f *forger) *forge.Draft {
			d := f.good().Clone()
			d.Splice(f.evil(), "docker")
			withoutProvenance(d)
			a := d.Archive("docker")
			a.Class, a.UpstreamKeys = snapshot.Site, nil
			d.EditLock("archive docker curated upstream\n", "archive docker curated site\n")
			d.EditLock(lockOf(d.Lock, "release docker "), "")
			d.EditLock(lockOf(d.Lock, "index docker "), "")
			return d
		}},
		{name: "l-mode", what: "a curated archive called verbatim, upstream's files in place of the site's", make: func(f *forger) *forge.Draft {
			d := f.good().Clone()
			a := d.Archive("docker")
			own := *a.Suites[0].File(snapshot.UpstreamInRelease)
			own.Role, own.Path = snapshot.InRelease, dockerDists+"InRelease"
			a.Mode, a.Suites[0].Files = snapshot.Verbatim, []snapshot.SuiteFile{own}
			for _, name := range []string{"InRelease", "Release", "Release.gpg", dockerIndex} {
				d.Remove(dockerDists + name)
			}
			d.Take(f.good(), dockerTheirs, dockerDists)
			d.Remove(dockerTheirs)
			d.EditLock("archive docker curated upstream\n", "archive docker verbatim upstream\n")
			return d
		}},
		{name: "m-component", what: "a component added to a curated Release, with a newer docker-ce in it", make: func(f *forger) *forge.Draft {
			d := f.added("added/binary-amd64/Packages", "gz")
			d.EditRelease(dockerDists, func(s string) string { return field(s, "Components", "Components: added stable\n") })
			return d
		}},
		{name: "m-installer", what: "the same, its name ending in debian-installer", make: func(f *forger) *forge.Draft {
			d := f.added("stable/debian-installer/binary-amd64/Packages", "gz")
			d.EditRelease(dockerDists, func(s string) string { return field(s, "Components", "Components: stable stable/debian-installer\n") })
			return d
		}},
		{name: "m-compression", what: "an index as .zst with a newer docker-ce, beside a .gz of no bytes", make: func(f *forger) *forge.Draft {
			d := f.added("stable/binary-amd64/Packages", "zst")
			d.List(dockerDists, dockerIndex, nil, true)
			return d
		}},
		{name: "m-all", what: "an architecture added, all, with its index as .zst beside a .gz of no bytes", make: func(f *forger) *forge.Draft {
			d := f.added("stable/binary-all/Packages", "zst")
			d.List(dockerDists, "stable/binary-all/Packages.gz", nil, true)
			d.EditRelease(dockerDists, func(s string) string {
				return field(field(s, "No-Support-for-Architecture-all", ""), "Architectures", "Architectures: all amd64\n")
			})
			return d
		}},
		{name: "m-udeb", what: "an index of udebs added, with a package", make: func(f *forger) *forge.Draft {
			return f.added("stable/debian-installer/binary-amd64/Packages", "gz")
		}},
		{name: "m-translation", what: "a translation added", make: func(f *forger) *forge.Draft {
			d := f.good().Clone()
			const text = "Package: docker-ce\nDescription-md5: d41d8cd98f00b204e9800998ecf8427e\nDescription-en: not upstream's\n\n"
			d.List(dockerDists, "stable/i18n/Translation-en", []byte(text), false)
			d.List(dockerDists, "stable/i18n/Translation-en.gz", testarchive.Compress(f.t, "gz", []byte(text)), true)
			return d
		}},
	}
}

// added is the good snapshot, whose curated Release of docker lists an index more, in which
// there is a newer docker-ce beside what stands there already, and that package.
func (f *forger) added(plain, compression string) *forge.Draft {
	d := f.good().Clone()
	text := []byte(f.newerStanza)
	if packed, ok := d.Rows[dockerDists+plain+".gz"]; ok {
		was, err := archive.Decompress(packed.Path, d.Read(packed.Path), 1<<20)
		if err != nil {
			f.t.Fatal(err)
		}
		text = append(was, text...)
	}
	d.List(dockerDists, strings.TrimPrefix(newerPath, "dists/bookworm/"), f.newer, true)
	d.List(dockerDists, plain, text, false)
	d.List(dockerDists, plain+"."+compression, testarchive.Compress(f.t, compression, text), true)
	return d
}

// field replaces a field of a Release.
func field(text, name, value string) string {
	return regexp.MustCompile(`(?m)^`+name+`: .*\n`).ReplaceAllString(text, value)
}

// evilStanza exchanges docker-ce in an index.
func (f *forger) evilStanza(s string) string {
	return exchanged(s, f.good().Rows[dockerCE].Blob(), f.evil().Rows[dockerCE].Blob())
}

// md5Line is dropped from what is forged: apt would compare it.
var md5Line = regexp.MustCompile(`(?m)^MD5sum: .*\n`)

// exchanged lets the stanza in an index that names one blob name another.
func exchanged(index string, was, is snapshot.Blob) string {
	stanzas := strings.SplitAfter(index, "\n\n")
	for i, s := range stanzas {
		if strings.Contains(s, was.Digest.Hex()) {
			s = strings.Replace(s, was.Digest.Hex(), is.Digest.Hex(), 1)
			s = strings.Replace(s, sizeField(was.Size), sizeField(is.Size), 1)
			stanzas[i] = md5Line.ReplaceAllString(s, "")
		}
	}
	return strings.Join(stanzas, "")
}

func sizeField(n int64) string { return "\nSize: " + itoa(n) + "\n" }

func withoutProvenance(d *forge.Draft) {
	d.Remove(dockerTheirs)
	s := &d.Archive("docker").Suites[0]
	s.Files = slices.DeleteFunc(s.Files, func(f snapshot.SuiteFile) bool { return f.Role.IsUpstream() })
}

// lockOf is the first line of a lock that begins so.
func lockOf(lock []byte, start string) string {
	for line := range bytes.Lines(lock) {
		if bytes.HasPrefix(line, []byte(start)) {
			return string(line)
		}
	}
	return ""
}

// exchangeBlob writes other bytes of the same length into a layout's blob.
func exchangeBlob(t testing.TB, dir string, d snapshot.Digest) {
	t.Helper()
	name := filepath.Join(dir, "blobs/sha256", d.Hex())
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.Chmod(name, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
}
