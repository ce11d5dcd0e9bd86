package archive

import (
	"bytes"
	"fmt"
	"strings"
)

// Source is one archive as apt is told of it (sources.list(5)).
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
