package snapshot

import (
	"bytes"
	"errors"
	"flag"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/mmoci/pkg/archive/pgp"
)

var testDate = time.Date(2026, 11, 21, 9, 13, 40, 0, time.UTC)

// suiteFile is a signature file whose content is its path.
func suiteFile(prefix, suite string, role Role, date time.Time) SuiteFile {
	path := RolePath(prefix, suite, role)
	return SuiteFile{Role: role, Blob: BlobOf([]byte(path)), Date: date, Path: path}
}

// fullStatement has an archive of each mode and class, and a flat one; signed as SPEC section 4 demands.
func fullStatement() *Statement {
	day := testDate.Add(-24 * time.Hour)
	return &Statement{
		Date: testDate, ValidUntil: testDate.AddDate(0, 1, 0), Encoder: 1,
		Table: BlobOf([]byte("table")), Lock: BlobOf([]byte("lock")),
		Archives: []Archive{
			{Prefix: "debian", Mode: Verbatim, Class: Upstream, Format: "deb",
				UpstreamKeys: []string{strings.Repeat("0", 40), strings.Repeat("AB", 20)},
				Suites: []Suite{
					{"bookworm", []SuiteFile{suiteFile("debian", "bookworm", InRelease, day)}},
					{"bookworm/updates", []SuiteFile{suiteFile("debian", "bookworm/updates", Release, day), suiteFile("debian", "bookworm/updates", ReleaseGPG, day)}},
				}},
			{Prefix: "docker", Mode: Curated, Class: Upstream, Format: "deb",
				UpstreamKeys: []string{strings.Repeat("9", 40)},
				Suites: []Suite{{"bookworm", []SuiteFile{
					suiteFile("docker", "bookworm", InRelease, testDate), suiteFile("docker", "bookworm", Release, testDate),
					suiteFile("docker", "bookworm", ReleaseGPG, testDate), suiteFile("docker", "bookworm", UpstreamInRelease, day),
				}}}},
			{Prefix: "flat", Mode: Curated, Class: Upstream, Format: "deb", Suites: []Suite{
				{"./", []SuiteFile{
					suiteFile("flat", "./", InRelease, testDate), suiteFile("flat", "./", Release, testDate), suiteFile("flat", "./", ReleaseGPG, testDate),
					suiteFile("flat", "./", UpstreamRelease, day), suiteFile("flat", "./", UpstreamReleaseGPG, day),
				}}}},
			{Prefix: "own", Mode: Curated, Class: Site, Format: "deb", Suites: []Suite{
				{"own", []SuiteFile{suiteFile("own", "own", InRelease, testDate), suiteFile("own", "own", Release, testDate), suiteFile("own", "own", ReleaseGPG, testDate)}},
			}},
		},
	}
}

// withImages has what takes version 2 of the format.
func withImages() *Statement {
	st := fullStatement()
	st.Needs = "0.2"
	blob := func(s string) Blob { return BlobOf([]byte(s)) }
	st.Images = []Image{
		{Name: "[2001:db8::1]:5000/a:1", Blob: blob("a")},
		{Name: "registry.example.org/site/app:v1.2", Blob: blob("app"), Referrers: []Blob{blob("signature"), blob("sbom")}},
		{Name: "registry.example.org:5000/b_c/d--e:latest", Blob: blob("a")},
	}
	slices.SortFunc(st.Images[1].Referrers, func(a, b Blob) int { return bytes.Compare(a.Digest[:], b.Digest[:]) })
	return st
}

