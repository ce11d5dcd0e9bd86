package config

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"
	"unicode"

	"example.org/mmoci/pkg/archive"
)

// AptArchive is a source of apt's as an archive without prefix and packages, with remarks on what cannot be taken over. File is
// where the source stands, arch is whose host it is of. What Validate would refuse is refused here.
func AptArchive(s archive.Source, file, arch string) (a Archive, remarks []string, err error) {
	expand := func(list []string) []string {
		var out []string
		for _, v := range list {
			AddMissing(&out, []string{strings.ReplaceAll(v, "$(ARCH)", arch)})
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
	taken := aptArchive{Archive: Archive{
		Suites: suites, Components: expand(s.Components), Architectures: expand(s.Architectures),
		CheckValidUntil: s.CheckValidUntil,
	}}
	if len(taken.Architectures) == 0 {
		taken.Architectures = []string{arch}
	}
	if err := taken.address(expand([]string{s.URI})[0]); err != nil {
		return a, nil, err
	}
	taken.key(s, file)
	probe := taken.Archive
	probe.Prefix, probe.None = "x", true
	return taken.Archive, taken.remarks, errors.Join(probe.validate()...)
}

// aptArchive is an archive with the remarks on it.
type aptArchive struct {
	Archive
	remarks []string
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
func (a *aptArchive) key(s archive.Source, file string) {
	words := strings.Fields(s.SignedBy)
	switch {
	case len(s.SignedByKey) > 0:
		a.SignedBy = "keys/" + path.Base(a.URLs[0]) + ".asc"
		a.remarks = append(a.remarks, fmt.Sprintf("the key stands in %s; write it into the file that signed-by names", file))
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
