package chaintest

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"example.org/mmoci/internal/extract"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testarchive/forge"
	"example.org/mmoci/internal/testarchive/world"
	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// verified seals a draft, opens it by trust and verifies it.
func verified(t *testing.T, d *forge.Draft, m forge.Making, trust prove.Trust) (*prove.Report, error) {
	t.Helper()
	return verifiedBy(t, d, m, trust, true)
}

// verifiedBy is verified, with every byte read or without.
func verifiedBy(t *testing.T, d *forge.Draft, m forge.Making, trust prove.Trust, hash bool) (*prove.Report, error) {
	t.Helper()
	ref := forge.Write(t, d.Seal(m), filepath.Join(testarchive.MemoryDir(t), "layout"), "draft")
	s, err := prove.Open(t.Context(), ref, trust, artifact.Options{})
	if err != nil {
		return nil, err
	}
	return prove.Verify(t.Context(), prove.Options{Snapshot: s, Trust: trust, Hash: hash, Ref: ref})
}

// TestVerifyRefuses changes one thing each that the site itself signs: the
// chain below its statement must hold nevertheless.
func TestVerifyRefuses(t *testing.T) {
	good, old := world.Draft(t, world.Good()), world.Draft(t, world.Older(t))
	both := world.UpstreamTrust(t)
	both.Site = world.SiteTrust(t).Site
	for _, c := range []struct {
		name    string
		change  func(d *forge.Draft)
		failure string
	}{
		{"nothing", func(*forge.Draft) {}, ""},
		{"a file of a suite that nothing names", func(d *forge.Draft) { d.Put(dockerDists+"extra", []byte("x")) },
			dockerDists + "extra: no signed index names it"},
		{"a pool file that nothing names", func(d *forge.Draft) { d.Put("docker/pool/x.deb", []byte("x")) },
			"docker/pool/x.deb: no signed index names it"},
		{"an index of another digest", func(d *forge.Draft) {
			d.Rows[dockerDists+dockerIndex] = reRow(d.Rows[dockerDists+dockerIndex], d.Rows[dockerTheirs+dockerIndex])
		}, "in the table, its Release lists"},
		{"the Date of a verbatim suite", func(d *forge.Draft) {
			f := d.Archive("security").Suites[0].File(snapshot.InRelease)
			f.Date = f.Date.Add(time.Hour)
		}, "the statement says 2026-01-12T07:00:00Z"},
		{"the Date of provenance", func(d *forge.Draft) {
			f := d.Archive("docker").Suites[0].File(snapshot.UpstreamInRelease)
			f.Date = f.Date.Add(time.Hour)
		}, "the statement says 2026-01-09T15:30:00Z"},
		{"Release and InRelease of different text", func(d *forge.Draft) {
			text := strings.Replace(string(d.Read(dockerDists+"Release")), "Label: Docker CE", "Label: Docker EE", 1)
			d.Put(dockerDists+"Release", []byte(text))
			d.Put(dockerDists+"Release.gpg", testarchive.SiteKey().Detach(t, []byte(text), d.Date))
			d.Odd = map[string]bool{dockerDists: true}
		}, "InRelease and Release differ"},
		{"a Release.gpg by another key", func(d *forge.Draft) {
			d.Put(dockerDists+"Release.gpg", forge.Mallory().Detach(t, d.Read(dockerDists+"Release"), d.Date))
			d.Odd = map[string]bool{dockerDists: true}
		}, "Release: integrity: no good signature"},
		{"a package of another name in the table", func(d *forge.Draft) {
			row := d.Rows[dockerCE]
			row.Source = "harmless"
			d.Rows[dockerCE] = row
		}, dockerCE + ": the table calls it docker-ce 5:28.5.2-1~debian.12~bookworm amd64 of source harmless, its stanza"},
		{"a curated index left out", func(d *forge.Draft) { d.Remove(dockerDists + dockerIndex) },
			"index docker/dists/bookworm/stable/binary-amd64/Packages is listed, but not in the snapshot"},
		{"a package of another suite of upstream's", func(d *forge.Draft) {
			stanza := stanzaIn(t, d, "debian/dists/bookworm-updates/main/binary-amd64/Packages.gz", "libseccomp2")
			d.EditIndex("debian/dists/bookworm/", "main/binary-amd64/Packages.gz", func(s string) string { return s + "\n" + stanza })
		}, "suite bookworm: integrity: 1 stanzas are in no index of upstream's; first: libseccomp2"},
		{"a package of the other suite of upstream's", func(d *forge.Draft) {
			stanza := stanzaIn(t, d, "debian/dists/bookworm/main/binary-amd64/Packages.gz", "libc6")
			d.EditIndex("debian/dists/bookworm-updates/", "main/binary-amd64/Packages.gz", func(s string) string { return s + "\n" + stanza })
		}, "suite bookworm-updates: integrity: 1 stanzas are in no index of upstream's; first: libc6"},
		{"the site's own where upstream's key is given", func(d *forge.Draft) {
			withoutProvenance(d)
			a := d.Archive("docker")
			a.Class, a.UpstreamKeys = snapshot.Site, nil
		}, "archive docker: integrity: a key of upstream's is given for it"},
		{"provenance of another day", func(d *forge.Draft) {
			d.Remove(dockerTheirs)
			d.Take(old, dockerTheirs, dockerTheirs)
			*d.Archive("docker").Suites[0].File(snapshot.UpstreamInRelease) = *old.Archive("docker").Suites[0].File(snapshot.UpstreamInRelease)
		}, "stanzas are in no index of upstream's"},
		{"lock: another date", func(d *forge.Draft) { d.EditLock("date 2026-01-13T", "date 2026-01-12T") }, "lock: its date is 2026-01-12T00:00:00Z"},
		{"lock: not canonical", func(d *forge.Draft) { d.EditLock("archive debian", "\narchive debian") }, "lock: not in canonical form"},
		{"lock: no lock", func(d *forge.Draft) { d.EditLock("mmoci-lock-v1", "mmoci-lock-v2") }, "lock: "},
		{"lock: an archive less", func(d *forge.Draft) {
			for line := lockOf(d.Lock, "archive security"); line != ""; line = securityLine(d.Lock) {
				d.EditLock(line, "")
			}
		}, "lock: has no archive security"},
		{"lock: an archive more", func(d *forge.Draft) { d.Lock = append(d.Lock, "archive zzz verbatim upstream\n"...) }, "lock: archive zzz is not in the statement"},
		{"lock: another mode", func(d *forge.Draft) { d.EditLock("security verbatim upstream", "security curated upstream") }, "lock: archive security is curated upstream, in the statement verbatim upstream"},
		{"lock: another Release", func(d *forge.Draft) {
			d.EditLock(d.Rows[dockerTheirs+"InRelease"].Digest.String(), d.Rows[dockerDists+"InRelease"].Digest.String())
		}, "lock: archive docker: Release sha256:"},
		{"lock: another index", func(d *forge.Draft) {
			d.EditLock(d.Rows[dockerTheirs+dockerIndex].Digest.String(), d.Rows[dockerDists+dockerIndex].Digest.String())
		}, "lock: index upstream/docker/dists/bookworm/stable/binary-amd64/Packages.gz is sha256:"},
		{"lock: a package less", func(d *forge.Draft) { d.EditLock(lockOf(d.Lock, "package docker"), "") }, "lock: archive docker has no line for containerd.io"},
		{"lock: a package more", func(d *forge.Draft) {
			line := lockOf(d.Lock, "package docker")
			d.EditLock(line, line+strings.Replace(line, "containerd.io ", "containerd.io2 ", 1))
		}, "lock: archive docker: containerd.io2 "},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := good.Clone()
			c.change(d)
			r, err := verified(t, d, forge.Resigned, both)
			if c.failure == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if exitOf(err) != 3 || r == nil || !strings.Contains(strings.Join(r.Failures, "\n"), c.failure) {
				t.Errorf("exit %d, %v, report %+v; want %s", exitOf(err), err, r, c.failure)
			}
		})
	}
}

