package sums

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

func of(name string) Line { return Line{Name: name, Digest: sha256.Sum256([]byte(name))} }

// TestForms: both forms of GNU coreutils 9.1, and what others write like them.
func TestForms(t *testing.T) {
	t.Parallel()
	hex := func(name string) string { return fmt.Sprintf("%x", of(name).Digest) }
	for text, want := range map[string][]string{
		hex("a.iso") + "  a.iso\n":                                                                                   {"a.iso"},
		hex("a.iso") + " *a.iso\n" + hex("b  c") + "  b  c":                                                          {"a.iso", "b  c"},
		"SHA256 (a.iso) = " + hex("a.iso") + "\n":                                                                    {"a.iso"},
		"SHA256 (a (1) = x) = " + hex("a (1) = x") + "\r\n":                                                          {"a (1) = x"},
		`\` + hex(`a\b`) + `  a\\b` + "\n" + `\SHA256 (c\nd) = ` + hex("c\nd"):                                       {`a\b`, "c\nd"},
		"# a.iso: 7 bytes\n\nSHA256 (a.iso) = " + hex("a.iso") + "\nSHA512 (a.iso) = 00\nBLAKE2b-256 (a.iso) = 00\n": {"a.iso"},
		hex("./x/y") + "  ./x/y\n" + strings.ToUpper(hex("z")) + "  z\n":                                             {"./x/y", "z"},
		hex("a") + "  a\n" + hex("a") + "  a\n":                                                                      {"a"},
		"":                                                                                                           nil,
	} {
		got, err := Parse([]byte(text))
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		var names []string
		for _, l := range got {
			names = append(names, l.Name)
			if l.Digest != of(l.Name).Digest {
				t.Errorf("%q: digest of %q", text, l.Name)
			}
		}
		if !slices.Equal(names, want) {
			t.Errorf("%q: %q, want %q", text, names, want)
		}
		if back, err := Parse(Format(got)); err != nil || len(back) != len(got) {
			t.Errorf("%q: written and read again: %v, %v", text, back, err)
		}
	}
}

func TestMalformed(t *testing.T) {
	t.Parallel()
	sum := strings.Repeat("ab", 32)
	for text, want := range map[string]string{
		sum + " a\n":                       "line 1: ",
		sum + "\n":                         "neither",
		sum + "  \n":                       "no name",
		"x  a\n":                           "no digest",
		sum[:62] + "  a\n":                 "62 hexadecimal digits",
		sum + sum + "  a\n":                "128 hexadecimal digits",
		"SHA256 (a) " + sum:                "no digest behind",
		"SHA256 (a) = " + sum[1:]:          "no digest",
		"SHA256 () = " + sum:               "no name",
		`\` + sum + `  a\x`:                `escape \x`,
		`\` + sum + `  a\`:                 "ends within",
		sum + "  \xff":                     "UTF-8",
		"SHA512 (a) = " + sum + sum + "\n": "SHA256 is needed",
		sum + "  a\n" + strings.Repeat("cd", 32) + "  a": "line 2: \"a\" has another digest on line 1",
		strings.Repeat("x\n", 100):                       "line 10",
		"<html>":                                         "neither",
		strings.Repeat("\n", MaxSize+1):                  "limit",
	} {
		if _, err := Parse([]byte(text)); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80q: %v, want %q", text, err, want)
		}
	}
}

// TestVector: the text in SPEC.md, of files whose content is their path.
func TestVector(t *testing.T) {
	t.Parallel()
	spec, err := os.ReadFile("../../../artifacts/SPEC.md")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(Format([]Line{of("tool-1.0.tar.gz"), of("iso/net.iso"), of(`a\b`)}))) {
		if !strings.Contains(string(spec), "      "+line) {
			t.Errorf("SPEC.md lacks %q", line)
		}
	}
}

// FuzzParse: what was read is written so that it is read as the same again.
func FuzzParse(f *testing.F) {
	f.Add(string(Format([]Line{of("a"), of(`b\c`), of("d\ne")})))
	f.Add("SHA256 (a) = " + strings.Repeat("ab", 32) + "\n# c\n")
	f.Add(`\` + strings.Repeat("ab", 32) + ` *a\\b`)
	f.Add("-----BEGIN PGP SIGNED MESSAGE-----\n")
	f.Fuzz(func(t *testing.T, text string) {
		lines, err := Parse([]byte(text))
		if err != nil {
			return
		}
		written := Format(lines)
		again, err := Parse(written)
		if err != nil || string(Format(again)) != string(written) || len(again) != len(lines) {
			t.Fatalf("%q: %v, %v", written, again, err)
		}
	})
}
