package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"example.org/mmoci/internal/config/document"
	"example.org/mmoci/internal/transfer"
	"example.org/mmoci/pkg/archive"
)

// FromApt makes a commented mmoci.yaml from a host's own apt. files are, by
// name, its sources (*.sources in deb822 form, others one source a line; sources.list(5)); lists are the names of
// its indices (/var/lib/apt/lists/*_Packages*), which tell its architecture. pkgs are asked for over all archives, as
// apt would choose. What cannot be taken over stands in a comment. Errors are ErrUsage.
func FromApt(files map[string][]byte, lists, pkgs []string) ([]byte, error) {
	w := &aptWriter{}
	var sources []aptSource
	for _, name := range slices.Sorted(maps.Keys(files)) {
		found, err := archive.ParseSources(name, w.withoutDiscs(name, document.Normalise(files[name])))
		if err != nil {
			return nil, document.Errorf(document.Position{}, "%s", document.OneLine(err.Error()))
		}
		for _, s := range found {
			sources = append(sources, aptSource{s, name})
		}
	}
	for _, p := range pkgs {
		if !utf8.ValidString(p) || strings.ContainsFunc(p, unicode.IsControl) {
			return nil, document.Errorf(document.Position{}, "package %q: holds a control character", p)
		}
		switch p = strings.TrimSpace(p); p {
		case "":
		case all, "none":
			return nil, document.Errorf(document.Position{}, "%q is said of one archive; write packages: %s there", p, p)
		default:
			w.packages = append(w.packages, p)
		}
	}
	w.arch = hostArch(lists)
	for _, s := range sources {
		if slices.Contains(s.Types, "deb") {
			w.add(s)
		}
	}
	for _, s := range sources {
		if slices.Contains(s.Types, "deb-src") {
			w.addSource(s)
		}
	}
	if len(w.archives) == 0 {
		return nil, document.Errorf(document.Position{}, "no source of apt's that can be read here; write an mmoci.yaml by hand%s", w.reasons())
	}
	return w.yaml(), nil
}

// withoutDiscs blanks the lines of installation media in a file of one source a
// line: nearly every host was installed from one, and none of them is worth a mirror.
func (w *aptWriter) withoutDiscs(name string, data []byte) []byte {
	if strings.HasSuffix(name, ".sources") {
		return data
	}
	lines := strings.Split(string(data), "\n")
	for i, l := range lines {
		fields := strings.Fields(l)
		isDisc := len(fields) > 1 && (strings.HasPrefix(fields[1], "cdrom:") || len(fields) > 2 && strings.HasPrefix(fields[1], "[") && strings.Contains(l, "] cdrom:"))
		if isDisc && strings.HasPrefix(fields[0], "deb") {
			w.left = append(w.left, fmt.Sprintf("%s:%d: cdrom, a disc", name, i+1))
			lines[i] = ""
		}
	}
	return []byte(strings.Join(lines, "\n"))
}

type aptSource struct {
	archive.Source
	file string
}

// aptWriter collects archives and writes them.
type aptWriter struct {
	arch     string
	packages []string // asked for over all archives
	archives []*aptArchive
	left     []string // what was left out, and why
}

// aptArchive is an archive with the remarks on it.
type aptArchive struct {
	Archive
	file    string // it was found in
	remarks []string
}

// add takes a source over, into an archive there is if it differs in its suites only.
func (w *aptWriter) add(s aptSource) {
	a, err := w.archive(s)
	if err != nil {
		w.left = append(w.left, transfer.Redact(fmt.Sprintf("%s %s (%s): %v", s.URI, strings.Join(s.Suites, " "), s.file, err)))
		return
	}
	for _, b := range w.archives {
		if b.URLs[0] == a.URLs[0] && slices.Equal(b.Components, a.Components) && slices.Equal(b.Architectures, a.Architectures) &&
			b.SignedBy == a.SignedBy && b.CheckValidUntil == a.CheckValidUntil && slices.Equal(b.remarks, a.remarks) {
			add(&b.Suites, a.Suites)
			return
		}
	}
	a.Prefix = w.prefix(a.URLs[0])
	w.archives = append(w.archives, a)
}

// addSource marks the archive that a deb-src source belongs to.
func (w *aptWriter) addSource(s aptSource) {
	b, err := w.archive(s)
	if err != nil {
		return // said already
	}
	for _, a := range w.archives {
		if a.URLs[0] == b.URLs[0] && slices.Contains(a.Suites, b.Suites[0]) {
			a.WithSources = true
			return
		}
	}
	w.left = append(w.left, transfer.Redact(fmt.Sprintf("%s %s (%s): sources alone, without packages", s.URI, strings.Join(s.Suites, " "), s.file)))
}

// archive turns a source into an archive without prefix and packages; what
// Validate would refuse is refused here, so that the result can be read back.
func (w *aptWriter) archive(s aptSource) (*aptArchive, error) {
	expand := func(list []string) []string {
		var out []string
		for _, v := range list {
			add(&out, []string{strings.ReplaceAll(v, "$(ARCH)", w.arch)})
		}
		return out
	}
	suites := expand(s.Suites)
	for i, suite := range suites {
		// A flat archive's directory is relative to the URI, with a slash before it or not: "/", "./", "x/".
		if rest, ok := strings.CutPrefix(suite, "/"); ok && IsFlat(suite) {
			suites[i] = "./" + strings.TrimLeft(rest, "/")
		}
	}
	a := &aptArchive{file: s.file, Archive: Archive{
		Suites: suites, Components: expand(s.Components), Architectures: expand(s.Architectures),
		CheckValidUntil: s.CheckValidUntil,
	}}
	if len(a.Architectures) == 0 {
		a.Architectures = []string{w.arch}
	}
	if err := a.address(expand([]string{s.URI})[0]); err != nil {
		return nil, err
	}
	a.key(s)
	probe := a.Archive
	probe.Prefix, probe.None = "x", true
	if err := errors.Join(probe.validate()...); err != nil {
		return nil, err
	}
	return a, nil
}