func reRow(row, other snapshot.Row) snapshot.Row {
	row.Digest, row.Size = other.Digest, other.Size
	return row
}

func securityLine(lock []byte) string {
	for _, start := range []string{"release security", "index security"} {
		if line := lockOf(lock, start); line != "" {
			return line
		}
	}
	return ""
}

func stanzaIn(t *testing.T, d *forge.Draft, index, name string) string {
	t.Helper()
	plain, err := archive.Decompress(index, d.Read(index), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for s := range strings.SplitSeq(string(plain), "\n\n") {
		if strings.HasPrefix(s, "Package: "+name+"\n") {
			return strings.TrimRight(s, "\n") + "\n"
		}
	}
	t.Fatalf("no %s in %s", name, index)
	return ""
}

// TestStates: what verify says of each archive under each trust.
func TestStates(t *testing.T) {
	good := world.Draft(t, world.Good())
	one := world.UpstreamTrust(t)
	delete(one.Upstream, "docker")
	one.Named = nil
	both := world.UpstreamTrust(t)
	both.Site = world.SiteTrust(t).Site
	for _, c := range []struct {
		name           string
		trust          prove.Trust
		docker, debian prove.State
		require        bool
		served         string
	}{
		{"site", world.SiteTrust(t), prove.NotProved, prove.NotProved, false, "signed"},
		{"upstream", world.UpstreamTrust(t), prove.Proved, prove.Proved, true, "unverified"},
		{"both", both, prove.Proved, prove.Proved, true, "signed"},
		{"not docker's", one, prove.NotProved, prove.Proved, false, "unverified"},
	} {
		r, err := verified(t, good, forge.Resigned, c.trust)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if got := r.Archives[1].State; got != c.docker {
			t.Errorf("%s: docker is %s", c.name, got)
		}
		if got := r.Archives[0].State; got != c.debian {
			t.Errorf("%s: debian is %s", c.name, got)
		}
		if kind := r.Archives[0].Suites[0].Served.Signature.Kind; kind != c.served {
			t.Errorf("%s: debian is served %s", c.name, kind)
		}
		if err := r.RequireUpstream(); (err == nil) != c.require || err != nil && exitOf(err) != 3 {
			t.Errorf("%s: --require upstream: %v", c.name, err)
		}
	}
}

// TestBelieve: when a snapshot may be relied on at all, and when it is too old.
func TestBelieve(t *testing.T) {
	good := world.Draft(t, world.Good())
	good.Valid = world.Date.Add(6 * time.Hour)
	dir := filepath.Join(testarchive.MemoryDir(t), "layout")
	signed := forge.Write(t, good.Seal(forge.Resigned), dir, "signed")
	unsigned := forge.Write(t, good.Seal(forge.Unsigned), dir, "unsigned")
	root, err := artifact.Resolve(t.Context(), signed, artifact.Options{})
	if err != nil {
		t.Fatal(err)
	}
	pinned := signed
	pinned.Digest = root
	early, aged := world.SiteTrust(t), world.SiteTrust(t)
	early.Now = world.Date.Add(time.Hour)
	aged.Now, aged.MaxAge = early.Now, time.Minute
	agedUpstream := world.UpstreamTrust(t)
	agedUpstream.MaxAge = 36 * time.Hour
	expired := world.UpstreamTrust(t)
	expired.Now = time.Date(2026, 1, 20, 0, 0, 0, 0, time.UTC)
	lenient := expired
	lenient.ExpiredOK = map[string]bool{"security": true}
	future := world.UpstreamTrust(t)
	future.Now = time.Date(2026, 1, 11, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name    string
		ref     artifact.Reference
		trust   prove.Trust
		exit    int
		message string
	}{
		{"by the site's key, in time", signed, early, 0, ""},
		{"by the site's key, past valid-until", signed, world.SiteTrust(t), 5, "valid until 2026-01-13T06:00:00Z"},
		{"the same, pinned", pinned, world.SiteTrust(t), 0, ""},
		{"older than --max-age", signed, aged, 5, "more than the 1m0s that are allowed"},
		{"upstream older than --max-age", signed, agedUpstream, 5, "archive docker: too old: of 2026-01-09T14:30:00Z"},
		{"no key", signed, prove.Trust{Now: early.Now}, 2, "nothing to verify it by"},
		{"no key, unsigned", unsigned, prove.Trust{Now: early.Now}, 2, "nothing to verify it by"},
		{"--insecure-unsigned", unsigned, prove.Trust{Now: early.Now, Unsigned: true}, 0, ""},
		{"unsigned under a key", unsigned, early, 3, "not signed, but a key is demanded"},
		{"upstream past Valid-Until", signed, expired, 5, "Release was valid until"},
		{"the same, check-valid-until: no", signed, lenient, 0, ""},
		{"upstream from the future", signed, future, 3, "in the future"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := prove.Open(t.Context(), c.ref, c.trust, artifact.Options{})
			if err == nil {
				_, err = extract.Run(t.Context(), extract.Options{Snapshot: s, Trust: c.trust, Queries: []string{"docker-ce"},
					Dir: filepath.Join(testarchive.MemoryDir(t), "out"), Architecture: "amd64"})
			}
			refused(t, err, c.exit, c.message)
		})
	}
}

