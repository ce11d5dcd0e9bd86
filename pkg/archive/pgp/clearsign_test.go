package pgp

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
)

const (
	begin   = "-----BEGIN PGP SIGNED MESSAGE-----\n"
	beginS  = "-----BEGIN PGP SIGNATURE-----\n"
	aSig    = beginS + "\nwnUEARYKACcFgmpRh4A=\n-----END PGP SIGNATURE-----\n"
	headerS = begin + "Hash: SHA256\n\n"
)

// TestFraming: what a clear-signed file may look like, before any signature is tried.
func TestFraming(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, data string
		text       string
		want       string // in the error
	}{
		{"plain", headerS + "a\nb\n" + aSig, "a\nb\n", ""},
		{"no header", begin + "\na\n" + aSig, "a\n", ""},
		{"several headers", begin + "Hash: SHA1\nHash: SHA256,SHA512\n\na\n" + aSig, "a\n", ""},
		{"white space at line ends", headerS + "a \nb\t \n" + aSig, "a\nb\n", ""},
		{"empty line is kept", headerS + "a\n\n" + aSig, "a\n\n", ""},
		{"dash escapes", headerS + "- -----BEGIN PGP SIGNATURE-----\n- a\n- - b\n" + aSig, "-----BEGIN PGP SIGNATURE-----\na\n- b\n", ""},
		{"armour headers and checksum", headerS + "a\n" + beginS + "Version: x\nComment: y: z\n\nwnUEARYKACcFgmpRh4A=\n=abcd\n-----END PGP SIGNATURE-----\n", "a\n", ""},
		{"no newline at the end", strings.TrimSuffix(headerS+"a\n"+aSig, "\n"), "a\n", ""},
		{"two blocks", headerS + "a\n" + aSig + aSig, "a\n", ""},

		{"CR LF", strings.ReplaceAll(headerS+"a\nb\n"+aSig, "\n", "\r\n"), "", "line 1: carriage return"},
		{"CR at a line's end", headerS + "a\r\n" + aSig, "", "line 4: carriage return"},
		{"CR in a line", headerS + "a\rOrigin: evil\n" + aSig, "", "line 4: carriage return"},
		{"CR in the signature", headerS + "a\n" + strings.Replace(aSig, "=\n", "=\r\n", 1), "", "carriage return"},
		{"CR at the end", headerS + "a\n" + strings.TrimSuffix(aSig, "\n") + "\r", "", "carriage return"},
		{"empty line between blocks", headerS + "a\n" + aSig + "\n" + aSig, "", "empty line after the signature"},
		{"blank line between blocks", headerS + "a\n" + aSig + " \n" + aSig, "", "empty line after the signature"},
		{"empty line at the end", headerS + "a\n" + aSig + "\n", "", "empty line after the signature"},
		{"blank at the end", headerS + "a\n" + aSig + " ", "", "empty line after the signature"},
		{"blank at the end of the END line", headerS + "a\n" + strings.TrimSuffix(aSig, "\n") + " \n", "", "white space after the signature"},
		{"tab for the last newline", headerS + "a\n" + strings.TrimSuffix(aSig, "\n") + "\t", "", "white space after the signature"},
		{"empty", "", "", "does not begin"},
		{"not signed", "Origin: x\n", "", "does not begin"},
		{"line before", "Origin: evil\n" + headerS + "a\n" + aSig, "", "does not begin"},
		{"empty line before", "\n" + headerS + "a\n" + aSig, "", "does not begin"},
		{"byte order mark", "\ufeff" + headerS + "a\n" + aSig, "", "does not begin"},
		{"text on the BEGIN line", strings.Replace(headerS, "-----\n", "----- x\n", 1) + "a\n" + aSig, "", "does not begin"},
		{"after", headerS + "a\n" + aSig + "Origin: evil\n", "", "text after the signature"},
		{"second message after", headerS + "a\n" + aSig + headerS + "b\n" + aSig, "", "text after the signature"},
		{"between blocks", headerS + "a\n" + aSig + "x\n" + aSig, "", "text after the signature"},
		{"in the signature", headerS + "a\n" + strings.Replace(aSig, "\n-----END", "\nOrigin: evil\n-----END", 1), "", "no base64"},
		{"after the checksum", headerS + "a\n" + strings.Replace(aSig, "\n-----END", "\n=abcd\nAAAA\n-----END", 1), "", "after the checksum"},
		{"nested message", headerS + "a\n" + headerS + "b\n" + aSig, "", "not escaped"},
		{"dash without escape", headerS + "-a\n" + aSig, "", "not escaped"},
		{"escape of nothing", headerS + "- \n" + aSig, "", "not escaped"},
		{"lone dash", headerS + "-\n" + aSig, "", "not escaped"},
		{"END in the text", headerS + "a\n-----END PGP SIGNATURE-----\n" + aSig, "", "not escaped"},
		{"NotDashEscaped", begin + "Hash: SHA256\nNotDashEscaped: yes\n\n-a\n" + aSig, "", "only Hash headers"},
		{"Comment", begin + "Comment: Origin\n\na\n" + aSig, "", "only Hash headers"},
		{"text for headers", begin + "Origin: evil\n\na\n" + aSig, "", "only Hash headers"},
		{"header folded", begin + "Hash: SHA256\n Origin: evil\n\na\n" + aSig, "", "only Hash headers"},
		{"no end of headers", begin + "Hash: SHA256\n", "", "ends in its headers"},
		{"no text", headerS + aSig, "", "no text"},
		{"no signature", headerS + "a\n", "", "no signature"},
		{"no END", headerS + "a\n" + beginS + "\nAAAA\n", "", "without END line"},
		{"no base64", headerS + "a\n" + beginS + "\nAAA\n-----END PGP SIGNATURE-----\n", "", "illegal base64"},
		{"padding inside", headerS + "a\n" + beginS + "\nAA==\nAAAA\n-----END PGP SIGNATURE-----\n", "", "illegal base64"},
		{"END of another kind", headerS + "a\n" + beginS + "\nAAAA\n-----END PGP MESSAGE-----\n", "", "no base64"},
		{"armour without header end", headerS + "a\n" + beginS + "AAAA\n-----END PGP SIGNATURE-----\n", "", "no armour header"},
		{"NUL", headerS + "a\x00b\n" + aSig, "", "NUL"},
		{"too long", headerS + strings.Repeat("a", MaxReleaseSize) + "\n" + aSig, "", "over the limit"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			text, how, err := VerifyClearsigned([]byte(tc.data), Trust{}) // framing counts without trust, too
			wantErr(t, err, tc.want)
			if err != nil && !errors.Is(err, ErrIntegrity) {
				t.Errorf("%v is no ErrIntegrity", err)
			}
			if string(text) != tc.text || how.Kind != Unverified {
				t.Errorf("text %q, %+v", text, how)
			}
		})
	}
}