// address takes the URI over; credentials stay where apt has them.
func (a *aptArchive) address(uri string) error {
	if rest, ok := strings.CutPrefix(uri, "file:"); ok && strings.HasPrefix(rest, "/") {
		uri = "file:///" + strings.TrimLeft(rest, "/")
	}
	u, err := url.Parse(uri)
	if err != nil {
		return errors.New("not a URL")
	}
	if u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "file" {
		return fmt.Errorf("scheme %q; known are http, https and file", u.Scheme)
	}
	if u.User != nil {
		u.User = nil
		a.remarks = append(a.remarks, fmt.Sprintf("apt has credentials in the URI; put them into /etc/apt/auth.conf.d/ as: machine %s://%s login USER password PASSWORD", u.Scheme, u.Host))
	}
	a.URLs = []string{strings.TrimRight(u.String(), "/")}
	return nil
}

// key takes over what signs the archive, or says what to do.
func (a *aptArchive) key(s aptSource) {
	words := strings.Fields(s.SignedBy)
	switch {
	case len(s.SignedByKey) > 0:
		a.SignedBy = "keys/" + path.Base(a.URLs[0]) + ".asc"
		a.remarks = append(a.remarks, fmt.Sprintf("the key stands in %s; write it into the file that signed-by names", s.file))
	case len(words) > 0 && strings.HasPrefix(words[0], "/") && !strings.ContainsFunc(words[0], unicode.IsControl):
		a.SignedBy = words[0]
		if len(words) > 1 {
			a.remarks = append(a.remarks, "apt also takes the keys of "+strings.Join(words[1:], " ")+"; put them into one file if they are needed")
		}
	case len(words) > 0:
		a.remarks = append(a.remarks, "apt wants a signature by "+strings.Join(words, " ")+"; name the file with that key as signed-by")
	default:
		for _, distribution := range []string{"debian", "ubuntu"} {
			if strings.Contains(a.URLs[0], distribution) && a.SignedBy == "" {
				a.SignedBy = "/usr/share/keyrings/" + distribution + "-archive-keyring.gpg"
				a.remarks = append(a.remarks, "apt trusts every key of /etc/apt/trusted.gpg.d here; this one is a guess")
			}
		}
		if a.SignedBy == "" {
			a.remarks = append(a.remarks, "apt trusts every key of /etc/apt/trusted.gpg.d here; name the right one as signed-by")
		}
	}
}

// prefix makes a name for an archive: the directory of a distribution's mirror
// (https://mirror.example.org/debian-security), else who serves it (download.docker.com).
func (w *aptWriter) prefix(address string) string {
	u, err := url.Parse(address)
	name := ""
	if err == nil {
		dir := strings.Trim(u.Path, "/")
		labels := strings.Split(u.Hostname(), ".")
		switch {
		case dir != "" && !strings.Contains(dir, "/"), u.Scheme == "file", len(labels) < 2, strings.Trim(u.Hostname(), "0123456789.:") == "":
			name = path.Base(dir)
		default:
			name = labels[len(labels)-2]
		}
	}
	name = strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == '.' || r == '+' {
			return r
		}
		return '-'
	}, strings.ToLower(name))
	name = strings.Trim(name[:min(len(name), 48)], "-.+")
	if validPrefix(name) != nil {
		name = "archive"
	}
	taken := func(s string) bool {
		return slices.ContainsFunc(w.archives, func(a *aptArchive) bool { return a.Prefix == s })
	}
	unique := name
	for i := 2; taken(unique); i++ {
		unique = name + "-" + strconv.Itoa(i)
	}
	return unique
}

// hostArch is the host's architecture: that of most of its indices, else that of this program.
func hostArch(lists []string) string {
	count := map[string]int{}
	for _, name := range lists {
		if _, rest, ok := strings.Cut(name, "_binary-"); ok {
			if arch, _, ok := strings.Cut(rest, "_"); ok && arch != "all" && validArchitecture(arch) == nil {
				count[arch]++
			}
		}
	}
	if len(count) > 0 {
		return slices.MaxFunc(document.SortedKeys(count), func(a, b string) int { return cmp.Compare(count[a], count[b]) })
	}
	return cmp.Or(map[string]string{"386": "i386", "arm": "armhf", "ppc64le": "ppc64el"}[runtime.GOARCH], runtime.GOARCH)
}

// maxAptFile bounds one file of apt's sources.
const maxAptFile = 16 << 20

// FromSystem makes a commented mmoci.yaml of the apt of a system: its sources, and
// the names of its lists, which tell its architecture. It reads below root only.
func FromSystem(root string, pkgs []string) ([]byte, error) {
	files := map[string][]byte{}
	etc := filepath.Join(root, "etc/apt")
	names := []string{filepath.Join(etc, "sources.list")}
	for _, pattern := range []string{"*.sources", "*.list"} {
		found, err := filepath.Glob(filepath.Join(etc, "sources.list.d", pattern))
		if err != nil {
			return nil, err
		}
		names = append(names, found...)
	}
	for _, name := range names {
		data, err := document.ReadFile(name, maxAptFile)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("apt's sources: %w", err)
		}
		files[name] = data
	}
	entries, err := os.ReadDir(filepath.Join(root, "var/lib/apt/lists"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("apt's lists: %w", err)
	}
	var lists []string
	for _, e := range entries {
		if strings.Contains(e.Name(), "_Packages") {
			lists = append(lists, e.Name())
		}
	}
	return FromApt(files, lists, pkgs)
}