// TestCrossing: a closure that needs a prefix without key is refused, naming it;
// so is the whole tree.
func TestCrossing(t *testing.T) {
	ref := forge.Write(t, world.Draft(t, world.Good()).Seal(forge.Resigned), filepath.Join(testarchive.MemoryDir(t), "layout"), "good")
	trust := world.UpstreamTrust(t)
	delete(trust.Upstream, "debian")
	trust.Named = nil
	s, err := prove.Open(t.Context(), ref, trust, artifact.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = extract.Run(t.Context(), extract.Options{Snapshot: s, Trust: trust, Queries: []string{"docker-ce"}, Dir: filepath.Join(testarchive.MemoryDir(t), "out"), Architecture: "amd64"})
	refused(t, err, 3, "comes from prefix debian, for which no key is given; give upstream's key [debian]")
	_, err = extract.Tree(t.Context(), extract.TreeOptions{Snapshot: s, Trust: trust, Dir: filepath.Join(testarchive.MemoryDir(t), "tree")})
	refused(t, err, 3, "archive debian: no key given for this prefix; give upstream's key [debian]")
}

// TestSHA512Only: a Release or a stanza that names a file by SHA512 alone is
// refused, whoever signed it: a file is found by its SHA256.
func TestSHA512Only(t *testing.T) {
	const index = "toy/dists/toy/main/binary-amd64/Packages"
	weaker := func(data []byte) []byte {
		return regexp.MustCompile(`(?m)^SHA256: .*$`).ReplaceAll(data, []byte("SHA512: "+strings.Repeat("0", 128)))
	}
	for _, c := range []struct {
		name      string
		release   bool                     // lists SHA512 alone
		editIndex func(data []byte) []byte // of the stanza
		failure   string
	}{
		{"right", false, func(data []byte) []byte { return data }, ""},
		{"Release", true, func(data []byte) []byte { return data }, "has no SHA256: SHA512 alone is listed"},
		{"stanza", false, weaker, "no SHA256: SHA512 alone is listed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := testarchive.Archive{Keys: []*testarchive.Key{testarchive.DebianKey()}, Suites: []testarchive.Suite{{
				Dir: "toy", SHA512: c.release, Compressions: []string{"plain"},
				EditIndex: func(string, []byte) []byte { return c.editIndex(indexOf("x")) },
			}}}
			files := a.Build(t)
			files["pool/x.deb"] = []byte("x")
			d := world.Draft(t, world.Good())
			for _, p := range []string{"docker", "debian", "security"} {
				d.Drop(p)
			}
			addVerbatim(d, "toy", "toy", files)
			x := d.Rows["toy/pool/x.deb"]
			x.Package = snapshot.Package{Name: "x", Version: "1", Architecture: "amd64", Source: "x"}
			d.Rows[x.Path] = x
			d.Put(index, files[strings.TrimPrefix(index, "toy/")])
			d.Lock = append(d.Lock, "archive toy verbatim upstream\n"...)
			trust := prove.Trust{Upstream: map[string]*pgp.Keyring{"toy": world.Ring(t, testarchive.DebianKey())}, Now: world.Now}
			r, err := verified(t, d, forge.Foreign, trust)
			if c.failure == "" && err != nil {
				t.Fatal(err)
			}
			if c.failure != "" && (exitOf(err) != 3 || !strings.Contains(strings.Join(r.Failures, "\n"), c.failure)) {
				t.Errorf("%v, %q; want %s", err, r.Failures, c.failure)
			}
			ref := forge.Write(t, d.Seal(forge.Foreign), filepath.Join(testarchive.MemoryDir(t), "layout"), "x")
			s, err := prove.Open(t.Context(), ref, trust, artifact.Options{})
			if err != nil {
				t.Fatal(err)
			}
			_, err = extract.Tree(t.Context(), extract.TreeOptions{Snapshot: s, Trust: trust, Dir: filepath.Join(testarchive.MemoryDir(t), "tree")})
			if c.failure == "" {
				refused(t, err, 0, "")
			} else {
				refused(t, err, 3, c.failure)
			}
		})
	}
}

