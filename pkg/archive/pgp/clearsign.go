package pgp

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
)

// MaxReleaseSize bounds InRelease, Release, Release.gpg and every other
// clear-signed text, in bytes: apt's Acquire::MaxReleaseFileSize.
const MaxReleaseSize = 10_000_000

// clearsigned is a clear-signed file taken apart (RFC 9580 section 7).
type clearsigned struct {
	text   []byte   // the lines, each ended by "\n"
	blocks [][]byte // contents of the signature blocks
}

// message is what the signatures were made over: lines joined by CR LF, the
// last line end being part of the frame, not of the text.
func (c clearsigned) message() []byte {
	return bytes.ReplaceAll(bytes.TrimSuffix(c.text, []byte("\n")), []byte("\n"), []byte("\r\n"))
}

// VerifyClearsigned verifies a clear-signed text (RFC 9580 section 7) and
// returns the text that was signed. The file must begin with the BEGIN line
// and end with the END line of a signature and at most its line feed: anything before, between
// or after, be it an empty line, is an error wrapping ErrIntegrity, whatever the trust, and so is a carriage return
// anywhere. apt takes no such file either, but for carriage returns in front of a line feed. With Trust.Keyring == nil the
// signature is not verified (Unverified, or Pinned).
//
// The text comes as apt splits it: dash escapes undone, each line without the
// white space at its end (which no signature covers) and with one "\n". So it
// corresponds one to one to the bytes that were hashed, and what [Signer]
// clear-signed comes back byte for byte. Several signature blocks after one
// text are taken together, as apt does; go-crypto's clearsign package ignores
// all but the first, and text before it, which is why it is not used here.
func VerifyClearsigned(data []byte, t Trust) (text []byte, how How, err error) {
	c, err := parseClearsigned(data)
	if err != nil {
		return nil, How{}, fmt.Errorf("%w: clear-signed text: %w", ErrIntegrity, err)
	}
	how, err = t.judge(data, c.message(), c.blocks)
	if err != nil {
		return nil, How{}, err
	}
	return c.text, how, nil
}

// Unsigned is a text without the clear-signature that may be around it, which is not verified.
func Unsigned(data []byte) ([]byte, error) {
	if !bytes.HasPrefix(data, []byte("-----BEGIN PGP SIGNED MESSAGE-----")) {
		return data, nil
	}
	text, _, err := VerifyClearsigned(data, Trust{})
	return text, err
}

// VerifyDetached is the same for a text with a detached, ASCII-armoured
// signature (Release and Release.gpg). Trust.Digest is the digest of text.
// sig may be nil, which is an error if the trust has a keyring.
func VerifyDetached(text, sig []byte, t Trust) (How, error) {
	if len(text) > MaxReleaseSize || len(sig) > MaxReleaseSize {
		return How{}, fmt.Errorf("%w: signed text: %w", ErrIntegrity, errReleaseSize)
	}
	var blocks [][]byte
	if sig != nil {
		var err error
		if blocks, err = signatureBlocks(&lineScanner{rest: sig}, true); err != nil {
			return How{}, fmt.Errorf("%w: detached signature: %w", ErrIntegrity, err)
		}
	}
	return t.judge(text, text, blocks)
}

var (
	errReleaseSize = fmt.Errorf("over the limit of %d bytes", MaxReleaseSize)
	errNoFrame     = errors.New(`does not begin with "-----BEGIN PGP SIGNED MESSAGE-----"`)
)

// parseClearsigned takes a file apart without verifying anything.
func parseClearsigned(data []byte) (clearsigned, error) {
	if len(data) > MaxReleaseSize {
		return clearsigned{}, errReleaseSize
	}
	if bytes.IndexByte(data, 0) >= 0 { // where C programs, apt among them, would end a line
		return clearsigned{}, errors.New("NUL byte")
	}
	if i := bytes.IndexByte(data, '\r'); i >= 0 { // programs disagree whether it ends a line
		return clearsigned{}, fmt.Errorf("line %d: carriage return", 1+bytes.Count(data[:i], []byte("\n")))
	}
	s := &lineScanner{rest: data}
	if _, line, ok := s.next(); !ok || !isLine(line, "BEGIN", "PGP SIGNED MESSAGE") {
		return clearsigned{}, errNoFrame
	}
	if err := hashHeaders(s); err != nil {
		return clearsigned{}, err
	}
	text, err := signedLines(s)
	if err != nil {
		return clearsigned{}, err
	}
	blocks, err := signatureBlocks(s, false)
	if err != nil {
		return clearsigned{}, err
	}
	if !bytes.HasSuffix(bytes.TrimSuffix(data, []byte("\n")), []byte("-----END "+armorSignature+"-----")) {
		return clearsigned{}, fmt.Errorf("line %d: white space after the signature", s.n)
	}
	return clearsigned{text, blocks}, nil
}

// hashHeader is the only armour header a clear-signed text may have.
// "NotDashEscaped", which gpg knows, would change what the text is.
var hashHeader = regexp.MustCompile(`^Hash: ?[A-Za-z0-9-]+(, ?[A-Za-z0-9-]+)*$`)

func hashHeaders(s *lineScanner) error {
	for {
		_, line, ok := s.next()
		switch {
		case !ok:
			return errors.New("ends in its headers")
		case len(line) == 0:
			return nil
		case !hashHeader.Match(line):
			return fmt.Errorf("line %d: only Hash headers are allowed", s.n)
		}
	}
}

// signedLines reads the text and leaves s before the first signature block.
func signedLines(s *lineScanner) ([]byte, error) {
	text := make([]byte, 0, len(s.rest))
	for {
		before := *s
		raw, line, ok := s.next()
		switch {
		case !ok:
			return nil, errors.New("no signature")
		case isLine(line, "BEGIN", armorSignature):
			if len(text) == 0 {
				return nil, errors.New("no text")
			}
			*s = before
			return text, nil
		case bytes.HasPrefix(line, []byte("- ")):
			line = line[2:]
		case len(raw) > 0 && raw[0] == '-':
			// "- " and nothing else ends here too: apt reads a lone dash, gpg an empty line.
			return nil, fmt.Errorf("line %d: dash that is not escaped", s.n)
		}
		text = append(append(text, line...), '\n')
	}
}
