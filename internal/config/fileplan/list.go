package fileplan

import (
	"encoding/hex"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"example.org/mmoci/internal/config/document"
	"example.org/mmoci/internal/durable"
	"example.org/mmoci/pkg/snapshot"
)

// form is what a line must be, for messages.
const form = "SHA256 PATH URL.."

// maxLine is how long a line may be, in bytes: a digest, a path, and some URLs.
const maxLine = 16 << 10

// unpinned stands for a digest that only the lock has.
const unpinned = "-"

// parseList reads the text of a list: "SHA256 PATH URL.." a line. "#" begins a comment, at the begin of a line or after
// a blank; blank lines do not count. All faults are told at once; with them come the lines that could be read.
func parseList(name string, data []byte) ([]File, error) {
	if !utf8.Valid(data) {
		return nil, document.Errorf(document.At(name, 1), "not UTF-8 text; write the list as plain text, %s a line", form)
	}
	var out []File
	var faults document.Faults
	n := 0
	for text := range strings.Lines(string(document.Normalise(data))) {
		n++
		f, err := parseLine(text)
		if err != nil {
			faults.Add(document.Errorf(document.At(name, n), "%w", err))
		} else if f != nil {
			f.Position = document.At(name, n)
			out = append(out, *f)
		}
	}
	if len(out) == 0 && faults.Err() == nil {
		faults.Add(document.Errorf(document.At(name, 1), "no file in the list; write %s, a line for each", form))
	}
	return out, faults.Err()
}

// parseLine reads one line; nil if it holds no file.
func parseLine(text string) (*File, error) {
	if len(text) > maxLine {
		return nil, fmt.Errorf("a line of %d bytes; write %s, at most %d bytes", len(text), form, maxLine)
	}
	text = strings.TrimSpace(text)
	if strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) && r != '\t' }) {
		return nil, fmt.Errorf("holds a control character; write the line anew, %s", form)
	}
	if err := otherProgram(text); err != nil {
		return nil, err
	}
	f := strings.Fields(text)
	for i, word := range f {
		if strings.HasPrefix(word, "#") {
			f = f[:i]
			break
		}
	}
	if len(f) == 0 {
		return nil, nil
	}
	if err := swapped(f); err != nil {
		return nil, err
	}
	digest, err := parseDigest(f[0])
	switch {
	case err != nil:
		return nil, err
	case len(f) == 1:
		return nil, fmt.Errorf("a digest alone; write %s", form)
	case strings.Contains(f[1], "://"):
		return nil, fmt.Errorf("a URL without a path before it; write %s %s %.200s", f[0], baseOf(f[1]), f[1])
	}
	file := &File{Path: f[1], SHA256: digest}
	if err := CheckPath(file.Path); err != nil {
		return nil, err
	}
	if len(f) == 2 {
		return nil, fmt.Errorf("%s without a URL; write %s %s URL", file.Path, f[0], file.Path)
	}
	for _, s := range f[2:] {
		if err := checkURL(s); err != nil {
			return nil, err
		}
		for _, was := range file.URLs {
			if was == s {
				return nil, fmt.Errorf("%s: the URL %.200s stands twice; write it once", file.Path, s)
			}
		}
		file.URLs = append(file.URLs, s)
	}
	return file, nil
}

// otherProgram refuses the lines of lists of tarballs whose fields stand between #, with the same wish as a line of ours.
func otherProgram(text string) error {
	first, _, _ := strings.Cut(text, " ")
	if strings.HasPrefix(text, "#") || strings.Count(first, "#") < 2 {
		if strings.HasPrefix(text, "!") {
			return fmt.Errorf("begins with !, which stands for a script of its own; write %s: the finished file with its digest", form)
		}
		return nil
	}
	f := strings.Split(text, "#")
	for len(f) < 6 {
		f = append(f, "")
	}
	name, address, util := strings.TrimPrefix(f[0], "!"), f[2], f[3]
	if name == "" {
		name = "NAME"
	}
	const fields = "a line with fields between # (NAME#DIRECTORY#URL#UTIL#METHOD#SUM)"
	switch {
	case strings.HasPrefix(text, "!"):
		return fmt.Errorf("%s that begins with !, which stands for a script of its own; run it once, put %s on a server, and write SHA256 %s URL", fields, name, name)
	case util == "git" || strings.HasSuffix(address, ".git"):
		return fmt.Errorf("%s of a git tree, whose archive has other bytes each time it is made; write SHA256 %s URL of a tarball that was released", fields, name)
	case util == "http_script" || util == "http_filelist" || util == "http_filelist_script":
		return fmt.Errorf("%s by %s, which makes the file of others; write a line SHA256 PATH URL for each of these", fields, util)
	case !strings.HasPrefix(address, "http://") && !strings.HasPrefix(address, "https://"):
		return fmt.Errorf("%s without the URL of http or https as its third; write SHA256 %s URL", fields, name)
	}
	return fmt.Errorf("%s; write SHA256 %s %.200s (or - as SHA256, and the lock pins it)", fields, name, address)
}

