package snapshot

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"example.org/mmoci/pkg/archive/pgp"
)

// MaxStatement is the size limit of a statement, as text and as stored, in bytes (SPEC section 11).
const MaxStatement = 1 << 20

const (
	statementMagic = statementStem + "1"
	laterMagic     = statementStem + "2"
	// dateLayout is RFC 3339 in UTC to the second.
	dateLayout = "2006-01-02T15:04:05Z"
	// maxWords is the number of fields of the longest line.
	maxWords = 6
	// maxArchiveWords bounds those of a line that names archives.
	maxArchiveWords = 1 << 10
)

// Encode gives the canonical text. ParseStatement(Encode(st)) equals st, but
// for How. A statement that breaks a rule of SPEC section 4, order included, is an error.
func (st *Statement) Encode() ([]byte, error) {
	if err := st.check(); err != nil {
		return nil, err
	}
	text := st.text()
	if len(text) > MaxStatement {
		return nil, fmt.Errorf("statement: %d bytes, more than %d", len(text), MaxStatement)
	}
	return text, nil
}

// text writes the lines; it validates nothing.
func (st *Statement) text() []byte {
	var b bytes.Buffer
	line := func(fields ...string) {
		b.WriteString(strings.Join(fields, " "))
		b.WriteByte('\n')
	}
	if st.Needs != "" {
		line(laterMagic)
		line("needs", st.Needs)
	} else {
		line(statementMagic)
	}
	line("date", FormatDate(st.Date))
	if !st.ValidUntil.IsZero() {
		line("valid-until", FormatDate(st.ValidUntil))
	}
	line("encoder", strconv.Itoa(st.Encoder))
	line("table", st.Table.String())
	line("lock", st.Lock.String())
	if formats := st.formats(); len(formats) > 0 {
		line(append([]string{"formats"}, formats...)...)
	}
	for _, m := range st.Images {
		line("image", m.Name, m.Blob.String())
		for _, r := range m.Referrers {
			line("referrer", r.String())
		}
	}
	for _, a := range st.Archives {
		line("archive", a.Prefix, string(a.Mode), string(a.Class), a.Format)
		if len(a.Merge) > 0 {
			line(append([]string{"merge"}, a.Merge...)...)
		}
		for _, k := range a.UpstreamKeys {
			line("upstream-key", k)
		}
		for _, s := range a.Suites {
			line("suite", s.Name)
			for _, f := range s.Files {
				line("file", string(f.Role), f.Blob.String(), FormatDate(f.Date), f.Path)
			}
		}
	}
	return b.Bytes()
}

// FormatDate spells an instant as statements do: RFC 3339, in UTC, to the second.
func FormatDate(t time.Time) string { return t.UTC().Format(dateLayout) }

// ParseStatement reads the text; one that is not canonical is refused. how says
// how the text was verified and is handed on as it is. Errors name the line and wrap
// [ErrIntegrity], or [ErrNewer] for a line of a later version.
func ParseStatement(text []byte, how pgp.How) (*Statement, error) {
	if len(text) > MaxStatement {
		return nil, fmt.Errorf("statement: %d bytes, more than %d: %w", len(text), MaxStatement, ErrIntegrity)
	}
	if version, rest, later := laterVersion(string(text)); later {
		if err := refuseLater(version, rest); err != nil {
			return nil, err
		}
	}
	p := statementParser{rest: string(text)}
	if err := p.parse(); err != nil {
		return nil, fmt.Errorf("statement line %d: %w: %w", p.line, err, ErrIntegrity)
	}
	st := &p.st
	if err := st.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", err, ErrIntegrity)
	}
	if canonical := st.text(); !bytes.Equal(canonical, text) {
		return nil, fmt.Errorf("statement line %d: not in canonical form: %w", firstDifference(canonical, text), ErrIntegrity)
	}
	st.How = how
	return st, nil
}

// firstDifference is the number of the first line in which two texts differ.
func firstDifference(a, b []byte) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return 1 + bytes.Count(a[:n], []byte("\n"))
}

// statementParser reads a statement line by line, each in its only place.
type statementParser struct {
	st    Statement
	rest  string
	line  int      // number of the line in fields
	words []string // of the line that was read ahead, nil at the end
}

func (p *statementParser) parse() error {
	if err := p.advance(); err != nil {
		return err
	}
	if len(p.words) != 1 || p.words[0] != statementMagic && p.words[0] != laterMagic {
		return fmt.Errorf("not %q", statementMagic)
	}
	later := p.words[0] == laterMagic
	if err := p.advance(); err != nil {
		return err
	}
	if later {
		if len(p.words) != 2 || p.words[0] != "needs" {
			return errors.New("not \"needs\" and a version of mmoci")
		}
		p.st.Needs = p.words[1]
		if err := p.advance(); err != nil {
			return err
		}
	}
	if err := p.head(); err != nil {
		return err
	}
	for p.words != nil {
		if err := p.body(); err != nil {
			return err
		}
		if err := p.advance(); err != nil {
			return err
		}
	}
	return nil
}

