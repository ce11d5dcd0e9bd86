package oci

import (
	"strconv"
	"strings"
)

// scanManifest reads a manifest in the form that Encode writes, in a tenth of the time that JSON takes. A snapshot may have
// thousands of them. False: it is in another form, and what is wrong with it is for the reader of JSON to say.
func scanManifest(data string) (j jsonManifest, ok bool) {
	plain := func(r rune) bool { return ' ' <= r && r <= '~' && r != '\\' } // of which JSON makes nothing else
	s := scanner{data, strings.IndexFunc(data, func(r rune) bool { return !plain(r) }) < 0}
	s.skip(`{"schemaVersion":2,"mediaType":"` + TypeManifest + `",`)
	j.SchemaVersion, j.MediaType = 2, TypeManifest
	if s.has(`"artifactType":"`) {
		j.ArtifactType = s.until(`"`)
		s.skip(`,`)
	}
	s.skip(`"config":`)
	j.Config = s.descriptor()
	s.skip(`,"layers":[`)
	for s.ok && !s.has(`]}`) {
		if len(j.Layers) > 0 {
			s.skip(`,`)
		}
		j.Layers = append(j.Layers, s.descriptor())
	}
	if !s.ok || s.rest != "" {
		return jsonManifest{}, false
	}
	return j, true
}

// scanner reads a text from its begin.
type scanner struct {
	rest string
	ok   bool // so far
}

// has reads a word, if it comes next.
func (s *scanner) has(word string) (ok bool) {
	s.rest, ok = strings.CutPrefix(s.rest, word)
	return ok
}

// skip reads a word that must come next.
func (s *scanner) skip(word string) { s.ok = s.ok && s.has(word) }

// until reads up to a word, and the word.
func (s *scanner) until(word string) string {
	before, after, found := strings.Cut(s.rest, word)
	s.rest, s.ok = after, s.ok && found
	return before
}

func (s *scanner) descriptor() (d JSONDescriptor) {
	s.skip(`{"mediaType":"`)
	d.MediaType = s.until(`"`)
	s.skip(`,"digest":"`)
	d.Digest = s.until(`"`)
	s.skip(`,"size":`)
	size, err := strconv.ParseInt(s.until(`}`), 10, 64)
	d.Size, s.ok = size, s.ok && err == nil
	return d
}
