package rootfs

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"example.org/mmoci/internal/rootfs/sharedlib"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/snapshot"
)

// noteMagic is the first line of a note.
const noteMagic = "mmoci-package-layer-v1"

// MaxNote bounds the text of a note, in bytes.
const MaxNote = 256 << 20

var errNote = errors.New("malformed note of a package layer")

// kinds are the letters of an entry's type.
var kinds = map[byte]byte{tar.TypeReg: 'f', tar.TypeDir: 'd', tar.TypeSymlink: 'l', tar.TypeLink: 'h', tar.TypeFifo: 'p'}

// The marks behind the letter of an entry.
const (
	markMade    = '+' // the recipe made it: data.tar has no such entry
	markAliased = '/' // data.tar has it without the "usr/" in front
	markLate    = '~' // data.tar has it at an earlier place, which a line "n" tells
)

// Encode is the note's canonical text (SPEC.md, "The image"). Equal notes have equal texts.
func (n *Note) Encode() []byte {
	b := make([]byte, 0, 1024+len(n.Stanza)*2+len(n.Entries)*150)
	b = fmt.Appendf(b, "%s\nrecipe %d %s%s\n", noteMagic, RecipeNumber, layoutWord(n.Recipe.MergedUsr), prefixed(" ", n.Recipe.Exclude.String()))
	b = fmt.Appendf(b, "deb %s %d\nlayer %s %d\n", n.Deb.Digest, n.Deb.Size, n.Layer.Digest, n.Layer.Size)
	b = appendRaw(b, "control", n.Stanza)
	b = appendRaw(b, "status", n.Status)
	if n.Sums != nil {
		b = appendRaw(b, "md5sums", n.Sums)
	}
	for _, c := range n.Conffiles {
		sum, flag := c.MD5, ""
		if sum == "" {
			sum = "-"
		}
		if c.RemoveOnUpgrade {
			flag = "!"
		}
		b = fmt.Appendf(b, "conffile%s %s %s\n", flag, sum, c.Path)
	}
	for _, s := range n.Scripts {
		whose := "debhelper"
		switch {
		case s.NoOp:
			whose = "no-op"
		case s.Own:
			whose = "own"
		}
		b = fmt.Appendf(b, "script %s %s %d %s%s\n", s.Name, s.Digest, s.Size, whose, prefixed(" ", strings.Join(s.Tools, " ")))
	}
	for _, t := range n.Triggers {
		b = fmt.Appendf(b, "trigger %s %s\n", t.Directive, t.Name)
	}
	for _, l := range n.Libraries {
		b = fmt.Appendf(b, "library %s %s\n", strconv.QuoteToASCII(l.String()), l.Path)
	}
	for _, k := range n.Kept {
		b = appendRaw(b, "kept "+k.Path, k.Data)
	}
	return n.appendEntries(b)
}

func layoutWord(merged bool) string {
	if merged {
		return "merged"
	}
	return "split"
}

func prefixed(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}

// appendRaw appends a line with the length of what follows it, and a newline behind that.
func appendRaw(b []byte, what string, data []byte) []byte {
	word, rest, _ := strings.Cut(what, " ")
	b = fmt.Appendf(b, "%s %d%s\n", word, len(data), prefixed(" ", rest))
	b = append(b, data...)
	return append(b, '\n')
}

// appendEntries appends a line for each entry, in order, and a line "n NAME" for
// each name of data.tar that has no entry in its place.
func (n *Note) appendEntries(b []byte) []byte {
	i := 0
	listed := map[string]bool{} // places that a line "n" told
	late := func(e *Entry) bool { return !e.Made && listed[e.Path] }
	for _, name := range n.Names {
		at := n.Recipe.Place(name)
		j := i
		for j < len(n.Entries) && (n.Entries[j].Made || late(&n.Entries[j])) {
			j++
		}
		if j == len(n.Entries) || n.Entries[j].Path != at {
			b = append(append(append(b, "n "...), name...), '\n')
			listed[at] = true
			continue
		}
		for ; i < j; i++ {
			b = n.Entries[i].appendTo(b, late(&n.Entries[i]), false)
		}
		b = n.Entries[i].appendTo(b, false, name != at)
		i++
	}
	for ; i < len(n.Entries); i++ {
		b = n.Entries[i].appendTo(b, late(&n.Entries[i]), false)
	}
	return b
}