// What breaks a rule of SPEC section 4 about images is refused, in memory and as text.
func TestImagesOfStatement(t *testing.T) {
	t.Parallel()
	blob := BlobOf([]byte("x"))
	for name, edit := range map[string]func(st *Statement){
		"no host":           func(st *Statement) { st.Images[0].Name = "pause:3.10" },
		"no tag":            func(st *Statement) { st.Images[0].Name = "registry.example.org/pause" },
		"by digest":         func(st *Statement) { st.Images[0].Name = "registry.example.org/pause@" + blob.Digest.String() },
		"upper case":        func(st *Statement) { st.Images[0].Name = "registry.example.org/Pause:1" },
		"climbing":          func(st *Statement) { st.Images[0].Name = "registry.example.org/../pause:1" },
		"twice":             func(st *Statement) { st.Images = append(st.Images, st.Images[2]) },
		"order":             func(st *Statement) { slices.Reverse(st.Images) },
		"same in a place":   func(st *Statement) { st.Images[2].Name = "registry.example.org:5000/site/app:v1.2" },
		"empty":             func(st *Statement) { st.Images[0].Size = 0 },
		"large":             func(st *Statement) { st.Images[0].Size = MaxImageDocument + 1 },
		"referrers' order":  func(st *Statement) { slices.Reverse(st.Images[1].Referrers) },
		"too many":          func(st *Statement) { st.Images[1].Referrers = make([]Blob, 65) },
		"no need":           func(st *Statement) { st.Needs = "" },
		"need of no image":  func(st *Statement) { st.Images = nil },
		"need of no number": func(st *Statement) { st.Needs = "v1" },
	} {
		st := withImages()
		edit(st)
		if text, err := st.Encode(); err == nil {
			t.Errorf("%s: encoded as %.300s", name, text)
		}
		if got, err := ParseStatement(st.text(), pgp.How{}); got != nil || !errors.Is(err, ErrIntegrity) {
			t.Errorf("%s: parsed as %v, %v", name, got, err)
		}
	}
	good, err := withImages().Encode()
	if err != nil {
		t.Fatal(err)
	}
	line := "image registry.example.org/z:1 " + blob.String() + "\n"
	for name, text := range map[string]string{
		"after archives":      string(good) + line,
		"referrer first":      strings.Replace(string(good), "image [", "referrer "+blob.String()+"\nimage [", 1),
		"in version 1":        strings.Replace(strings.Replace(string(good), "-v2", "-v1", 1), "needs 0.2\n", "", 1),
		"four fields":         strings.Replace(string(good), "image [", "image x [", 1),
		"size in other bytes": strings.Replace(string(good), " 1\nimage reg", " 01\nimage reg", 1),
	} {
		if text == string(good) {
			t.Errorf("%s: nothing was edited", name)
		}
		if st, err := ParseStatement([]byte(text), pgp.How{}); st != nil || !errors.Is(err, ErrIntegrity) {
			t.Errorf("%s: %v, %v", name, st, err)
		}
	}
}

func TestStatementRoundTrip(t *testing.T) {
	t.Parallel()
	small := &Statement{Date: testDate, Encoder: 2, Table: BlobOf([]byte("t")), Lock: BlobOf([]byte("l"))}
	for _, st := range []*Statement{fullStatement(), small, withImages()} {
		text, err := st.Encode()
		if err != nil {
			t.Fatal(err)
		}
		how := pgp.How{Kind: pgp.Signed, Signer: "X", Time: testDate}
		got, err := ParseStatement(text, how)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		want := *st
		want.How = how
		if !reflect.DeepEqual(got, &want) {
			t.Errorf("got\n%+v\nwant\n%+v", got, want)
		}
	}
}

