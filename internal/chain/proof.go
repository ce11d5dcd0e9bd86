package chain

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"
	"time"
	"unicode"

	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/snapshot"
)

// State says whether who shows a step verified it.
type State string

// The states of a step.
const (
	Verified   State = "verified"
	Unverified State = "not verified" // nothing to verify it by, or not done here
	Wrong      State = "wrong"        // it contradicts itself
)

// Step is one link of the chain of a package.
type Step struct {
	Title   string   `json:"title"`
	State   State    `json:"state"`
	Reason  string   `json:"reason"`  // who verified it, or why nobody did
	Facts   []string `json:"facts"`   // what the link consists of
	Command string   `json:"command"` // checks it by hand, in a shell, after those of the steps before
}

// Proof is the chain of one package. Its JSON form is what prove --json prints.
type Proof struct {
	Name         string `json:"name"`
	Version      string `json:"version"`
	Architecture string `json:"architecture"`
	Archive      string `json:"archive"`
	Digest       string `json:"digest"`
	Snapshot     string `json:"snapshot"` // root
	Steps        []Step `json:"steps"`
	// Built is what the snapshot's lock says of the build of a package of the site's own, as a text; "": nothing.
	Built string `json:"built,omitempty"`
}

// Believed tells how far a proof holds: the worst state of its steps.
func (p Proof) Believed() State {
	worst := Verified
	for _, s := range p.Steps {
		if s.State == Wrong || s.State == Unverified && worst == Verified {
			worst = s.State
		}
	}
	return worst
}

// KeyFile is where a person has the public key of an archive.
type KeyFile struct {
	Fetch   string // command that puts it there; "": it is there
	File    string
	Armored bool
}

// Place is where a person can read the snapshot: one of the three.
type Place struct {
	Base       string // URL of a server of this program, without final slash
	Repository string // HOST/REPO of a registry
	Layout     string // directory of an OCI layout
	Archive    string // tar of one
}

// ProofOptions say how a proof is worded.
type ProofOptions struct {
	Place Place
	Key   KeyFile // of the archive: upstream's, or the site's for class site
	Who   string  // who shows it: "this server", "mmoci"
	Now   time.Time
	// Hashed says that the .deb itself was read and had its digest; else Sends says what is known of its bytes.
	Hashed bool
	Sends  string
	// Registry is HOST/REPO where the blob is, if it is known and Place is another; "": Place.
	Registry string
	Verify   string // command that verifies the whole snapshot
}

// Prove says how a package hangs on a key, step by step.
func (b *Book) Prove(p Package, o ProofOptions) Proof {
	if b.entries[p.entry].index == none {
		return b.unnamed(p, o)
	}
	ix := b.indices[b.entries[p.entry].index]
	w := proving{b: b, p: p, o: o, ix: ix, s: ix.suite, whose: "Upstream"}
	if w.s.archive.Class != snapshot.Upstream {
		w.whose = "The site"
	}
	w.release = path.Base(w.s.signed.Path)
	return Proof{
		Name: p.Name, Version: p.Version, Architecture: p.Architecture, Archive: p.Row.Archive(), Digest: p.Digest.String(), Snapshot: b.snapshot.Root.String(),
		Built: b.built[p.Row.Archive()+" "+p.Digest.String()],
		Steps: []Step{w.key(), w.signature(), w.index(), w.stanza(), w.file(), w.blob(), w.member()},
	}
}

// unnamed is the proof of a package that no index names: there is none.
func (b *Book) unnamed(p Package, o ProofOptions) Proof {
	w := proving{b: b, p: p, o: o}
	missing := Step{Title: "An index names it", State: Wrong, Reason: "no index of the archive has a stanza for this file"}
	switch a := b.snapshot.Statement.Archive(p.Row.Archive()); {
	case a.Format != snapshot.FormatDeb:
		missing.State, missing.Reason = Unverified, "what lists the packages of such an archive is not read here; the last step verifies the whole snapshot"
	case strings.HasSuffix(p.Path, ".udeb"):
		missing.State, missing.Reason = Unverified, "packages of the installer are in indices of their own, which are not read"
	}
	for _, err := range b.Lost {
		if text := err.Error(); strings.HasPrefix(text, "archive "+p.Row.Archive()+":") {
			missing.State, missing.Reason = Unverified, "the indices cannot be read: "+oneLine(text)
			if errors.Is(err, snapshot.ErrIntegrity) {
				missing.State = Wrong
			}
		}
	}
	return Proof{
		Name: p.Name, Version: p.Version, Architecture: p.Architecture, Archive: p.Row.Archive(), Digest: p.Digest.String(), Snapshot: b.snapshot.Root.String(),
		Steps: []Step{missing, w.blob(), w.member()},
	}
}

