package deb

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"pault.ag/go/debian/version"
)

func TestParseVersion(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in   string
		want Version
		str  string
	}{
		{"1.0", Version{0, "1.0", ""}, "1.0"},
		{"1.0-1", Version{0, "1.0", "1"}, "1.0-1"},
		{"5:20.10.9~3-0~debian-bookworm", Version{5, "20.10.9~3-0~debian", "bookworm"}, "5:20.10.9~3-0~debian-bookworm"},
		{"0:1.0", Version{0, "1.0", ""}, "1.0"},
		{"1:2:3", Version{1, "2:3", ""}, "1:2:3"},
		{"0:2:3", Version{0, "2:3", ""}, "0:2:3"},
		{"+1:2", Version{1, "2", ""}, "1:2"},
		{"-0:2", Version{0, "2", ""}, "2"},
		{"0001:2", Version{1, "2", ""}, "1:2"},
		{"2147483647:1", Version{2147483647, "1", ""}, "2147483647:1"},
		{" 1.0\t", Version{0, "1.0", ""}, "1.0"},
		{"v1.2.3", Version{0, "v1.2.3", ""}, "v1.2.3"},
		{"1_0%é", Version{0, "1_0%é", ""}, "1_0%é"},
		{"1-2-3", Version{0, "1-2", "3"}, "1-2-3"},
	} {
		got, err := ParseVersion(c.in)
		if err != nil || got != c.want || canonical(got) != c.str {
			t.Errorf("%q: %+v %q %v, want %+v %q", c.in, got, canonical(got), err, c.want, c.str)
		}
	}
}

func TestParseVersionRefuses(t *testing.T) {
	t.Parallel()
	for _, in := range []string{
		"", " ", "1.0-", "1:", ":1", "a:1", "-1", "-1:1", "2147483648:1", "99999999999999999999999:1",
		"1 0", "1.0\n", "1\x000", "1: ", "+:1", "-:1", "+-1:1", "1:-1", "1.5:1",
	} {
		if v, err := ParseVersion(in); err == nil {
			t.Errorf("%q: taken as %+v", in, v)
		} else if !strings.Contains(err.Error(), "version") {
			t.Errorf("%q: error %q does not say what it is of", in, err)
		}
	}
}

// The characters of a package's version are dpkg's, each of them and no other, in every
// part (scripts/e2e/71-strict.sh asks dpkg).
func TestValidVersion(t *testing.T) {
	t.Parallel()
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.+~:-"
	for c := range 256 {
		b := string([]byte{byte(c)})
		for _, s := range []string{"1:1" + b + "0-1", "1:1-1" + b + "1"} {
			err := ValidVersion(s)
			if _, parsed := ParseVersion(s); (err == nil) != (parsed == nil && strings.Contains(allowed, b)) {
				t.Errorf("%q: %v", s, err)
			}
		}
	}
	for _, s := range []string{"", " 1.0", "1.0 ", "1.0-", "-1", "1_0", "1.0\n", "1/2", "\x1b[31m", "1é"} {
		if err := ValidVersion(s); err == nil {
			t.Errorf("%q is taken", s)
		}
	}
	for _, s := range []string{"5:20.10.9~3-0~debian-bookworm", "v1.2.3", "0", "1-2-3"} {
		if err := ValidVersion(s); err != nil {
			t.Error(err)
		}
	}
}

// ascending holds one version after the other in the order of deb-version(7),
// equal ones side by side.
var ascending = [][]string{
	{"~~"}, {"~~a"}, {"~"}, {"~1"},
	{"0", "00", "0:0", "0-0", "0-", "-", ""},
	{"0+"},
	{"0.1", "0.01"},
	{"1~~1"}, {"1~rc1-1"}, {"1~rc2"},
	{"1.0~"},
	{"1.0", "1.00", "0:1.0", "1.0-0", "01.0", " 1.0 "},
	{"1.0-0.1"},
	{"1.0-1~bpo1"}, {"1.0-1"}, {"1.0-1+b1"}, {"1.0-1+deb12u1"}, {"1.0-1.1"},
	{"1.0a"}, {"1.0a1"}, {"1.0aa"}, {"1.0b"}, {"1.0+dfsg"}, {"1.0.0"},
	{"1.2"}, {"1.9"}, {"1.10"},
	{"1.18446744073709551616"}, {"1.18446744073709551617"},
	{"v1"}, {"%1", "%01"},
	{"1:0"}, {"5:20.10.9"}, {"5:20.10.17"}, {"2147483647:0"},
}