// TestEncodeRefuses changes one thing in a good statement.
func TestEncodeRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*Statement)
		want   string // in the error
	}{
		"no date":           {func(s *Statement) { s.Date = time.Time{} }, "line 2: date"},
		"half a second":     {func(s *Statement) { s.Date = s.Date.Add(time.Millisecond) }, "line 2: date"},
		"year 10000":        {func(s *Statement) { s.ValidUntil = s.ValidUntil.AddDate(8000, 0, 0) }, "line 3: date"},
		"valid before":      {func(s *Statement) { s.ValidUntil = s.Date }, "line 3: valid-until"},
		"encoder 0":         {func(s *Statement) { s.Encoder = 0 }, "line 4: encoder"},
		"no table":          {func(s *Statement) { s.Table = Blob{} }, "line 5: table"},
		"table too large":   {func(s *Statement) { s.Table.Size = MaxTable + 1 }, "line 5: table"},
		"empty lock":        {func(s *Statement) { s.Lock = BlobOf(nil) }, "line 6: lock"},
		"lock too large":    {func(s *Statement) { s.Lock.Size = MaxLock + 1 }, "line 6: lock"},
		"prefix":            {func(s *Statement) { s.Archives[0].Prefix = "v2" }, "line 7: prefix"},
		"order of archives": {func(s *Statement) { s.Archives[0], s.Archives[1] = s.Archives[1], s.Archives[0] }, "line 14: archive debian: twice or not in order"},
		"archive twice":     {func(s *Statement) { s.Archives[1] = s.Archives[0] }, "line 15: archive debian: twice or not in order"},
		"mode":              {func(s *Statement) { s.Archives[0].Mode = "frozen" }, "line 7: archive debian: mode"},
		"class":             {func(s *Statement) { s.Archives[0].Class = "" }, "line 7: archive debian: class"},
		"verbatim site":     {func(s *Statement) { s.Archives[0].Class = Site }, "line 7: archive debian: an archive of class site"},
		"format":            {func(s *Statement) { s.Archives[0].Format = "ipk" }, "line 7: archive debian: format"},
		"short key":         {func(s *Statement) { s.Archives[0].UpstreamKeys[0] = "00" }, "line 8: archive debian: upstream-key"},
		"lower-case key":    {func(s *Statement) { s.Archives[0].UpstreamKeys[1] = strings.Repeat("ab", 20) }, "line 9: archive debian: upstream-key"},
		"key twice":         {func(s *Statement) { s.Archives[0].UpstreamKeys[1] = strings.Repeat("0", 40) }, "line 9: archive debian: upstream-key"},
		"key of a site":     {func(s *Statement) { s.Archives[3].UpstreamKeys = []string{strings.Repeat("0", 40)} }, "upstream-key in an archive of class site"},
		"suite with blank":  {func(s *Statement) { s.Archives[0].Suites[0].Name = "a b" }, "line 10: archive debian: suite"},
		"climbing suite":    {func(s *Statement) { s.Archives[0].Suites[0].Name = "../a" }, "suite"},
		"no suite name":     {func(s *Statement) { s.Archives[0].Suites[0].Name = "" }, "suite"},
		"suite of a slash":  {func(s *Statement) { s.Archives[0].Suites[0].Name = "/" }, "suite"},
		"suite twice":       {func(s *Statement) { s.Archives[0].Suites[1] = s.Archives[0].Suites[0] }, "line 12: archive debian: suite bookworm: twice"},
		"role":              {func(s *Statement) { s.Archives[0].Suites[0].Files[0].Role = "inRelease" }, "line 11: archive debian: suite bookworm: role"},
		"role of no .debs": {func(s *Statement) {
			f := &s.Archives[0].Suites[0].Files
			*f = append(*f, suiteFile("debian", "bookworm", Repomd, s.Date))
		}, "suite bookworm: role repomd in an archive of format deb"},
		"foreign path":   {func(s *Statement) { s.Archives[0].Suites[0].Files[0].Path = "docker/dists/bookworm/InRelease" }, "line 11: archive debian: suite bookworm: path"},
		"file twice":     {func(s *Statement) { f := &s.Archives[0].Suites[0].Files; *f = append(*f, (*f)[0]) }, "twice"},
		"order of files": {func(s *Statement) { f := s.Archives[1].Suites[0].Files; f[0], f[1] = f[1], f[0] }, "not in order"},
		"empty file":     {func(s *Statement) { s.Archives[0].Suites[0].Files[0].Blob = BlobOf(nil) }, "size 0"},
		"large file":     {func(s *Statement) { s.Archives[0].Suites[0].Files[0].Size = MaxRelease + 1 }, "size 10000001"},
		"two sizes": {func(s *Statement) {
			s.Archives[0].Suites[1].Files[0].Blob = Blob{s.Archives[0].Suites[0].Files[0].Digest, 3}
		}, "two sizes"},
		"file without date":  {func(s *Statement) { s.Archives[0].Suites[0].Files[0].Date = time.Time{} }, "line 11: archive debian: suite bookworm: file debian/dists/bookworm/InRelease: date"},
		"days mixed":         {func(s *Statement) { s.Archives[0].Suites[1].Files[1].Date = testDate }, "line 12: archive debian: suite bookworm/updates: release-gpg and release have different dates"},
		"days mixed above":   {func(s *Statement) { s.Archives[2].Suites[0].Files[4].Date = testDate }, "upstream-release-gpg and upstream-release have different dates"},
		"curated, other day": {func(s *Statement) { s.Archives[1].Suites[0].Files[1].Date = testDate.Add(time.Second) }, "is not the statement's"},
		"gpg alone":          {func(s *Statement) { f := &s.Archives[0].Suites[1].Files; *f = (*f)[1:] }, "release-gpg without release"},
		"upstream gpg alone": {func(s *Statement) { f := &s.Archives[2].Suites[0].Files; *f = append((*f)[:3], (*f)[4]) }, "upstream-release-gpg without"},
		"verbatim, none":     {func(s *Statement) { s.Archives[0].Suites[0].Files = nil }, "neither"},
		"curated, no rel.":   {func(s *Statement) { f := &s.Archives[1].Suites[0].Files; *f = (*f)[3:] }, "no release"},
		"curated, no gpg":    {func(s *Statement) { f := &s.Archives[1].Suites[0].Files; *f = append((*f)[:2], (*f)[3]) }, "without the other"},
		"curated, no inrel.": {func(s *Statement) { f := &s.Archives[1].Suites[0].Files; *f = (*f)[1:] }, "without the other"},
		"no provenance":      {func(s *Statement) { f := &s.Archives[1].Suites[0].Files; *f = (*f)[:3] }, "no provenance"},
		"verbatim above": {func(s *Statement) {
			f := &s.Archives[0].Suites[0].Files
			*f = append(*f, suiteFile("debian", "bookworm", UpstreamInRelease, testDate))
		}, "role upstream-inrelease in a verbatim archive"},
		"site above": {func(s *Statement) {
			f := &s.Archives[3].Suites[0].Files
			*f = append(*f, suiteFile("own", "own", UpstreamInRelease, testDate))
		}, "role upstream-inrelease in an archive of class site"},
	} {
		st := fullStatement()
		c.change(st)
		text, err := st.Encode()
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q\n%s", name, err, c.want, text)
			continue
		}
		// A reader refuses the same text, in the same line.
		if name == "half a second" {
			continue // the text cannot say it
		}
		if _, perr := ParseStatement(st.text(), pgp.How{}); !errors.Is(perr, ErrIntegrity) {
			t.Errorf("%s: parsed: %v", name, perr)
		}
	}
}