// TestManyLines holds the reading to linear time and no pile of copies.
func TestManyLines(t *testing.T) {
	t.Parallel()
	data := headerS + strings.Repeat("\n", MaxReleaseSize/5) + aSig
	text, _, err := VerifyClearsigned([]byte(data), Trust{})
	wantErr(t, err, "")
	if len(text) != MaxReleaseSize/5 {
		t.Errorf("%d bytes", len(text))
	}
}

// TestClearsignRoundTrip: what is signed comes back, byte for byte, and the
// library's own reader agrees about what was signed.
func TestClearsignRoundTrip(t *testing.T) {
	t.Parallel()
	s := newSigner(t)
	for _, text := range []string{
		"a\n", "\n", "a\n\n\n", "- a\n-\n-----BEGIN PGP SIGNATURE-----\n", " leading\n\tblanks\n", "ä €\n",
	} {
		data, err := s.Clearsign([]byte(text), day("2026-07-11"))
		wantErr(t, err, "")
		got, how, err := VerifyClearsigned(data, Trust{Keyring: s.Public()})
		if err != nil || string(got) != text || how.Kind != Signed || !how.Time.Equal(day("2026-07-11")) {
			t.Errorf("%q came back as %q, %+v, %v", text, got, how, err)
		}
		b, rest := clearsign.Decode(data)
		if b == nil || len(rest) > 0 || string(b.Plaintext)+"\n" != text {
			t.Errorf("%q: clearsign.Decode disagrees: %+v, rest %q", text, b, rest)
		}
	}
	for _, text := range []string{"", "a", "a \n", "a\r\n", "a\n\t\n", "a\x00\n", "a\rb\n"} {
		if _, err := s.Clearsign([]byte(text), day("2026-07-11")); err == nil {
			t.Errorf("%q can be signed", text)
		}
	}
}

