package testarchive

import (
	"bytes"
	"crypto"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// Outcome is what should become of an archive.
type Outcome uint8

// The outcomes: taken; refused in whatever way, as malformed or as not there
// (any exit code but 0, and nothing of it used); refused because bytes contradict
// what a signature or digest says of them (exit code 3); refused as genuine and too old (exit code 5).
const (
	Taken Outcome = iota
	Refused
	Integrity
	Expired
)

// String is the outcome's name.
func (o Outcome) String() string { return [...]string{"taken", "refused", "integrity", "too old"}[o] }

// Hostile is an archive that is wrong in one way, or is odd and right. Its one
// suite is "toy", component main, architecture amd64, format Packages.xz and Packages.gz with by-hash; its
// packages are top, which depends on leaf, and leaf. To be read at HostileNow
// under Keyring.
type Hostile struct {
	Name    string // unique, fit for t.Run
	Why     string // what is wrong with it
	Want    Outcome
	Names   string // what an error should name, a part of a path; "" is anything
	Stage   Stage  // when it must show at the latest
	Keyring []byte // armoured
	Files   func(t testing.TB) Files
}

// Stage is a step of the way from upstream to a host.
type Stage uint8

// The stages: the InRelease is read, the index is read, top and its dependencies are fetched, they are taken out for a host.
const (
	AtRelease Stage = iota
	AtIndex
	AtPool
	AtExtract
)

// HostileNow is the time at which to read them.
func HostileNow() time.Time { return DefaultDate().AddDate(0, 0, 2) }

// toy is the archive that all of them start from.
func toy() Archive {
	return Archive{
		Keys: []*Key{NewKey("toy")},
		Suites: []Suite{{
			Dir: "toy", Origin: "Toy", Label: "Toy", ByHash: true,
			Packages: []Package{
				simple("leaf", "1.0-1", "amd64", ""),
				simple("top", "2:1.0+x~1-1", "all", "leaf (>= 1)"),
			},
		}},
	}
}

// HostileArchives lists them; each is built when Files is called.
func HostileArchives() []Hostile {
	all := slices.Concat(hostileSignatures(), hostileReleases(), hostileIndices(), hostilePools())
	for i := range all {
		if all[i].Keyring == nil {
			all[i].Keyring = NewKey("toy").Public()
		}
	}
	return all
}

// changed is toy with changes to its value.
func changed(change func(*Archive, *Suite)) func(testing.TB) Files {
	return func(t testing.TB) Files {
		a := toy()
		change(&a, &a.Suites[0])
		return a.Build(t)
	}
}

// edited is toy with changes to its files, which break the chain.
func edited(change func(testing.TB, Files)) func(testing.TB) Files {
	return func(t testing.TB) Files {
		f := toy().Build(t)
		change(t, f)
		return f
	}
}

// release is toy with changes to the text of Release, which is signed afterwards.
func release(old, new string) func(testing.TB) Files {
	return func(t testing.TB) Files {
		a := toy()
		a.Suites[0].EditRelease = func(text []byte) []byte { return replaced(t, text, old, new) }
		return a.Build(t)
	}
}

// packages is toy with changes to the text of Packages, which is listed and signed afterwards.
func packages(old, new string) func(testing.TB) Files {
	return func(t testing.TB) Files {
		a := toy()
		a.Suites[0].EditIndex = func(_ string, data []byte) []byte { return replaced(t, data, old, new) }
		return a.Build(t)
	}
}

// replaced replaces the first occurrence, which must be there.
func replaced(t testing.TB, data []byte, old, new string) []byte {
	t.Helper()
	if !bytes.Contains(data, []byte(old)) {
		t.Fatalf("testarchive: no %q to replace", old)
	}
	return bytes.Replace(data, []byte(old), []byte(new), 1)
}

// exchange replaces a file and all its copies under other names (by-hash).
func exchange(t testing.TB, f Files, path string, with func([]byte) []byte) {
	t.Helper()
	old, ok := f[path]
	if !ok {
		t.Fatalf("testarchive: no %s", path)
	}
	for p, b := range f {
		if bytes.Equal(b, old) {
			f[p] = with(old)
		}
	}
}

func flip(b []byte) []byte { return Flipped(b, len(b)/2) }

// Paths in toy.
const (
	toyInRelease = "dists/toy/InRelease"
	toyPackages  = "dists/toy/main/binary-amd64/Packages"
	toyTop       = "pool/main/t/top/top_1.0+x~1-1_all.deb"
	toyLeaf      = "pool/main/l/leaf/leaf_1.0-1_amd64.deb"
)

// inRelease is toy with changes to the finished InRelease.
func inRelease(change func(t testing.TB, signed []byte) []byte) func(testing.TB) Files {
	return edited(func(t testing.TB, f Files) { f[toyInRelease] = change(t, f[toyInRelease]) })
}

// signedBy is toy signed by other keys.
func signedBy(keys ...*Key) func(testing.TB) Files {
	return changed(func(a *Archive, _ *Suite) { a.Keys = keys })
}

const beginSignature = "-----BEGIN PGP SIGNATURE-----"

func hostileSignatures() []Hostile {
	evil := "Origin: Evil\nSuite: toy\n"
	return []Hostile{
		{Name: "honest", Why: "nothing is wrong", Want: Taken, Files: changed(func(*Archive, *Suite) {})},
		{Name: "inrelease-flipped", Why: "one letter of the signed text is another", Want: Integrity, Names: "InRelease",
			Files: inRelease(func(t testing.TB, b []byte) []byte { return replaced(t, b, "Origin: Toy", "Origin: Tox") })},
		{Name: "signature-flipped", Why: "one bit of the signature is another", Want: Integrity, Names: "InRelease",
			Files: inRelease(func(_ testing.TB, b []byte) []byte {
				return flippedSignature(b)
			})},
		{Name: "text-before", Why: "unsigned text stands before the signed message", Want: Integrity, Names: "InRelease",
			Files: inRelease(func(_ testing.TB, b []byte) []byte { return append([]byte(evil+"\n"), b...) })},
		{Name: "text-after", Why: "unsigned text stands behind the signature", Want: Integrity, Names: "InRelease",
			Files: inRelease(func(_ testing.TB, b []byte) []byte { return append(slices.Clone(b), evil...) })},
		{Name: "text-between", Why: "text stands between the message and its signature", Want: Integrity, Names: "InRelease",
			Files: inRelease(func(t testing.TB, b []byte) []byte { return replaced(t, b, beginSignature, evil+beginSignature) })},
		{Name: "two-messages", Why: "a second signed message follows the first", Want: Integrity, Names: "InRelease",
			Files: inRelease(func(_ testing.TB, b []byte) []byte { return append(slices.Clone(b), b...) })},
		{Name: "message-first", Why: "an unsigned message precedes the signed one in the same file", Want: Integrity, Names: "InRelease",
			Files: inRelease(func(_ testing.TB, b []byte) []byte {
				return append([]byte("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n"+evil), b...)
			})},
		{Name: "armor-header", Why: "a field stands where only Hash may", Want: Integrity, Names: "InRelease",
			Files: inRelease(func(t testing.TB, b []byte) []byte {
				return replaced(t, b, "Hash: SHA256\n", "Hash: SHA256\nOrigin: Evil\n")
			})},
		{Name: "dash-unescaped", Why: "a line of the message begins with an unescaped dash (RFC 9580 section 7.1)", Want: Refused, Names: "InRelease",
			Files: unescapedDash},
		{Name: "no-signature", Why: "the archive is not signed", Want: Integrity, Files: signedBy()},
		{Name: "empty-inrelease", Why: "InRelease is empty", Want: Integrity, Names: "InRelease",
			Files: inRelease(func(testing.TB, []byte) []byte { return nil })},
		{Name: "foreign-key", Why: "signed by a key that is not in the keyring", Want: Integrity, Files: signedBy(NewKey("stranger"))},
		{Name: "expired-key", Why: "the key expired before it signed", Want: Integrity, Files: signedBy(NewExpiredKey("old")), Keyring: NewExpiredKey("old").Public()},
		{Name: "revoked-key", Why: "the key was revoked as compromised", Want: Integrity, Files: signedBy(NewRevokedKey("stolen")), Keyring: NewRevokedKey("stolen").Public()},
		{Name: "encryption-key", Why: "the key may encrypt only", Want: Integrity, Files: signedBy(NewEncryptionKey("cipher")), Keyring: NewEncryptionKey("cipher").Public()},
		{Name: "sha1", Why: "the signature is over a SHA1 digest", Want: Integrity, Files: signedWith(crypto.SHA1, "SHA1")},
		{Name: "one-bad-one-good", Why: "the first of two signatures, both by trusted keys, is broken, the second holds (apt refuses such a file)", Want: Integrity, Names: "InRelease", Files: brokenFirst,
			Keyring: slices.Concat(NewKey("toy").Public(), NewKey("toy 2").Public())},
		{Name: "bad-known-good-unknown", Why: "the signature by the known key is broken, another by a stranger holds", Want: Integrity, Files: brokenFirst},
		{Name: "release-gpg-of-another-day", Why: "no InRelease; Release.gpg is of another day's Release", Want: Integrity, Names: "Release",
			Files: otherDaySignature},
		{Name: "release-gpg", Why: "no InRelease, Release and Release.gpg are right", Want: Taken,
			Files: changed(func(_ *Archive, s *Suite) { s.NoInRelease = true })},
	}
}

// flippedSignature changes a letter near the end of the armour's body: of the
// signature itself, not of the key's name before it.
func flippedSignature(signed []byte) []byte {
	c := slices.Clone(signed)
	at := bytes.LastIndex(c, []byte("\n=")) - 10
	if c[at] == 'A' {
		c[at] = 'B'
	} else {
		c[at] = 'A'
	}
	return c
}

// unescapedDash signs a text with a line "-x" and frames it without the escape.
func unescapedDash(t testing.TB) Files {
	a := toy()
	a.Suites[0].EditRelease = func(text []byte) []byte { return replaced(t, text, "Description:", "-X: evil\nDescription:") }
	a.Suites[0].EditSigned = func(signed []byte) []byte { return replaced(t, signed, "- -X:", "-X:") }
	return a.Build(t)
}

// signedWith makes InRelease and Release.gpg with another digest algorithm.
func signedWith(hash crypto.Hash, name string) func(testing.TB) Files {
	return func(t testing.TB) Files {
		a := toy()
		k := a.Keys[0]
		a.Suites[0].Sign = func(t testing.TB, text []byte, at time.Time) []byte {
			var sig bytes.Buffer
			k.sign(t, &sig, packet.SigTypeText, canonical(text), at, hash)
			return FrameClearsigned(text, name, sig.Bytes())
		}
		f := a.Build(t)
		var sig bytes.Buffer
		k.sign(t, &sig, packet.SigTypeBinary, f["dists/toy/Release"], DefaultDate(), hash)
		f["dists/toy/Release.gpg"] = armored(openpgp.SignatureType, sig.Bytes())
		return f
	}
}

// brokenFirst has two signatures of which the first is over another text.
func brokenFirst(t testing.TB) Files {
	a := toy()
	first, second := a.Keys[0], NewKey("toy 2")
	a.Suites[0].Sign = func(t testing.TB, text []byte, at time.Time) []byte {
		var sigs bytes.Buffer
		first.sign(t, &sigs, packet.SigTypeText, []byte("another text"), at, crypto.SHA256)
		second.sign(t, &sigs, packet.SigTypeText, canonical(text), at, crypto.SHA256)
		return FrameClearsigned(text, "SHA256", sigs.Bytes())
	}
	f := a.Build(t)
	f["dists/toy/Release.gpg"] = first.Detach(t, []byte("another text"), DefaultDate())
	return f
}

// otherDaySignature is Release of one day with Release.gpg of the next.
func otherDaySignature(t testing.TB) Files {
	a, b := toy(), toy()
	a.Suites[0].NoInRelease, b.Suites[0].NoInRelease = true, true
	b.Suites[0].Date = DefaultDate().AddDate(0, 0, 1)
	f := a.Build(t)
	f["dists/toy/Release.gpg"] = b.Build(t)["dists/toy/Release.gpg"]
	return f
}

// sha256Of is the SHA256 line of a path in toy's Release.
func sha256Of(t testing.TB, path string) string {
	t.Helper()
	text := string(toy().Build(t)["dists/toy/Release"])
	_, list, _ := strings.Cut(text, "SHA256:\n")
	for line := range strings.Lines(list) {
		if f := strings.Fields(line); len(f) == 3 && f[2] == path {
			return line
		}
	}
	t.Fatalf("testarchive: %s is not listed", path)
	return ""
}

// relisted is toy whose Release lists path in another way.
func relisted(path string, line func(digest string, size int, path string) string) func(testing.TB) Files {
	return func(t testing.TB) Files {
		old := sha256Of(t, path)
		var digest string
		var size int
		if _, err := fmt.Sscan(old, &digest, &size); err != nil {
			t.Fatal(err)
		}
		return release(old, line(digest, size, path)+"\n")(t)
	}
}