func TestParseStatementRefuses(t *testing.T) {
	t.Parallel()
	good, err := fullStatement().Encode()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(good), "\n")
	with := func(n int, line string) string { // line n replaced
		l := append([]string{}, lines...)
		l[n-1] = line
		return strings.Join(l, "")
	}
	for name, c := range map[string]struct{ text, want string }{
		"empty":              {"", "line 1: not"},
		"magic":              {with(1, "mmoci-statement-x2\n"), "line 1: not"},
		"magic and more":     {with(1, "mmoci-statement-v1 x\n"), "line 1: not"},
		"only magic":         {lines[0], `line 2: no "date"`},
		"no newline":         {string(good[:len(good)-1]), "does not end with a newline"},
		"blank line":         {string(good) + "\n", "empty field"},
		"blank at the end":   {with(2, "date 2026-11-21T09:13:40Z \n"), "line 2: empty field"},
		"two blanks":         {with(4, "encoder  1\n"), "line 4: empty field"},
		"blank in front":     {with(4, " encoder 1\n"), "line 4: empty field"},
		"carriage return":    {with(4, "encoder 1\r\n"), "line 4"},
		"tab":                {with(4, "encoder\t1\n"), "line 4"},
		"no date":            {with(2, ""), `line 2: no "date"`},
		"date twice":         {with(2, lines[1]+lines[1]), `line 3: no "encoder"`},
		"date with zone":     {with(2, "date 2026-11-21T09:13:40+00:00\n"), "line 2"},
		"date with fraction": {with(2, "date 2026-11-21T09:13:40.0Z\n"), "line 2"},
		"date that is none":  {with(2, "date 2026-02-30T09:13:40Z\n"), "line 2"},
		"short date":         {with(2, "date 2026-11-21T9:13:40Z\n"), "line 2"},
		"valid until zero":   {with(3, "valid-until 0001-01-01T00:00:00Z\n"), "line 3: not in canonical form"},
		"encoder":            {with(4, "encoder one\n"), "line 4"},
		"encoder 01":         {with(4, "encoder 01\n"), "line 4"},
		"encoder +1":         {with(4, "encoder +1\n"), "line 4"},
		"encoder huge":       {with(4, "encoder 99999999999999999999\n"), "line 4"},
		"fields":             {with(4, "encoder 1 1\n"), "line 4: encoder: 2 fields"},
		"digest":             {with(5, "table sha512:00 5\n"), "line 5: digest"},
		"placeholder":        {with(5, "table "+Digest{}.String()+" 5\n"), "line 5: digest sha256:00000000...: 64 zeros: a placeholder was not filled in"},
		"upper-case digest":  {with(5, "table sha256:"+strings.ToUpper(BlobOf([]byte("table")).Digest.Hex())+" 5\n"), "line 5: digest"},
		"negative size":      {with(5, "table "+BlobOf([]byte("table")).Digest.String()+" -5\n"), "line 5"},
		"table and lock":     {with(5, lines[5]+lines[4]), `line 5: no "table"`},
		"unknown word":       {string(good) + "note x\n", `"note" has no place here`},
		"late date":          {string(good) + lines[1], `"date" has no place here`},
		"many fields":        {with(7, "archive debian verbatim upstream deb x y z a b c\n"), "line 7: archive: 6 fields"},
		"key before archive": {with(7, lines[7]), "line 7: upstream-key before any archive"},
		"suite without":      {with(7, lines[9]), "line 7: suite before any archive"},
		"file without suite": {with(10, ""), "line 10: file before any suite"},
		"key after suite":    {with(11, lines[7]), "line 11: upstream-key after a suite"},
		"file digest":        {with(11, "file inrelease x 1 2026-11-21T09:13:40Z p\n"), "line 11: digest"},
		"too long":           {string(good) + strings.Repeat("x", MaxStatement), "more than 1048576"},
	} {
		_, err := ParseStatement([]byte(c.text), pgp.How{})
		if !errors.Is(err, ErrIntegrity) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
}