// TestUnsigned: a frame is taken off a text, and a text without one stays as it is; what only looks like a frame is refused.
func TestUnsigned(t *testing.T) {
	t.Parallel()
	const text = "Format: 1.0\n-- x\n"
	signed, err := newSigner(t).Clearsign([]byte(text), day("2026-07-11"))
	wantErr(t, err, "")
	for _, in := range []string{text, string(signed)} {
		if got, err := Unsigned([]byte(in)); err != nil || string(got) != text {
			t.Errorf("%q, %v", got, err)
		}
	}
	for _, in := range []string{string(signed) + "Source: evil\n", begin + text} {
		if got, err := Unsigned([]byte(in)); !errors.Is(err, ErrIntegrity) {
			t.Errorf("%q, %v", got, err)
		}
	}
}

// TestEveryByteCounts flips each byte of a signed file in turn: it is refused,
// or the text is the same as before.
func TestEveryByteCounts(t *testing.T) {
	t.Parallel()
	data := fixture(t, "ed25519.asc")
	want := fixture(t, "Release")
	trust := Trust{Keyring: ring(t, "ed25519")}
	for i := range data {
		for _, bit := range []byte{1, 0x20, 0x80} {
			changed := bytes.Clone(data)
			changed[i] ^= bit
			text, how, err := VerifyClearsigned(changed, trust)
			if err == nil && !bytes.Equal(text, want) {
				t.Fatalf("byte %d, bit %x: text %q, %+v", i, bit, text, how)
			}
			if err != nil && text != nil {
				t.Fatalf("byte %d: text in spite of %v", i, err)
			}
		}
	}
}

func FuzzClearsigned(f *testing.F) {
	// Each new input is made smaller for up to a minute otherwise, byte by byte and pair by pair, and little else is done.
	if err := flag.Set("test.fuzzminimizetime", "100x"); err != nil {
		f.Fatal(err)
	}
	names, err := filepath.Glob("testdata/gpg/*.asc")
	if err != nil || len(names) == 0 {
		f.Fatal(names, err)
	}
	for _, n := range names {
		data, err := os.ReadFile(n)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(headerS + "- -a\n\n" + aSig + aSig))
	keys := ring(f, "rsa2048", "ed25519", "other", "subkey")
	release := fixture(f, "Release")
	f.Fuzz(func(t *testing.T, data []byte) {
		text, _, err := VerifyClearsigned(data, Trust{})
		if err == nil {
			for line := range bytes.Lines(text) {
				if l := bytes.TrimSuffix(line, []byte("\n")); len(l) == len(line) || len(trimEnd(l)) != len(l) {
					t.Fatalf("line %q", line)
				}
			}
		}
		signed, how, err := VerifyClearsigned(data, Trust{Keyring: keys})
		if err == nil && (how.Kind != Signed || !bytes.Equal(signed, release)) { // the only text these keys signed
			t.Fatalf("%q verified", signed)
		}
	})
}