func TestCompare(t *testing.T) {
	t.Parallel()
	for i, as := range ascending {
		for j, bs := range ascending {
			for _, a := range as {
				for _, b := range bs {
					want := max(-1, min(1, i-j))
					if got := Compare(a, b); got != want {
						t.Errorf("Compare(%q, %q) = %d, want %d", a, b, got, want)
					}
				}
			}
		}
	}
}

func TestCompareDoesNotAllocate(t *testing.T) {
	n := testing.AllocsPerRun(100, func() {
		Compare("5:20.10.9~3-0~debian-bookworm", "5:20.10.17~3-0~debian-bookworm")
		Compare("bad:1-", "99999999999:2-")
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// randomVersion draws from few characters, so that equal starts are common.
func randomVersion(r *rand.Rand) string {
	const chars = "0019ab.+~-:"
	b := make([]byte, 1+r.IntN(8))
	for i := range b {
		b[i] = chars[r.IntN(len(chars))]
	}
	return string(b)
}

func TestCompareIsAnOrder(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for range 200_000 {
		checkOrder(t, randomVersion(r), randomVersion(r), randomVersion(r))
	}
}

// checkOrder checks the laws of a total order over three versions, and the
// agreement with go-debian where that takes them.
func checkOrder(t *testing.T, a, b, c string) {
	t.Helper()
	ab, bc, ac := Compare(a, b), Compare(b, c), Compare(a, c)
	if Compare(a, a) != 0 || Compare(b, a) != -ab {
		t.Fatalf("not antisymmetric: %q %q", a, b)
	}
	if ab <= 0 && bc <= 0 && (ac > 0 || ac == 0 && (ab != 0 || bc != 0)) {
		t.Fatalf("not transitive: %q %q %q", a, b, c)
	}
	va, errA := version.Parse(a)
	vb, errB := version.Parse(b)
	_, ourA := ParseVersion(a)
	_, ourB := ParseVersion(b)
	if errA != nil || errB != nil || ourA != nil || ourB != nil {
		return
	}
	if want := version.Compare(va, vb); want < 0 != (ab < 0) || want > 0 != (ab > 0) {
		t.Fatalf("Compare(%q, %q) = %d, go-debian has %d", a, b, ab, want)
	}
}

func FuzzVersion(f *testing.F) {
	for i := range len(ascending) - 2 {
		f.Add(ascending[i][0], ascending[i+1][0], ascending[i+2][0])
	}
	f.Add("1:-1", "+1:1", "-0:1")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		checkOrder(t, a, b, c)
		v, err := ParseVersion(a)
		if err != nil {
			return
		}
		again, err := ParseVersion(canonical(v))
		if err != nil || again != v {
			t.Fatalf("%q: %+v, its spelling %q reads %+v, %v", a, v, canonical(v), again, err)
		}
		if Compare(a, canonical(v)) != 0 {
			t.Fatalf("%q and its canonical spelling %q differ", a, canonical(v))
		}
	})
}

func BenchmarkCompare(b *testing.B) {
	pairs := [][2]string{
		{"5:20.10.9~3-0~debian-bookworm", "5:20.10.17~3-0~debian-bookworm"},
		{"2.36-9+deb12u7", "2.36-9+deb12u10"},
		{"1.0", "1.0-1"},
		{"1:9.2p1-2+deb12u3", "1:9.2p1-2+deb12u3"},
	}
	for i := 0; b.Loop(); i++ {
		p := pairs[i%len(pairs)]
		Compare(p[0], p[1])
	}
}

// canonical gives a version back in its canonical spelling: without an epoch of
// zero, unless the upstream part holds a colon and needs one.
func canonical(v Version) string {
	s := v.Upstream
	if v.Revision != "" {
		s += "-" + v.Revision
	}
	if v.Epoch != 0 || strings.IndexByte(s, ':') >= 0 {
		s = strconv.FormatUint(uint64(v.Epoch), 10) + ":" + s
	}
	return s
}