// indexOf is a Packages index of one file with these bytes.
func indexOf(deb string) []byte {
	return fmt.Appendf(nil, "Package: x\nVersion: 1\nArchitecture: amd64\nFilename: pool/x.deb\nSize: %d\nSHA256: %s\n", len(deb), snapshot.Sum([]byte(deb)).Hex())
}

// TestUpstreamStanzasSkipped: upstream's index may hold stanzas that nobody can
// read; they name none of the files that are here.
func TestUpstreamStanzasSkipped(t *testing.T) {
	u := world.Good()
	u.Docker.Suite(t, "bookworm").EditIndex = func(_ string, data []byte) []byte {
		return append(data, "\nPackage: odd\nVersion: v1!\nArchitecture: amd64\nFilename: pool/odd.deb\nSize: 1\nSHA256: 00\n\nPackage: odd2\nno colon here\n"...)
	}
	ref := forge.Write(t, world.Draft(t, u).Seal(forge.Resigned), filepath.Join(testarchive.MemoryDir(t), "layout"), "odd")
	trust := world.UpstreamTrust(t)
	s, err := prove.Open(t.Context(), ref, trust, artifact.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := prove.Verify(t.Context(), prove.Options{Snapshot: s, Trust: trust, Hash: true, Ref: ref}); err != nil {
		t.Error(err)
	}
	if _, err := extract.Tree(t.Context(), extract.TreeOptions{Snapshot: s, Trust: trust, Dir: filepath.Join(testarchive.MemoryDir(t), "tree")}); err != nil {
		t.Error(err)
	}
}

// TestVerifyEnds: an interrupted verify is no verdict.
func TestVerifyEnds(t *testing.T) {
	ref := forge.Write(t, world.Draft(t, world.Good()).Seal(forge.Resigned), filepath.Join(testarchive.MemoryDir(t), "layout"), "good")
	trust := world.SiteTrust(t)
	s, err := prove.Open(t.Context(), ref, trust, artifact.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r, err := prove.Verify(ctx, prove.Options{Snapshot: s, Trust: trust, Hash: true, Ref: ref}); err == nil || exitOf(err) == 3 {
		t.Errorf("%+v, %v", r, err)
	}
}