// swapped refuses lines whose fields are right and stand in another order, or that are of other lists.
func swapped(f []string) error {
	first := strings.TrimPrefix(f[0], `\`)
	switch {
	case strings.Contains(first, "://"):
		if len(f) > 1 && isHex(f[1]) {
			return fmt.Errorf("the URL stands first; write %s %s %.200s", f[1], baseOf(first), first)
		}
		return fmt.Errorf("a URL without a digest; write SHA256 %s %.200s (or - as SHA256, and the lock pins it)", baseOf(first), first)
	case len(f) > 1 && isHex(f[1]) && !isHex(first) && first != unpinned:
		rest := "URL"
		if len(f) > 2 {
			rest = f[2]
		}
		return fmt.Errorf("the path stands first; write %s %s %.200s", f[1], first, rest)
	case len(f) >= 4 && f[2] == "=" && strings.HasPrefix(f[1], "("):
		return fmt.Errorf("a line of sha256sum --tag; write %s %s URL, or name the list in sums: with its signature", f[3], strings.Trim(f[1], "()"))
	case len(f) > 1 && strings.HasPrefix(f[1], "*"):
		return fmt.Errorf("a line of sha256sum; write %s %s URL, or name the list in sums: with its signature", f[0], f[1][1:])
	case len(f) > 1 && f[1] == unpinned:
		return fmt.Errorf("the fields are %s; write - first, then the path and its URLs", form)
	}
	return nil
}

func isHex(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) >= 16
}

// parseDigest reads the first field; "" is a digest that only the lock has.
func parseDigest(s string) (string, error) {
	if s == unpinned {
		return "", nil
	}
	if h, ok := strings.CutPrefix(strings.ToLower(s), "sha256:"); ok {
		return "", fmt.Errorf("%.80q; write %.64s, the digits alone", s, h)
	}
	for name, digits := range map[string]int{"an MD5": 32, "a SHA1": 40, "a SHA512": 128} {
		if isHex(s) && len(s) == digits {
			return "", fmt.Errorf("%s digest; write the SHA256, of 64 digits, as sha256sum prints it", name)
		}
	}
	lower := strings.ToLower(s)
	if b, err := hex.DecodeString(lower); err != nil || len(b) != 32 {
		if strings.Trim(lower, "0123456789abcdef") == "" {
			return "", fmt.Errorf("a digest of %d digits; write the SHA256, of 64 digits", len(s))
		}
		return "", fmt.Errorf("%.80q is no digest; write %s, and - as SHA256 where the lock pins it", s, form)
	}
	if _, err := snapshot.ParseDigest("sha256:" + lower); err != nil {
		return "", fmt.Errorf("the digest is %w; write the file's own, as sha256sum prints it", err)
	}
	return lower, nil
}

// CheckPath refuses what cannot be the path of a file below its archive.
func CheckPath(p string) error {
	first, _, below := strings.Cut(p, "/")
	switch {
	case strings.HasPrefix(p, "/"):
		return fmt.Errorf("the path %.200q begins with a slash; write %.200s, relative to the archive", p, strings.TrimLeft(p, "/"))
	case strings.HasSuffix(p, "/"):
		return fmt.Errorf("the path %.200q ends with a slash; write the file's name behind it", p)
	case strings.HasPrefix(p, "./"):
		return fmt.Errorf("the path %.200q begins with ./; write %.200s", p, strings.TrimLeft(p, "./"))
	case strings.ContainsFunc(p, unicode.IsSpace):
		return fmt.Errorf("the path %.200q has a blank; lists and locks divide fields by it, give the file another path", p)
	case p == "SHA256SUMS" || p == "SHA256SUMS.asc":
		return fmt.Errorf("the path is %s, which the site writes; write upstream/%s, or name the list in sums: and take: files of it", p, p)
	case below && (first == "SHA256SUMS" || first == "SHA256SUMS.asc"):
		return fmt.Errorf("the path %.200q lies below %s, which is a file that the site writes; give the directory another name", p, first)
	case strings.Contains("/"+p, "/"+durable.TempPrefix):
		return fmt.Errorf("the path %.200q has a name that begins with %s, as files do that are being written; give the file another path", p, durable.TempPrefix)
	}
	if err := snapshot.ValidPath(p); err != nil {
		return fmt.Errorf("the %w; write a path relative to the archive, such as %s", err, path.Base(path.Clean("/"+strings.ToValidUTF8(p, ""))))
	}
	return nil
}

var shortGit = regexp.MustCompile(`^[\w.-]+@[\w.-]+:`)

// checkURL refuses what is no address of one file.
func checkURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case shortGit.MatchString(s), err == nil && (u.Scheme == "git" || u.Scheme == "ssh" || strings.HasPrefix(u.Scheme, "git+") || strings.HasSuffix(u.Path, ".git")):
		return fmt.Errorf("%.200s is a git tree, whose archive has other bytes each time it is made; write the URL of a tarball that was released", s)
	case err != nil:
		return fmt.Errorf("%.200q is no URL; write http://, https:// or file:///PATH", document.OneLine(s))
	case u.Scheme == "ftp":
		return fmt.Errorf("%.200s is not reached by ftp; write https://%s%s if the server has it, or another mirror", s, u.Host, u.Path)
	case u.Scheme == "":
		return fmt.Errorf("%.200q has no scheme; write https://%s", s, strings.TrimLeft(s, "/"))
	case u.Scheme == "file" && (u.Host != "" && u.Host != "localhost" || !path.IsAbs(u.Path)):
		return fmt.Errorf("%.200s is not of the form file:///PATH; write the whole path", s)
	case u.Scheme == "file":
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("%.200s is of the scheme %s; write http://, https:// or file:///PATH", s, u.Scheme)
	case u.Hostname() == "":
		return fmt.Errorf("%.200s has no host; write https://HOST/PATH", s)
	}
	switch {
	case u.Fragment != "":
		return fmt.Errorf("%.200s has a fragment (#%s), which no server sees; write it without", s, u.Fragment)
	case strings.HasSuffix(u.Path, "/") || u.Path == "":
		return fmt.Errorf("%.200s is the address of a directory; write that of a file in it", s)
	}
	return nil
}

// baseOf is the last part of a URL, as a path that could be meant.
func baseOf(s string) string {
	if u, err := url.Parse(s); err == nil && path.Base(u.Path) != "/" && path.Base(u.Path) != "." {
		return path.Base(u.Path)
	}
	return "PATH"
}
