package host

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// TestPolicy: of a mirror's preferences denials of named versions are taken, and nothing else.
func TestPolicy(t *testing.T) {
	t.Parallel()
	const good = "Package: telnet\nPin: version 0.17+2.4-2+deb12u1\nPin-Priority: -1\n"
	got, err := ParsePolicy([]byte("# of the mirror\n\nExplanation: use ssh\n" + good + "\nPackage: libc6:i386\nPin: version 1:2.36~rc1-9\nPin-Priority: -1\n"))
	want := []Denied{{"telnet", "0.17+2.4-2+deb12u1"}, {"libc6:i386", "1:2.36~rc1-9"}}
	if err != nil || !slices.Equal(got, want) {
		t.Fatal(got, err)
	}
	if again, err := ParsePolicy(formatPolicy(want)); err != nil || !slices.Equal(again, want) {
		t.Error(again, err)
	}
	for _, empty := range []string{"", "\n", "# nothing is denied\n"} {
		if got, err := ParsePolicy([]byte(empty)); err != nil || len(got) != 0 {
			t.Errorf("%q: %v, %v", empty, got, err)
		}
	}
	for _, change := range [][2]string{
		{"-1", "1001"}, {"-1", "-1 "}, {"-1", "1"}, {"-1", "-10"}, {"-1", "-1\nPin-Priority: 1001"},
		{"-1", "-1\n Package: evil"}, {"-1", "-1\n\tx"}, {"-1", "-1\r"}, {"-1", "-1\nX-Other: x"}, {"-1", "-1\n \nPackage: evil\nPin: version *\nPin-Priority: 1001"},
		{"version 0.17+2.4-2+deb12u1", "version *"}, {"version 0.17+2.4-2+deb12u1", "version 0.17*"}, {"version 0.17+2.4-2+deb12u1", "version /./"},
		{"version 0.17+2.4-2+deb12u1", "version "}, {"version 0.17+2.4-2+deb12u1", "version 1 2"},
		{"version 0.17+2.4-2+deb12u1", "release a=stable"}, {"version 0.17+2.4-2+deb12u1", "origin evil.example.org"},
		{"Package: telnet", "Package: *"}, {"Package: telnet", "Package: telnet evil"}, {"Package: telnet", "Package: /tel/"},
		{"Package: telnet", "Package: src:telnet:any"}, {"Package: telnet", "Package: "}, {"Package: telnet", "Package: telnet:"},
		{"Package: telnet", "Package: telnet\nPackage: evil"}, {"Package: telnet\n", ""}, {"Pin-Priority: -1\n", ""}, {"Package:", "package :"},
	} {
		bad := strings.Replace(good, change[0], change[1], 1)
		if got, err := ParsePolicy([]byte(bad)); !errors.Is(err, ErrPolicy) {
			t.Errorf("%q: %v, %v", bad, got, err)
		}
	}
}