type proving struct {
	b       *Book
	p       Package
	o       ProofOptions
	ix      index
	s       *suite
	whose   string // key
	release string // name of the signed file
}

// signed tells whether the Release was verified by a key.
func (w proving) signed() bool { return w.s.release.How.Kind == pgp.Signed && w.s.wrong == nil }

// below is the state of what hangs on the Release.
func (w proving) below(what string) (State, string) {
	switch {
	case w.signed():
		return Verified, w.o.Who + " compared " + what
	case w.s.wrong != nil:
		return Unverified, what + " fits, but the signature above it does not"
	}
	return Unverified, what + " fits; nobody here vouches for the Release above it"
}

func (w proving) key() Step {
	s := Step{Title: w.whose + "'s key", State: Unverified}
	ring, how := w.b.keys.ring(w.s.archive), w.s.release.How
	file := w.keyName()
	s.Command = "gpg --show-keys " + Quote(file)
	if w.o.Key.Fetch != "" {
		s.Command = w.o.Key.Fetch + " && " + s.Command
	}
	switch {
	case ring == nil && w.s.archive.Class != snapshot.Upstream:
		s.Reason = w.o.Who + " was not told the site's key"
	case ring == nil:
		s.Reason = w.o.Who + " was not told upstream's key"
	case !w.signed():
		s.State, s.Reason = Unverified, w.o.Who+" has a key that did not make the signature below"
	default:
		s.State, s.Reason = Verified, w.o.Who+" was given it; compare the fingerprint with what its owner publishes"
		s.Facts = append(s.Facts, "fingerprint "+how.Signer)
		if info, ok := w.s.signer(ring, w.o.Now); ok {
			s.Facts = append(s.Facts, "of "+oneLine(info.UserID), "made "+day(info.Created))
		}
		return s
	}
	if ring != nil {
		for _, f := range ring.Fingerprints() {
			s.Facts = append(s.Facts, "fingerprint "+f)
		}
	} else {
		for _, f := range w.s.archive.UpstreamKeys {
			s.Facts = append(s.Facts, "fingerprint "+f+", as the site says")
		}
	}
	return s
}

// keyName is the file that a person has the key in.
func (w proving) keyName() string {
	if w.o.Key.File != "" {
		return w.o.Key.File
	}
	return "key.asc"
}

func (w proving) signature() Step {
	how, rel := w.s.release.How, w.s.release
	s := Step{Title: w.whose + "'s signature on " + w.release, State: Unverified}
	s.Facts = []string{
		"suite " + oneLine(w.s.name), "of " + snapshot.FormatDate(rel.Date) + ", " + Age(rel.Date, w.o.Now), w.s.signed.Digest.String(),
	}
	if !rel.ValidUntil.IsZero() {
		until := "valid until " + snapshot.FormatDate(rel.ValidUntil)
		if w.o.Now.After(rel.ValidUntil) {
			until += ", which is over: apt takes it only with Check-Valid-Until: no"
		}
		s.Facts = append(s.Facts, until)
	}
	switch {
	case w.s.wrong != nil:
		s.State, s.Reason = Wrong, w.s.wrong.Error()
	case w.signed():
		s.State, s.Reason = Verified, w.o.Who+" verified the signature"
		s.Facts = append(s.Facts, "signed "+snapshot.FormatDate(how.Time))
	case w.b.keys.ring(w.s.archive) == nil:
		s.Reason = w.o.Who + " has no key to verify it by"
	default:
		s.Reason = "it has no signature"
	}
	dearmor, ring := "", w.keyName()
	if w.o.Key.Armored || w.o.Key.File == "" {
		dearmor, ring = "gpg --dearmor <"+Quote(ring)+" >key.gpg && ", "./key.gpg"
	} else if !strings.Contains(ring, "/") {
		ring = "./" + ring
	}
	output := ""
	if w.text() != w.release {
		output = " --output " + w.text()
	}
	s.Command = w.fetch(w.s.signed.Path, w.s.signed.Blob, w.release) + " && " + dearmor + "gpgv --status-fd 1 --keyring " + Quote(ring) + output + " " + w.release + w.good()
	if d := w.s.detached; d != nil {
		s.Command = w.fetch(d.Path, d.Blob, "Release.gpg") + " && " + w.fetch(w.s.signed.Path, w.s.signed.Blob, w.release) + " && " +
			dearmor + "gpgv --status-fd 1 --keyring " + Quote(ring) + " Release.gpg Release" + w.good()
	}
	return s
}

