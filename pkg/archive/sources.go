package archive

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Source is one source of apt's configuration (sources.list(5)).
type Source struct {
	Types  []string // deb, deb-src
	URI    string
	Suites []string // one that ends in "/" is the directory of a flat archive, which has no components
	// Components, Architectures, Languages and Targets may be empty: apt's default.
	Components, Architectures, Languages, Targets []string

	SignedBy    string // paths of keyrings or fingerprints, as apt takes them
	SignedByKey []byte // or the armoured public key itself

	// CheckValidUntil is apt's default, true: an expired Release is refused.
	// False writes "Check-Valid-Until: no".
	CheckValidUntil bool
	Comment         string // lines before the stanza, without "#"
}

// Format writes sources in the deb822 form of a .sources file.
func Format(sources []Source) string {
	var b strings.Builder
	for i, s := range sources {
		if i > 0 {
			b.WriteByte('\n')
		}
		s.write(&b)
	}
	return b.String()
}

// write writes one stanza. Values are folded to one line each, so that none of
// them can begin a field of its own.
func (s Source) write(b *strings.Builder) {
	if s.Comment != "" {
		for line := range strings.SplitSeq(strings.TrimRight(s.Comment, "\n"), "\n") {
			fmt.Fprintln(b, strings.TrimRight("# "+strings.Map(printable, line), " "))
		}
	}
	field := func(name string, values ...string) {
		if v := strings.Join(strings.Fields(strings.Join(values, " ")), " "); v != "" {
			fmt.Fprintf(b, "%s: %s\n", name, v)
		}
	}
	types := s.Types
	if len(types) == 0 {
		types = []string{"deb"}
	}
	field("Types", types...)
	field("URIs", s.URI)
	field("Suites", s.Suites...)
	field("Components", s.Components...)
	field("Architectures", s.Architectures...)
	field("Languages", s.Languages...)
	field("Targets", s.Targets...)
	if !s.CheckValidUntil {
		field("Check-Valid-Until", "no")
	}
	if len(s.SignedByKey) == 0 {
		field("Signed-By", s.SignedBy)
		return
	}
	b.WriteString("Signed-By:\n")
	for line := range bytes.Lines(bytes.TrimSpace(s.SignedByKey)) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			line = []byte(".")
		}
		fmt.Fprintf(b, " %s\n", line)
	}
}

func printable(r rune) rune {
	if isControl(r) {
		return ' '
	}
	return r
}

// ParseSources reads a file of apt's: deb822 if its name ends in ".sources",
// else one line per source (sources.list(5)). Errors begin "name:line:".
// Disabled sources are left out; several URIs become several sources. What
// Source has no room for (Trusted, By-Hash and the like) is passed over.
// Architectures-Add and its kind, which change apt's configuration, are errors.
func ParseSources(name string, data []byte) ([]Source, error) {
	if bytes.IndexByte(data, 0) >= 0 {
		return nil, fmt.Errorf("%s:1: NUL byte", name)
	}
	parse := parseList
	if strings.HasSuffix(name, ".sources") {
		parse = parseDeb822
	}
	sources, line, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s:%d: %w", name, line, err)
	}
	return sources, nil
}

// sourceFields is a stanza of a .sources file, field names in lower case.
type sourceFields struct {
	values map[string]string
	line   int // first line
}