func TestEncodeTooLong(t *testing.T) {
	t.Parallel()
	st := fullStatement()
	for i := range 30_000 {
		st.Archives[0].UpstreamKeys = append(st.Archives[0].UpstreamKeys, "C"+strings.Repeat("0", 31)+hex8(i))
	}
	if _, err := st.Encode(); err == nil || !strings.Contains(err.Error(), "more than 1048576") {
		t.Error(err)
	}
}

func hex8(i int) string {
	const digits = "0123456789ABCDEF"
	b := []byte("00000000")
	for k := len(b) - 1; i > 0; k-- {
		b[k], i = digits[i%16], i/16
	}
	return string(b)
}

func TestReleaseBlobs(t *testing.T) {
	t.Parallel()
	st := fullStatement()
	// The same bytes under two paths are one layer, at the first of them.
	st.Archives[3].Suites[0].Files[1].Blob = st.Archives[1].Suites[0].Files[1].Blob
	blobs := st.ReleaseBlobs()
	files := st.SuiteFiles()
	if len(files) != 15 || len(blobs) != 14 {
		t.Fatalf("%d files, %d blobs", len(files), len(blobs))
	}
	if blobs[0] != files[0].Blob || files[0].Path != "debian/dists/bookworm/InRelease" {
		t.Errorf("first is %s", files[0].Path)
	}
	if last := files[len(files)-1]; last.Path != "upstream/flat/Release.gpg" || blobs[13] != last.Blob {
		t.Errorf("last is %s", last.Path)
	}
}

