package pgp

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
)

// The block types that occur here (RFC 9580 section 6.2).
const (
	armorSignature = "PGP SIGNATURE"
	armorPublic    = "PGP PUBLIC KEY BLOCK"
	armorPrivate   = "PGP PRIVATE KEY BLOCK"
)

// lineScanner walks over text line by line. A line is given without its end
// and without white space before that, as gpg and apt compare them.
type lineScanner struct {
	rest []byte
	n    int // number of the last line, from 1
}

// next returns the next line, raw (without "\n") and trimmed; false at the end.
func (s *lineScanner) next() (raw, line []byte, ok bool) {
	if len(s.rest) == 0 {
		return nil, nil, false
	}
	s.n++
	raw = s.rest
	if i := bytes.IndexByte(s.rest, '\n'); i >= 0 {
		raw, s.rest = s.rest[:i], s.rest[i+1:]
	} else {
		s.rest = nil
	}
	return raw, trimEnd(raw), true
}

// trimEnd cuts the white space that a clear-signed line does not count
// (RFC 9580 section 7.2; the carriage return as gpg and apt do).
func trimEnd(line []byte) []byte {
	n := len(line)
	for n > 0 && (line[n-1] == ' ' || line[n-1] == '\t' || line[n-1] == '\r') {
		n--
	}
	return line[:n]
}

// isLine tells whether line is the BEGIN or END line of a block.
func isLine(line []byte, word, kind string) bool {
	return string(line) == "-----"+word+" "+kind+"-----"
}

// armorBlock reads the rest of an armoured block whose BEGIN line was just
// read: headers, an empty line, base64, perhaps a CRC-24, the END line. The
// CRC is not compared (RFC 9580 section 6.1 forbids to refuse for it); what
// counts is the signature in there.
func armorBlock(s *lineScanner, kind string) ([]byte, error) {
	if err := armorHeaders(s); err != nil {
		return nil, err
	}
	var b64 []byte
	crc := false
	for {
		_, line, ok := s.next()
		switch {
		case !ok:
			return nil, fmt.Errorf("line %d: %s without END line", s.n, kind)
		case isLine(line, "END", kind):
			data, err := base64.StdEncoding.Strict().DecodeString(string(b64))
			if err != nil {
				return nil, fmt.Errorf("line %d: %s: %w", s.n, kind, err)
			}
			return data, nil
		case crc:
			return nil, fmt.Errorf("line %d: text after the checksum of a %s", s.n, kind)
		case len(line) == 5 && line[0] == '=':
			crc = true
		case len(line) == 0 || !isBase64(line):
			return nil, fmt.Errorf("line %d: no base64 in a %s", s.n, kind)
		default:
			b64 = append(b64, line...)
		}
	}
}

// armorHeaders reads "Key: value" lines up to the empty line.
func armorHeaders(s *lineScanner) error {
	for {
		_, line, ok := s.next()
		switch {
		case !ok:
			return errors.New("armour ends in its headers")
		case len(line) == 0:
			return nil
		case line[0] == '-' || !bytes.Contains(line, []byte(":")):
			return fmt.Errorf("line %d: no armour header", s.n)
		}
	}
}

func isBase64(line []byte) bool {
	for _, c := range line {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '+', c == '/', c == '=':
		default:
			return false
		}
	}
	return true
}

// findBlocks takes the armoured blocks of one kind out of a file, whatever
// text stands around them: key files come with prose, signatures do not.
func findBlocks(data []byte, kind string) ([][]byte, error) {
	var blocks [][]byte
	s := &lineScanner{rest: data}
	for {
		_, line, ok := s.next()
		if !ok {
			return blocks, nil
		}
		if !isLine(line, "BEGIN", kind) {
			continue
		}
		block, err := armorBlock(s, kind)
		if err != nil {
			return nil, err
		}
		blocks = append(blocks, block)
	}
}

// signatureBlocks reads what must consist of signature blocks only; blank
// lines may follow each if blank says so. s stands before the first BEGIN line.
func signatureBlocks(s *lineScanner, blank bool) ([][]byte, error) {
	var blocks [][]byte
	for {
		_, line, ok := s.next()
		switch {
		case !ok && len(blocks) == 0:
			return nil, errors.New("no signature")
		case !ok:
			return blocks, nil
		case isLine(line, "BEGIN", armorSignature):
			block, err := armorBlock(s, armorSignature)
			if err != nil {
				return nil, err
			}
			blocks = append(blocks, block)
		case len(blocks) == 0:
			return nil, fmt.Errorf("line %d: text before the signature", s.n)
		case len(line) > 0:
			return nil, fmt.Errorf("line %d: text after the signature", s.n)
		case !blank:
			return nil, fmt.Errorf("line %d: empty line after the signature", s.n)
		}
	}
}

// armored encodes data with the CRC-24 that gpg 2.2 and older expect.
func armored(kind string, data []byte) ([]byte, error) {
	var b bytes.Buffer
	w, err := armor.EncodeWithChecksumOption(&b, kind, nil, true)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}
