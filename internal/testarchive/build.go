package testarchive

import (
	"bytes"
	"cmp"
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// builder lays one suite out.
type builder struct {
	t     testing.TB
	suite Suite
	keys  []*Key
	files Files
	made  map[string]Package // by place in the pool, over all suites

	listed  []listed // what Release will list
	present []string // paths relative to the suite of the indices that exist
}

// listed is an entry of the checksum lists.
type listed struct {
	path string
	data []byte
}

func (s Suite) withDefaults() Suite {
	s.Suite = cmp.Or(s.Suite, s.Dir)
	s.Codename = cmp.Or(s.Codename, s.Dir)
	if s.Date.IsZero() {
		s.Date = DefaultDate()
	}
	if len(s.Components) == 0 {
		s.Components = []string{"main"}
	}
	if len(s.Architectures) == 0 {
		s.Architectures = []string{"amd64"}
	}
	if len(s.Compressions) == 0 {
		s.Compressions = []string{"xz", "gz"}
	}
	return s
}

// flat archives have their Release beside the packages, without components.
func (s Suite) flat() bool { return strings.HasSuffix(s.Dir, "/") }

// root is the directory of Release, relative to the archive, "" or ending in "/".
func (s Suite) root() string {
	if s.flat() {
		return strings.TrimPrefix(s.Dir, "./")
	}
	return "dists/" + s.Dir + "/"
}

func (b *builder) build() {
	b.t.Helper()
	if b.suite.flat() {
		b.index("Packages", b.packages("", ""))
		if b.suite.Sources != "" {
			b.index("Sources", []byte(b.suite.Sources))
		}
	} else {
		for _, c := range b.suite.Components {
			b.component(c)
		}
		if b.suite.AsDebian {
			b.asDebian()
		}
	}
	b.release()
}

// component makes the indices of one component.
func (b *builder) component(c string) {
	archs := b.suite.Architectures
	if b.suite.AsDebian {
		archs = append([]string{"all"}, archs...)
	}
	for _, arch := range archs {
		dir := c + "/binary-" + arch + "/"
		b.index(dir+"Packages", b.packages(c, arch))
		if b.suite.AsDebian {
			b.stub(dir+"Release", c, arch)
		}
		if b.suite.Contents && arch != "all" {
			b.indexIn(c+"/Contents-"+arch, b.contents(c, arch), []string{"gz"})
		}
	}
	if b.suite.Translations {
		b.index(c+"/i18n/Translation-en", b.translation(c))
	}
}

// selected are the packages of a component and architecture in index order;
// both empty in a flat archive, which has one index for all.
func (b *builder) selected(component, arch string) []Package {
	var ps []Package
	for _, p := range b.suite.Packages {
		if component == "" || p.component() == component && (p.Architecture == arch || p.Architecture == "all") {
			ps = append(ps, p)
		}
	}
	slices.SortStableFunc(ps, func(x, y Package) int { return cmp.Compare(x.Name, y.Name) })
	return ps
}

// packages is a Packages index; the pool files of its stanzas are laid out on the way.
func (b *builder) packages(component, arch string) []byte {
	var out bytes.Buffer
	for i, p := range b.selected(component, arch) {
		if i > 0 {
			out.WriteByte('\n')
		}
		name := b.filename(p)
		place := strings.TrimPrefix(name, "./")
		data, done := b.files[place]
		switch {
		case !done:
			data = p.Deb(b.t)
			b.files[place], b.made[place] = data, p
		case !reflect.DeepEqual(b.made[place], p):
			b.t.Fatalf("testarchive: two different packages at %s", place)
		}
		out.WriteString(p.stanza(b.suite, name, data))
	}
	return out.Bytes()
}

// filename is where a package's file lies, as its stanza says.
func (b *builder) filename(p Package) string {
	file := p.FileName()
	switch {
	case b.suite.flat():
		return "./" + b.suite.root() + file
	case b.suite.Pool != "":
		return path.Join(b.suite.Pool, p.component(), p.Architecture, file)
	default:
		src := p.source()
		initial := src[:1]
		if strings.HasPrefix(src, "lib") && len(src) > 3 {
			initial = src[:4]
		}
		return path.Join("pool", p.component(), initial, src, file)
	}
}

// translation is a Translation-en index (apt's long descriptions).
func (b *builder) translation(component string) []byte {
	var out bytes.Buffer
	for _, p := range b.suite.Packages {
		if p.component() == component {
			d := p.description()
			fmt.Fprintf(&out, "Package: %s\nDescription-md5: %s\nDescription-en: %s\n\n", p.Name, md5Hex([]byte(d+"\n")), d)
		}
	}
	return out.Bytes()
}

// contents is a Contents index: path, blank, section/package.
func (b *builder) contents(component, arch string) []byte {
	var lines []string
	for _, p := range b.selected(component, arch) {
		for _, f := range p.dataFiles() {
			lines = append(lines, fmt.Sprintf("%-55s %s/%s\n", f.name, p.field("Section", "misc"), p.Name))
		}
	}
	slices.Sort(lines)
	return []byte(strings.Join(lines, ""))
}

// index lists an index plain and in each compression and stores what exists.
func (b *builder) index(path string, data []byte) { b.indexIn(path, data, b.suite.Compressions) }

func (b *builder) indexIn(path string, data []byte, compressions []string) {
	if b.suite.EditIndex != nil {
		data = b.suite.EditIndex(path, data)
	}
	b.listed = append(b.listed, listed{path, data})
	for _, c := range compressions {
		if c == "plain" {
			b.store(path, data)
			continue
		}
		packed := Compress(b.t, c, data)
		b.listed = append(b.listed, listed{path + "." + c, packed})
		b.store(path+"."+c, packed)
	}
}

// store puts a file of the suite under its name and, if asked for, its digests.
func (b *builder) store(name string, data []byte) {
	root := b.suite.root()
	b.files[root+name] = data
	b.present = append(b.present, name)
	if !b.suite.ByHash {
		return
	}
	dir := path.Dir(name) + "/by-hash/"
	if b.suite.SHA512 {
		b.files[root+dir+"SHA512/"+sha512Hex(data)] = data
	} else {
		b.files[root+dir+"SHA256/"+Sha256Hex(data)] = data
	}
}

// stub is the short Release beside each index of Debian's.
func (b *builder) stub(name, component, arch string) {
	data := fmt.Appendf(nil, "Archive: %s\nOrigin: %s\nLabel: %s\nComponent: %s\nArchitecture: %s\n",
		b.suite.Suite, b.suite.Origin, b.suite.Label, component, arch)
	b.listed = append(b.listed, listed{name, data})
	b.store(name, data)
}

// asDebian lists what Debian's suites list besides; some of it exists, some does not.
func (b *builder) asDebian() {
	for _, c := range b.suite.Components {
		b.index(c+"/source/Sources", b.sources(c))
		for _, arch := range b.suite.Architectures {
			udebs := c + "/debian-installer/binary-" + arch + "/Packages"
			b.listed = append(b.listed,
				listed{udebs, nil},
				listed{c + "/binary-" + arch + "/Packages.bz2", []byte("listed, not present")},
				listed{c + "/installer-" + arch + "/current/images/SHA256SUMS", []byte("installer images\n")})
			diff := c + "/binary-" + arch + "/Packages.diff/Index"
			data := []byte("SHA256-Current: " + strings.Repeat("0", 64) + " 0\n")
			b.listed = append(b.listed, listed{diff, data})
			b.store(diff, data)
		}
	}
}

// sources is a Sources index with one stanza per source, whose files are not in the pool.
func (b *builder) sources(component string) []byte {
	var out bytes.Buffer
	seen := map[string]bool{}
	for _, p := range b.suite.Packages {
		src := p.source()
		if p.component() != component || seen[src] {
			continue
		}
		seen[src] = true
		dsc := []byte("Source: " + src + "\n")
		fmt.Fprintf(&out, "Package: %s\nBinary: %s\nVersion: %s\nFormat: 3.0 (native)\nDirectory: pool/%s/%s\nChecksums-Sha256:\n %s %d %s_%s.dsc\n\n",
			src, p.Name, p.Version, component, src, Sha256Hex(dsc), len(dsc), src, withoutEpoch(p.Version))
	}
	return out.Bytes()
}

// release writes Release, Release.gpg and InRelease.
func (b *builder) release() {
	s := b.suite
	text := b.releaseText()
	if s.EditRelease != nil {
		text = s.EditRelease(text)
	}
	root := s.root()
	b.files[root+"Release"] = text
	if len(b.keys) == 0 && s.Sign == nil {
		return
	}
	b.files[root+"Release.gpg"] = DetachAll(b.t, text, s.Date, b.keys...)
	if s.NoInRelease {
		return
	}
	sign := s.Sign
	if sign == nil {
		sign = func(t testing.TB, text []byte, at time.Time) []byte { return ClearsignAll(t, text, at, b.keys...) }
	}
	signed := sign(b.t, text, s.Date)
	if s.EditSigned != nil {
		signed = s.EditSigned(signed)
	}
	b.files[root+"InRelease"] = signed
}

// releaseText is the Release file (as dak and reprepro write it).
func (b *builder) releaseText() []byte {
	s := b.suite
	var out bytes.Buffer
	field := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&out, "%s: %s\n", name, value)
		}
	}
	field("Origin", s.Origin)
	field("Label", s.Label)
	if !s.flat() {
		field("Suite", s.Suite)
		field("Version", s.Version)
		field("Codename", s.Codename)
	}
	field("Date", httpDate(s.Date))
	if !s.ValidUntil.IsZero() {
		field("Valid-Until", httpDate(s.ValidUntil))
	}
	field("NotAutomatic", yes(s.NotAutomatic))
	field("ButAutomaticUpgrades", yes(s.ButAutomaticUpgrades))
	field("Acquire-By-Hash", yes(s.ByHash))
	archs := strings.Join(s.Architectures, " ")
	if s.AsDebian {
		field("No-Support-for-Architecture-all", "Packages")
		archs = "all " + archs
	}
	field("Architectures", archs)
	if !s.flat() {
		field("Components", s.ComponentPrefix+strings.Join(s.Components, " "+s.ComponentPrefix))
	}
	field("Description", s.Label+" "+s.Codename+" (a test archive)")
	b.lists(&out)
	return out.Bytes()
}

// lists writes the checksum lists, sorted by path.
func (b *builder) lists(out *bytes.Buffer) {
	slices.SortFunc(b.listed, func(x, y listed) int { return cmp.Compare(x.path, y.path) })
	list := func(name string, sum func([]byte) string) {
		fmt.Fprintf(out, "%s:\n", name)
		for _, l := range b.listed {
			fmt.Fprintf(out, " %s %8d %s\n", sum(l.data), len(l.data), l.path)
		}
	}
	list("MD5Sum", md5Hex)
	if b.suite.SHA512 {
		list("SHA512", sha512Hex)
	} else {
		list("SHA256", Sha256Hex)
	}
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return ""
}

// httpDate is the form of dates in a Release.
func httpDate(t time.Time) string { return t.UTC().Format("Mon, 02 Jan 2006 15:04:05") + " UTC" }

func md5Hex(b []byte) string {
	h := md5.Sum(b)
	return hex.EncodeToString(h[:])
}

func Sha256Hex(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

func sha512Hex(b []byte) string {
	h := sha512.Sum512(b)
	return hex.EncodeToString(h[:])
}
