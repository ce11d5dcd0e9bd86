// Package hostapt writes an mmoci.yaml of what a host's own apt is told.
package hostapt

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

	"example.org/mmoci/internal/config"
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
		case "all", "none":
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
	archives []*foundArchive
	left     []string // what was left out, and why
}

// foundArchive is an archive with where it was found, and the remarks on it.
type foundArchive struct {
	config.Archive
	file    string // it was found in
	remarks []string
}

// add takes a source over, into an archive there is if it differs in its suites only.
func (w *aptWriter) add(s aptSource) {
	a := &foundArchive{file: s.file}
	var err error
	a.Archive, a.remarks, err = config.AptArchive(s.Source, s.file, w.arch)
	if err != nil {
		w.left = append(w.left, transfer.Redact(fmt.Sprintf("%s %s (%s): %v", s.URI, strings.Join(s.Suites, " "), s.file, err)))
		return
	}
	for _, b := range w.archives {
		if b.URLs[0] == a.URLs[0] && slices.Equal(b.Components, a.Components) && slices.Equal(b.Architectures, a.Architectures) &&
			b.SignedBy == a.SignedBy && b.CheckValidUntil == a.CheckValidUntil && slices.Equal(b.remarks, a.remarks) {
			config.AddMissing(&b.Suites, a.Suites)
			return
		}
	}
	a.Prefix = w.prefix(a.URLs[0])
	w.archives = append(w.archives, a)
}

// addSource marks the archive that a deb-src source belongs to.
func (w *aptWriter) addSource(s aptSource) {
	b, _, err := config.AptArchive(s.Source, s.file, w.arch)
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
	if config.ValidPrefix(name) != nil {
		name = "archive"
	}
	taken := func(s string) bool {
		return slices.ContainsFunc(w.archives, func(a *foundArchive) bool { return a.Prefix == s })
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
			if arch, _, ok := strings.Cut(rest, "_"); ok && arch != "all" && config.ValidArchitecture(arch) == nil {
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