// A statement of version 2 says which mmoci it needs, and is not called damaged.
func TestNextStatement(t *testing.T) {
	t.Parallel()
	good, err := fullStatement().Encode()
	if err != nil {
		t.Fatal(err)
	}
	next := strings.Replace(string(good), "mmoci-statement-v1\n", "mmoci-statement-v2\nneeds 1.4\n", 1)
	for text, want := range map[string]string{
		strings.Replace(next, "encoder 1\n", "encoder 1\nchannel prod\n", 1): `statement line 6, "channel", needs mmoci >= 1.4`,
		next + "rpm x y z\n":                                               `"rpm", needs mmoci >= 1.4`,
		"mmoci-statement-v2\nneeds 2.0.13\n\x1b[31m x\n":                   `"\x1b[31m", needs mmoci >= 2.0.13`,
		"mmoci-statement-v3\nneeds 2.0.13\n":                               "statement of version 3 needs mmoci >= 2.0.13",
		"mmoci-statement-v2\nneeds 2.0.13\nchannel prod":                   `"channel", needs mmoci >= 2.0.13`,
		"mmoci-statement-v2\nneeds 1\n" + strings.Repeat("x", 1000) + "\n": "needs mmoci >= 1",
	} {
		st, err := ParseStatement([]byte(text), pgp.How{})
		if st != nil || !errors.Is(err, ErrNewer) || errors.Is(err, ErrIntegrity) || !strings.Contains(err.Error(), want) || len(err.Error()) > 300 {
			t.Errorf("%.80q: %v; want %s", text, err, want)
		}
	}
	for _, text := range []string{
		next, // nothing in it that version 1 could not say
		strings.Replace(next, "needs 1.4\n", "", 1) + "channel prod\n",
		strings.Replace(next, "1.4", "1.4-evil", 1) + "channel prod\n",
		strings.Replace(next, "1.4", "1..4", 1) + "channel prod\n",
		strings.Replace(next, "1.4", strings.Repeat("1", 21), 1) + "channel prod\n",
		"mmoci-statement-v2\nneeds 1",
		"mmoci-statement-v2\n",
		"mmoci-statement-v2",
		"mmoci-statement-v1.1\nneeds 1.4\nchannel prod\n",
		"mmoci-statement-v02\nneeds 1.4\nchannel prod\n",
		"mmoci-statement-v\nneeds 1.4\nchannel prod\n",
		"mmoci-statement-v3\nchannel prod\n",
		string(good) + "channel prod\n", // version 1 has no such line
		strings.Replace(string(good), "encoder 1\n", "encoder 1\nneeds 1.4\n", 1),
		strings.Replace(string(good), "encoder 1\n", "encoder 1\nchannel prod\n", 1),
	} {
		if st, err := ParseStatement([]byte(text), pgp.How{}); st != nil || !errors.Is(err, ErrIntegrity) || errors.Is(err, ErrNewer) {
			t.Errorf("%.80q: %v", text, err)
		}
	}
}

func FuzzParseStatement(f *testing.F) {
	// Each new input is made smaller for up to a minute otherwise, byte by byte and pair by pair, and little else is done.
	if err := flag.Set("test.fuzzminimizetime", "100x"); err != nil {
		f.Fatal(err)
	}
	if text, err := withImages().Encode(); err == nil {
		f.Add(text)
	}
	good, err := fullStatement().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte("mmoci-statement-v1\ndate 2026-11-21T09:13:40Z\n"))
	f.Add([]byte("mmoci-statement-v2\nneeds 1.4\nchannel prod\n"))
	f.Add(bytes.ReplaceAll(good, []byte("docker"), []byte("a")))
	f.Fuzz(func(t *testing.T, text []byte) {
		st, err := ParseStatement(text, pgp.How{})
		if err != nil {
			if errors.Is(err, ErrIntegrity) == errors.Is(err, ErrNewer) {
				t.Error(err)
			}
			return
		}
		again, err := st.Encode()
		if err != nil || !bytes.Equal(again, text) {
			t.Errorf("encoded again: %v\n%s", err, again)
		}
	})
}