// appendTo appends an entry's line, and one with the target of a link.
func (e *Entry) appendTo(b []byte, late, aliased bool) []byte {
	b = append(b, kinds[e.Type])
	switch {
	case e.Made:
		b = append(b, markMade)
	case late:
		b = append(b, markLate)
	case aliased:
		b = append(b, markAliased)
	}
	b = strconv.AppendInt(append(b, ' '), e.Mode, 8)
	for _, v := range []int64{int64(e.UID), int64(e.GID), e.ModTime} {
		b = strconv.AppendInt(append(b, ' '), v, 10)
	}
	if e.Type == tar.TypeReg {
		b = strconv.AppendInt(append(b, ' '), e.Size, 10)
		b = append(append(b, ' '), e.Digest.Hex()...)
	}
	b = append(append(append(b, ' '), e.Path...), '\n')
	if e.Link != "" {
		b = append(append(append(b, "> "...), e.Link...), '\n')
	}
	return b
}

// ParseNote reads the text of a note. What is not exactly as Encode writes it is
// an error, and so is the note of another recipe number. The note shares no memory with text.
func ParseNote(text []byte) (*Note, error) {
	if len(text) > MaxNote {
		return nil, fmt.Errorf("%w: over %d bytes", errNote, MaxNote)
	}
	p := &noteParser{rest: string(text), line: 1}
	n, err := p.note()
	if err != nil {
		return nil, fmt.Errorf("%w: line %d: %w", errNote, p.line, err)
	}
	if !bytes.Equal(n.Encode(), text) {
		return nil, fmt.Errorf("%w: not in its canonical form", errNote)
	}
	return n, nil
}

// noteParser goes through the lines of a note.
type noteParser struct {
	rest string
	line int
	err  error // the first fault of a field
}

// next takes a line that begins with word; false if the next line does not.
func (p *noteParser) next(word string) (rest string, ok bool) {
	line, after, found := strings.Cut(p.rest, "\n")
	value, is := strings.CutPrefix(line, word+" ")
	if !found || !is {
		return "", false
	}
	p.rest = after
	p.line++
	return value, true
}

// cut takes a word off a line.
func (p *noteParser) cut(s *string) string {
	word, rest, ok := strings.Cut(*s, " ")
	if !ok {
		p.fail("too few words")
	}
	*s = rest
	return word
}

func (p *noteParser) fail(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf(format, args...)
	}
}

// number reads digits of a base without a zero in front.
func (p *noteParser) number(s string, base int, most int64) int64 {
	v, err := strconv.ParseUint(s, base, 63)
	if err != nil || int64(v) > most || len(s) > 1 && s[0] == '0' || s == "" || s[0] == '+' {
		p.fail("number %.40q", s)
	}
	return int64(v)
}

func (p *noteParser) digest(s string) snapshot.Digest {
	d, err := snapshot.ParseDigest(s)
	if err != nil {
		p.fail("%w", err)
	}
	return d
}

// raw takes n bytes and a newline.
func (p *noteParser) raw(n int64) string {
	if n >= int64(len(p.rest)) || p.rest[n] != '\n' {
		p.fail("content of %d bytes is not there", n)
		return ""
	}
	s := p.rest[:n]
	p.line += strings.Count(s, "\n") + 1
	p.rest = p.rest[n+1:]
	return s
}

func (p *noteParser) note() (*Note, error) {
	first, after, _ := strings.Cut(p.rest, "\n")
	if first != noteMagic {
		return nil, fmt.Errorf("does not begin with %s", noteMagic)
	}
	p.rest = after
	p.line++
	n := &Note{}
	if err := p.head(n); err != nil {
		return nil, err
	}
	for p.rest != "" {
		if err := p.part(n); err != nil {
			return nil, err
		}
	}
	return n, p.err
}

// head reads what every note has.
func (p *noteParser) head(n *Note) error {
	v, ok := p.next("recipe")
	v += " "
	number, layout := p.cut(&v), p.cut(&v)
	if !ok || number != strconv.Itoa(RecipeNumber) || layout != "merged" && layout != "split" {
		return errors.New("no recipe that is known here")
	}
	n.Recipe.MergedUsr = layout == "merged"
	var err error
	if n.Recipe.Exclude, err = ParseExclude(strings.Fields(v)); err != nil {
		return err
	}
	for _, f := range []struct {
		word string
		into *snapshot.Blob
	}{{"deb", &n.Deb}, {"layer", &n.Layer}} {
		v, ok := p.next(f.word)
		if !ok {
			return fmt.Errorf("no line %s", f.word)
		}
		d := p.cut(&v)
		if zero := (snapshot.Digest{}); d != zero.String() {
			f.into.Digest = p.digest(d)
		}
		f.into.Size = p.number(v, 10, 1<<62)
	}
	for _, f := range []struct {
		word string
		into *deb.Stanza
	}{{"control", &n.Stanza}, {"status", &n.Status}} {
		v, ok := p.next(f.word)
		if !ok {
			return fmt.Errorf("no line %s", f.word)
		}
		*f.into = deb.Stanza(p.raw(p.number(v, 10, MaxNote)))
		sc := deb.NewScanner(*f.into)
		if _, err := sc.Next(); err != nil {
			return fmt.Errorf("%s: %w", f.word, err)
		}
	}
	return p.err
}