// advance reads the next line and divides it at its blanks. A PATH is the last
// field, and none of those that can stand there has a blank.
func (p *statementParser) advance() error {
	p.line++
	p.words = nil
	if p.rest == "" {
		return nil
	}
	line, rest, ok := strings.Cut(p.rest, "\n")
	if !ok {
		return errors.New("does not end with a newline")
	}
	most := maxWords
	if strings.HasPrefix(line, "merge ") || strings.HasPrefix(line, "formats ") {
		most = maxArchiveWords
	}
	p.rest, p.words = rest, strings.SplitN(line, " ", most+1)
	for _, w := range p.words {
		if w == "" {
			return errors.New("empty field, blank at the end or empty line")
		}
	}
	return nil
}

// head reads the lines that are there once.
func (p *statementParser) head() (err error) {
	step := func(word string, fields int, read func(f []string) error) {
		if err != nil {
			return
		}
		if len(p.words) == 0 || p.words[0] != word {
			err = fmt.Errorf("no %q", word)
		} else if len(p.words) != 1+fields {
			err = fmt.Errorf("%s: %d fields instead of %d", word, len(p.words)-1, fields)
		} else if err = read(p.words[1:]); err == nil {
			err = p.advance()
		}
	}
	step("date", 1, func(f []string) (err error) {
		p.st.Date, err = parseDate(f[0])
		return err
	})
	if len(p.words) > 0 && p.words[0] == "valid-until" {
		step("valid-until", 1, func(f []string) (err error) {
			p.st.ValidUntil, err = parseDate(f[0])
			return err
		})
	}
	step("encoder", 1, func(f []string) error {
		n, err := parseNumber(f[0])
		p.st.Encoder = int(n)
		return err
	})
	step("table", 2, func(f []string) (err error) {
		p.st.Table, err = ParseBlob(f[0], f[1])
		return err
	})
	step("lock", 2, func(f []string) (err error) {
		p.st.Lock, err = ParseBlob(f[0], f[1])
		return err
	})
	if err == nil && len(p.words) > 0 && p.words[0] == "formats" {
		err = p.advance() // it says what the archives say, which the canonical form holds it against
	}
	return err
}

// body reads one line of an image or archive.
func (p *statementParser) body() error {
	word, f := p.words[0], p.words[1:]
	if word == "merge" {
		return p.merge(f)
	}
	counts := map[string]int{"archive": 4, "upstream-key": 1, "suite": 1, "file": 5, "image": 3, "referrer": 2}
	if n, known := counts[word]; !known {
		return fmt.Errorf("%.80q has no place here", word)
	} else if len(f) != n {
		return fmt.Errorf("%s: %d fields instead of %d", word, len(f), n)
	}
	if word == "image" || word == "referrer" {
		return p.image(word, f)
	}
	if word == "archive" {
		a := Archive{Prefix: f[0], Mode: Mode(f[1]), Class: Class(f[2]), Format: f[3]}
		p.st.Archives = append(p.st.Archives, a)
		return nil
	}
	if len(p.st.Archives) == 0 {
		return fmt.Errorf("%s before any archive", word)
	}
	a := &p.st.Archives[len(p.st.Archives)-1]
	switch {
	case word == "upstream-key" && len(a.Suites) > 0:
		return errors.New("upstream-key after a suite")
	case word == "upstream-key":
		a.UpstreamKeys = append(a.UpstreamKeys, f[0])
		return nil
	case word == "suite":
		a.Suites = append(a.Suites, Suite{Name: f[0]})
		return nil
	case len(a.Suites) == 0:
		return errors.New("file before any suite")
	}
	file, err := parseSuiteFile(f)
	s := &a.Suites[len(a.Suites)-1]
	s.Files = append(s.Files, file)
	return err
}

// merge reads what a merged archive is made of.
func (p *statementParser) merge(prefixes []string) error {
	if len(p.st.Archives) == 0 || len(prefixes) == 0 || len(prefixes) >= maxArchiveWords {
		return errors.New("merge before any archive, or of no archive, or of too many")
	}
	p.st.Archives[len(p.st.Archives)-1].Merge = prefixes
	return nil
}

// image reads a line of an image. One that stands after an archive is not in canonical form.
func (p *statementParser) image(word string, f []string) error {
	blob, err := ParseBlob(f[len(f)-2], f[len(f)-1])
	if err != nil {
		return err
	}
	if word == "image" {
		p.st.Images = append(p.st.Images, Image{Name: f[0], Blob: blob})
		return nil
	}
	if len(p.st.Images) == 0 {
		return errors.New("referrer before any image")
	}
	m := &p.st.Images[len(p.st.Images)-1]
	m.Referrers = append(m.Referrers, blob)
	return nil
}

func parseSuiteFile(f []string) (SuiteFile, error) {
	blob, err := ParseBlob(f[1], f[2])
	if err != nil {
		return SuiteFile{}, err
	}
	date, err := parseDate(f[3])
	return SuiteFile{Role: Role(f[0]), Blob: blob, Date: date, Path: f[4]}, err
}

// parseNumber reads a decimal number without sign or leading zeros.
func parseNumber(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != s {
		return 0, fmt.Errorf("%.80q is not a decimal number", s)
	}
	return n, nil
}

func parseDate(s string) (time.Time, error) {
	t, err := time.Parse(dateLayout, s)
	if err != nil || FormatDate(t) != s {
		return time.Time{}, fmt.Errorf("%.80q is not a date like %s", s, dateLayout)
	}
	return t, nil
}