// good is the rest of the command that runs gpgv: it holds if the key made a good signature. gpgv alone would also want the keys of all
// who signed beside it, and of a Debian release not everybody has these. What gpgv tells in words of
// forged or ambiguous text makes it fail.
func (w proving) good() string {
	signer := ""
	if w.signed() {
		signer = ".*" + w.s.release.How.Signer
	}
	return ` | awk '/^\[GNUPG:\] VALIDSIG ` + signer + `/ {good=1} /^\[GNUPG:\] (BADSIG|ERROR) / {bad=1} END {exit bad || !good}'`
}

// text is the file that has what is signed and nothing else. InRelease is not: gpgv passes over what stands before or behind
// the signed text there, so a line of it proves nothing.
func (w proving) text() string {
	if w.release == "InRelease" {
		return "Release"
	}
	return w.release
}

func (w proving) index() Step {
	s := Step{Title: "The Release names the index", Facts: []string{w.ix.file.Path, w.ix.blob.Digest.String(), fmt.Sprintf("%d bytes", w.ix.blob.Size)}}
	s.State, s.Reason = w.below("the digest")
	name := path.Base(w.ix.file.Path)
	s.Command = fmt.Sprintf("grep -E %s %s && %s && %s",
		Quote(fmt.Sprintf("^ %s +%d %s$", w.ix.blob.Digest.Hex(), w.ix.blob.Size, pattern(w.ix.file.Path))), w.text(),
		w.fetch(w.s.base+w.ix.file.Path, w.ix.blob, name), sum(w.ix.blob.Digest, name))
	return s
}

func (w proving) stanza() Step {
	s := Step{Title: "The index has the stanza", Facts: []string{
		"Package: " + w.p.Name, "Version: " + w.p.Version, "Architecture: " + w.p.Architecture, "SHA256: " + w.p.Digest.Hex(),
	}}
	s.State, s.Reason = w.below("the stanza")
	unpack := map[string]string{".xz": "xz -dc", ".gz": "gzip -dc", ".bz2": "bzip2 -dc", ".zst": "zstd -dc", ".lzma": "lzma -dc"}
	name := path.Base(w.ix.file.Path)
	with := unpack[path.Ext(name)]
	if with == "" {
		with = "cat"
	}
	s.Command = fmt.Sprintf("%s %s | awk -v RS= '/(^|\\n)SHA256: %s(\\n|$)/'", with, Quote(name), w.p.Digest.Hex())
	return s
}

func (w proving) file() Step {
	s := Step{Title: "The stanza names the .deb", State: Unverified, Reason: w.o.Sends, Facts: []string{
		oneLine(path.Base(w.p.Path)), fmt.Sprintf("%d bytes", w.p.Size), w.p.Digest.String(),
	}}
	if w.o.Hashed {
		s.State, s.Reason = Verified, w.o.Who+" read it and hashed it"
	}
	name := debName(w.p)
	s.Command = w.fetch(w.p.Path, w.p.Blob(), name) + " && " + sum(w.p.Digest, name)
	return s
}

// debName is a name for the .deb that needs no quotes.
func debName(p Package) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '.' || r == '+' || r == '-' {
			return r
		}
		return '_'
	}, strings.ToLower(p.Name))
	return strings.TrimLeft(name, "-.") + ".deb"
}

func (w proving) blob() Step {
	s := Step{Title: "Its SHA256 is the digest of its blob", State: Verified, Reason: "it is the same number; there is no list in between", Facts: []string{w.p.Digest.String()}}
	place := w.o.Place
	if w.o.Registry != "" {
		place = Place{Repository: w.o.Registry}
	}
	hex := w.p.Digest.Hex()
	switch {
	case place.Repository != "":
		s.Facts = append(s.Facts, oneLine(place.Repository)+"@"+w.p.Digest.String())
		s.Command = "crane blob " + Quote(place.Repository+"@"+w.p.Digest.String()) + " | sha256sum"
	case place.Layout != "":
		s.Command = "sha256sum " + Quote(strings.TrimSuffix(place.Layout, "/")+"/blobs/sha256/"+hex)
	case place.Archive != "":
		s.Command = "tar -xOf " + Quote(place.Archive) + " blobs/sha256/" + hex + " | sha256sum"
	default:
		s.Command = "sha256sum " + debName(w.p)
	}
	return s
}