// part reads one line, and what belongs to it.
func (p *noteParser) part(n *Note) error {
	line, _, _ := strings.Cut(p.rest, "\n")
	word, _, _ := strings.Cut(line, " ")
	v, ok := p.next(word)
	if !ok || word == "" {
		return fmt.Errorf("line %.40q", line)
	}
	if _, known := letters[word[0]]; known && len(word) <= 2 {
		return p.entry(n, word, v)
	}
	switch word {
	case "md5sums":
		n.Sums = []byte(p.raw(p.number(v, 10, MaxNote)))
	case "n":
		n.Names = append(n.Names, v)
	case "conffile", "conffile!":
		c := Conffile{MD5: p.cut(&v), Path: v, RemoveOnUpgrade: word == "conffile!"}
		if c.MD5 == "-" {
			c.MD5 = ""
		} else if len(c.MD5) != 32 {
			p.fail("MD5 %.40q", c.MD5)
		}
		n.Conffiles = append(n.Conffiles, c)
	case "script":
		s := Script{Name: p.cut(&v), Digest: p.digest(p.cut(&v)), Size: p.number(p.cut(&v), 10, MaxNote)}
		words := strings.Split(v, " ")
		s.NoOp, s.Own, s.Tools = words[0] == "no-op", words[0] == "own", words[1:]
		if !slices.Contains(scriptNames, s.Name) {
			p.fail("script %.40q", s.Name)
		}
		n.Scripts = append(n.Scripts, s)
	case "trigger":
		t := Trigger{Directive: p.cut(&v), Name: v}
		if !triggerDirective(t.Directive) || !validTrigger(t.Name) {
			p.fail("trigger %.40q", v)
		}
		n.Triggers = append(n.Triggers, t)
	case "library":
		return p.library(n, v)
	case "kept":
		size := p.number(p.cut(&v), 10, maxKept)
		n.Kept = append(n.Kept, KeptFile{v, []byte(p.raw(size))})
	default:
		return fmt.Errorf("line %.40q", line)
	}
	return p.err
}

func (p *noteParser) library(n *Note, v string) error {
	quoted, err := strconv.QuotedPrefix(v)
	if err != nil {
		return fmt.Errorf("library %.40q", v)
	}
	text, err := strconv.Unquote(quoted)
	if err != nil {
		return fmt.Errorf("library %.40q", v)
	}
	var l Library
	if l.Library, err = sharedlib.Parse(text); err != nil {
		return err
	}
	l.Path = strings.TrimPrefix(v[len(quoted):], " ")
	n.Libraries = append(n.Libraries, l)
	return p.err
}

// letters are the types by their letters.
var letters = map[byte]byte{'f': tar.TypeReg, 'd': tar.TypeDir, 'l': tar.TypeSymlink, 'h': tar.TypeLink, 'p': tar.TypeFifo}

// entry reads the line of an entry.
func (p *noteParser) entry(n *Note, word, v string) error {
	e := Entry{Type: letters[word[0]]}
	name := true
	aliased := false
	if len(word) == 2 {
		switch word[1] {
		case markMade:
			e.Made, name = true, false
		case markLate:
			name = false
		case markAliased:
			aliased = true
		default:
			return fmt.Errorf("entry %.40q", word)
		}
	}
	e.Mode = p.number(p.cut(&v), 8, 0o7777)
	e.UID = int(p.number(p.cut(&v), 10, maxID))
	e.GID = int(p.number(p.cut(&v), 10, maxID))
	e.ModTime = p.number(p.cut(&v), 10, maxNumber)
	if e.Type == tar.TypeReg {
		e.Size = p.number(p.cut(&v), 10, maxNumber)
		e.Digest = p.digest("sha256:" + p.cut(&v))
	}
	e.Path = v
	if c, err := cleanPath(v); err != nil || c != v || v == "." {
		return fmt.Errorf("path %.100q", v)
	}
	if e.Type == tar.TypeSymlink || e.Type == tar.TypeLink {
		link, ok := p.next(">")
		if !ok || link == "" {
			return fmt.Errorf("link %.100q without a target", v)
		}
		e.Link = link
	}
	if name {
		at := v
		if aliased {
			at = strings.TrimPrefix(v, "usr/")
		}
		n.Names = append(n.Names, at)
	}
	n.Entries = append(n.Entries, e)
	return p.err
}
