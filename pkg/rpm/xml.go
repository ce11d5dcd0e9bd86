package rpm

import (
	"bufio"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
)

// The namespaces of the metadata. Elements without one are read, too: some programs leave it out.
const (
	spaceRepo   = "http://linux.duke.edu/metadata/repo"
	spaceCommon = "http://linux.duke.edu/metadata/common"
	spaceRPM    = "http://linux.duke.edu/metadata/rpm"
	spaceLink   = "http://www.metalinker.org/"
	spaceMM     = "http://fedorahosted.org/mirrormanager"
)

// bytesIn hands bytes to the decoder, and no more than MaxToken of them in a row: the decoder gathers a token in memory.
type bytesIn struct {
	r    *bufio.Reader
	left int
	err  error // of r, but for io.EOF
}

var errLongToken = fmt.Errorf("a tag or text of more than %d bytes", MaxToken)

func (b *bytesIn) ReadByte() (byte, error) {
	if b.left == 0 {
		return 0, errLongToken
	}
	b.left--
	c, err := b.r.ReadByte()
	if err != nil && err != io.EOF {
		b.err = err
	}
	return c, err
}

// Read is for io.Reader alone: the decoder reads bytes.
func (b *bytesIn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	c, err := b.ReadByte()
	if err != nil {
		return 0, err
	}
	p[0] = c
	return 1, nil
}

// scanner reads one XML document as a stream, within the limits.
type scanner struct {
	name     string // of the document, for messages
	in       *bytesIn
	d        *xml.Decoder
	depth    int // of the element that is open
	elements int
	limit    int  // of elements
	over     bool // the root has ended
}

func newScanner(name string, r io.Reader) *scanner {
	in := &bytesIn{r: bufio.NewReaderSize(r, 64<<10)}
	s := &scanner{name: name, in: in, d: xml.NewDecoder(in), limit: MaxElements}
	s.d.Strict = true
	return s
}

// next is the next start, end or text; nil at the end of a whole document. What it returns is good until the next call.
func (s *scanner) next() (xml.Token, error) {
	for {
		s.in.left = MaxToken
		t, err := s.d.Token()
		if err == io.EOF && s.over {
			return nil, nil
		}
		if err != nil {
			return nil, s.readError(err)
		}
		switch t := t.(type) {
		case xml.StartElement:
			s.elements++
			switch {
			case s.over:
				return nil, s.errorf("an element behind the document")
			case s.elements > s.limit:
				return nil, s.errorf("more than %d elements", s.limit)
			case s.depth == MaxDepth:
				return nil, s.errorf("elements nested more than %d deep", MaxDepth)
			}
			s.depth++
			return t, nil
		case xml.EndElement:
			s.depth--
			s.over = s.depth == 0
			return t, nil
		case xml.CharData:
			if s.depth == 0 && strings.TrimSpace(string(t)) != "" {
				return nil, s.errorf("text outside of the document")
			}
			return t, nil
		case xml.Directive:
			return nil, s.errorf("a document type definition, which this format does not have")
		}
	}
}

// errorf is an ErrMalformed at the present line.
func (s *scanner) errorf(format string, args ...any) error {
	line, _ := s.d.InputPos()
	return fmt.Errorf("%s, line %d: %w: %s", s.name, line, ErrMalformed, fmt.Sprintf(format, args...))
}

// at adds the present line to an error.
func (s *scanner) at(err error) error {
	line, _ := s.d.InputPos()
	return fmt.Errorf("%s, line %d: %w", s.name, line, err)
}

// readError tells what is wrong with the XML from what is wrong with its source.
func (s *scanner) readError(err error) error {
	var syntax *xml.SyntaxError
	switch {
	case s.in.err != nil:
		return fmt.Errorf("%s: %w", s.name, s.in.err)
	case err == io.EOF:
		return s.errorf("it ends early")
	case errors.As(err, &syntax):
		return s.errorf("%s", shorten(syntax.Msg))
	}
	return s.errorf("%s", shorten(err.Error()))
}

// known refuses an element that is meant to be read, and is of another namespace.
func (s *scanner) known(name xml.Name, spaces ...string) error {
	if name.Space == "" {
		return nil
	}
	for _, space := range spaces {
		if name.Space == space {
			return nil
		}
	}
	return s.errorf("element %s of the namespace %q", shorten(name.Local), shorten(name.Space))
}

// root reads the start of the document, which must be of this name.
func (s *scanner) root(name string, spaces ...string) (xml.StartElement, error) {
	for {
		t, err := s.next()
		if err != nil {
			return xml.StartElement{}, err
		}
		if t == nil {
			return xml.StartElement{}, s.errorf("it is empty")
		}
		if start, ok := t.(xml.StartElement); ok {
			if start.Name.Local != name {
				return start, s.errorf("it is a %s, should be a %s", shorten(start.Name.Local), name)
			}
			return start, s.known(start.Name, spaces...)
		}
	}
}

// finish reads what may follow the root: nothing.
func (s *scanner) finish() error {
	for {
		t, err := s.next()
		if err != nil || t == nil {
			return err
		}
	}
}

// children calls f for each element in the open one, to its end. f may read its element to its end; what it leaves is passed over.
func (s *scanner) children(f func(xml.StartElement) error) error {
	depth := s.depth
	for {
		t, err := s.next()
		if err != nil {
			return err
		}
		switch t := t.(type) {
		case nil:
			return s.errorf("it ends early")
		case xml.StartElement:
			if err := f(t); err != nil {
				return err
			}
			for s.depth > depth {
				if _, err := s.next(); err != nil {
					return err
				}
			}
		case xml.EndElement:
			return nil
		}
	}
}

// text is the text of the open element, to its end, without blanks around it.
func (s *scanner) text() (string, error) {
	var out []byte
	for {
		t, err := s.next()
		if err != nil {
			return "", err
		}
		switch t := t.(type) {
		case nil:
			return "", s.errorf("it ends early")
		case xml.StartElement:
			return "", s.errorf("element %s in a text", shorten(t.Name.Local))
		case xml.EndElement:
			return strings.TrimSpace(string(out)), nil
		case xml.CharData:
			if out = append(out, t...); len(out) > maxText {
				return "", s.errorf("a text of more than %d bytes", maxText)
			}
		}
	}
}

// attribute is the value of an attribute without a namespace; "" if there is none.
func attribute(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Space == "" && a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// location reads the location of an element.
func (s *scanner) location(e xml.StartElement) (string, error) {
	for _, a := range e.Attr {
		if a.Name.Local == "base" && a.Value != "" {
			return "", s.errorf("a file that is elsewhere, at xml:base %q: a repository is held with all of its files or not at all", shorten(a.Value))
		}
	}
	p, err := Location(attribute(e, "href"))
	if err != nil {
		return "", s.at(err)
	}
	return p, nil
}