// member says that the site made it a part of the snapshot.
func (w proving) member() Step {
	st := w.b.snapshot.Statement
	s := Step{Title: "The site's statement makes it a part of the snapshot", State: Unverified, Facts: []string{
		"of " + snapshot.FormatDate(st.Date) + ", " + Age(st.Date, w.o.Now), w.b.snapshot.Root.String(),
	}, Command: w.o.Verify}
	switch w.b.how.Kind {
	case pgp.Signed:
		s.State, s.Reason = Verified, w.o.Who+" verified the site's signature"
		s.Facts = append(s.Facts, "signed by "+w.b.how.Signer)
	case pgp.Pinned:
		s.State, s.Reason = Verified, "the reference names this snapshot by its digest"
	default:
		s.Reason = w.o.Who + " has no key of the site's, or the statement is not signed"
	}
	return s
}

// fetch is the command that puts a file of the snapshot into the working directory.
func (w proving) fetch(p string, b snapshot.Blob, name string) string {
	place, to := w.o.Place, Quote(name)
	switch {
	case place.Base != "":
		return "curl -fsSo " + to + " " + Quote(place.Base+"/"+escape(p))
	case place.Repository != "":
		return "crane blob " + Quote(place.Repository+"@"+b.Digest.String()) + " >" + to
	case place.Archive != "":
		return "tar -xOf " + Quote(place.Archive) + " blobs/sha256/" + b.Digest.Hex() + " >" + to
	}
	return "cp " + Quote(strings.TrimSuffix(place.Layout, "/")+"/blobs/sha256/"+b.Digest.Hex()) + " " + to
}

func sum(d snapshot.Digest, name string) string {
	return "echo " + Quote(d.Hex()+"  "+name) + " | sha256sum -c"
}

// pattern is a text as an extended regular expression for it.
func pattern(s string) string {
	var b strings.Builder
	for _, r := range s {
		if strings.ContainsRune(`.+*?()[]{}|^$\`, r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// Text is a proof for a terminal.
func (p Proof) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s, archive %s\n", oneLine(p.Name), oneLine(p.Version), oneLine(p.Architecture), p.Archive)
	if p.Built != "" {
		fmt.Fprintf(&b, "%s\n", oneLine(p.Built))
	}
	for i, s := range p.Steps {
		fmt.Fprintf(&b, "\n%d %s: %s (%s)\n", i+1, s.Title, s.State, oneLine(s.Reason))
		for _, f := range s.Facts {
			fmt.Fprintf(&b, "    %s\n", oneLine(f))
		}
		if s.Command != "" {
			fmt.Fprintf(&b, "  $ %s\n", oneLine(s.Command))
		}
	}
	return b.String()
}

// oneLine is a text from outside, as it may stand in a line: what cannot be seen is replaced.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.In(r, unicode.Cc, unicode.Cf) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// Age is how long ago something was, in days of the calendar (UTC): what is said of an age is a function of the day. What is yet to come is of today.
func Age(then, now time.Time) string {
	const day = 24 * time.Hour
	switch days := int(now.UTC().Truncate(day).Sub(then.UTC().Truncate(day)) / day); {
	case days <= 0:
		return "today"
	case days == 1:
		return "1 day old"
	default:
		return fmt.Sprintf("%d days old", days)
	}
}

// Quote quotes a word for a POSIX shell, if it needs that.
func Quote(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%_+=:,./-") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// escape is a path as it stands in a URL.
func escape(p string) string { return (&url.URL{Path: "/" + p}).EscapedPath()[1:] }

func day(t time.Time) string { return t.UTC().Format("2006-01-02") }

// RepositoryOf is HOST/REPO of a reference HOST/REPO[:TAG].
func RepositoryOf(ref string) string {
	if i := strings.LastIndexByte(ref, ':'); i > strings.LastIndexByte(ref, '/') {
		return ref[:i]
	}
	return ref
}