// parseDeb822 reads a .sources file. On error it tells the line.
func parseDeb822(data []byte) ([]Source, int, error) {
	var sources []Source
	cur, field, n := sourceFields{}, "", 0
	flush := func() error {
		if cur.values == nil {
			return nil
		}
		more, err := cur.sources()
		sources = append(sources, more...)
		field = ""
		return err
	}
	for raw := range bytes.Lines(data) {
		n++
		line := string(bytes.TrimRight(bytes.TrimSuffix(raw, []byte("\n")), " \t\r"))
		switch {
		case strings.HasPrefix(line, "#"):
			continue
		case line == "":
			if err := flush(); err != nil {
				return nil, cur.line, err
			}
			cur = sourceFields{}
			continue
		case line[0] == ' ' || line[0] == '\t':
			if field == "" {
				return nil, n, errors.New("continuation line before the first field")
			}
			cur.values[field] += "\n" + strings.TrimSpace(line)
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || strings.ContainsAny(name, " \t") || name == "" {
			return nil, n, fmt.Errorf("no field in %.80q", line)
		}
		field = strings.ToLower(name)
		if cur.values == nil {
			cur = sourceFields{map[string]string{}, n}
		}
		if _, twice := cur.values[field]; twice {
			return nil, n, fmt.Errorf("field %s is given twice", name)
		}
		cur.values[field] = strings.TrimSpace(value)
	}
	if err := flush(); err != nil {
		return nil, cur.line, err
	}
	return sources, 0, nil
}

// sources makes a source per URI of a stanza.
func (f sourceFields) sources() ([]Source, error) {
	if enabled, ok := f.values["enabled"]; ok && isNo(enabled) {
		return nil, nil
	}
	for name := range f.values {
		if strings.HasSuffix(name, "-add") || strings.HasSuffix(name, "-remove") {
			return nil, fmt.Errorf("field %s adds to apt's configuration, which is not read here", name)
		}
	}
	words := func(name string) []string { return strings.Fields(f.values[name]) }
	s := Source{
		Types:           words("types"),
		Suites:          words("suites"),
		Components:      words("components"),
		Architectures:   words("architectures"),
		Languages:       words("languages"),
		Targets:         words("targets"),
		CheckValidUntil: !isNo(f.values["check-valid-until"]),
	}
	key := f.values["signed-by"]
	s.SignedBy = strings.Join(strings.Fields(key), " ")
	if strings.Contains(s.SignedBy, "-----BEGIN PGP") { // in one line, as it would be written
		s.SignedBy, s.SignedByKey = "", inlineKey(key)
	}
	uris := words("uris")
	if len(uris) == 0 {
		return nil, errors.New("no URIs")
	}
	var all []Source
	for _, uri := range uris {
		s.URI = uri
		if err := s.validate(); err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// inlineKey undoes the " ." that stands for an empty line.
func inlineKey(value string) []byte {
	var b strings.Builder
	for line := range strings.SplitSeq(strings.TrimSpace(value), "\n") {
		if line == "." {
			line = ""
		}
		b.WriteString(line + "\n")
	}
	return []byte(b.String())
}

// isNo reads a truth value as apt's StringToBool does.
func isNo(s string) bool {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "no", "false", "without", "off", "disable", "0":
		return true
	}
	return false
}

// validate tells what every source must have.
func (s Source) validate() error {
	if len(s.Types) == 0 {
		return errors.New("no Types")
	}
	for _, t := range s.Types {
		if t != "deb" && t != "deb-src" {
			return fmt.Errorf("type %.40q: neither deb nor deb-src", t)
		}
	}
	if len(s.Suites) == 0 {
		return errors.New("no Suites")
	}
	flat := strings.HasSuffix(s.Suites[0], "/")
	for _, suite := range s.Suites {
		if strings.HasSuffix(suite, "/") != flat {
			return fmt.Errorf("suite %s: flat and other suites in one source", suite)
		}
	}
	switch {
	case flat && len(s.Components) > 0:
		return fmt.Errorf("suite %s: a flat archive has no components", s.Suites[0])
	case !flat && len(s.Components) == 0:
		return fmt.Errorf("suite %s: no components", s.Suites[0])
	}
	return nil
}

// parseList reads one-line sources. On error it tells the line.
func parseList(data []byte) ([]Source, int, error) {
	var sources []Source
	n := 0
	for raw := range bytes.Lines(data) {
		n++
		line, _, _ := strings.Cut(string(raw), "#")
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		s, err := parseListLine(line)
		if err != nil {
			return nil, n, err
		}
		sources = append(sources, s)
	}
	return sources, 0, nil
}

// parseListLine reads "deb [option=value ..] URI SUITE [COMPONENT ..]".
func parseListLine(line string) (Source, error) {
	kind, rest := cutWord(line)
	s := Source{Types: []string{kind}, CheckValidUntil: true}
	if strings.HasPrefix(rest, "[") {
		options, after, ok := strings.Cut(rest[1:], "]")
		if !ok {
			return s, errors.New("options without ]")
		}
		rest = strings.TrimSpace(after)
		for _, o := range strings.Fields(options) {
			if err := s.option(o); err != nil {
				return s, err
			}
		}
	}
	words := strings.Fields(rest)
	if len(words) < 2 {
		return s, fmt.Errorf("%.80q: not type, URI, suite", line)
	}
	s.URI, s.Suites, s.Components = words[0], words[1:2], slices.Clip(words[2:])
	if s.URI == "cdrom:" || strings.HasPrefix(s.URI, "cdrom:[") {
		return s, errors.New("cdrom is no archive that can be read here")
	}
	return s, s.validate()
}

func cutWord(s string) (word, rest string) {
	i := strings.IndexAny(s, " \t")
	if i < 0 {
		return s, ""
	}
	return s[:i], strings.TrimSpace(s[i:])
}

// option takes "name=value" of a one-line source.
func (s *Source) option(o string) error {
	name, value, ok := strings.Cut(o, "=")
	if !ok || value == "" {
		return fmt.Errorf("option %.80q: not name=value", o)
	}
	if strings.HasSuffix(name, "+") || strings.HasSuffix(name, "-") {
		return fmt.Errorf("option %s= adds to apt's configuration, which is not read here", name)
	}
	list := strings.Split(value, ",")
	switch strings.ToLower(name) {
	case "arch":
		s.Architectures = list
	case "lang":
		s.Languages = list
	case "target":
		s.Targets = list
	case "signed-by":
		s.SignedBy = strings.Join(list, " ")
	case "check-valid-until":
		s.CheckValidUntil = !isNo(value)
	}
	return nil
}
