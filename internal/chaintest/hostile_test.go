package chaintest

import (
	"bytes"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"example.org/mmoci/internal/extract"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testarchive/forge"
	"example.org/mmoci/internal/testarchive/world"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// hostileDocuments are edits of root, core, shard and config (FACTS: OCI's known
// classes), each with what is said of it.
func hostileDocuments() []struct {
	name    string
	edit    func(d *forge.Documents)
	exit    int
	message string
} {
	sub := func(doc *[]byte, old, new string) {
		if !bytes.Contains(*doc, []byte(old)) {
			panic("no " + old + " in " + string(*doc))
		}
		*doc = bytes.Replace(*doc, []byte(old), []byte(new), 1)
	}
	const schema = `{"schemaVersion":2,`
	return []struct {
		name    string
		edit    func(d *forge.Documents)
		exit    int
		message string
	}{
		{"root with layers too", func(d *forge.Documents) { sub(&d.Root, schema, schema+`"layers":[],`) }, 3, "root has both manifests and layers"},
		{"core with manifests too", func(d *forge.Documents) { sub(&d.Core, schema, schema+`"manifests":[],`) }, 3, "core has both manifests and layers"},
		{"shard with manifests too", func(d *forge.Documents) { sub(&d.Shard, schema, schema+`"manifests":[],`) }, 3, `"manifests"`},
		{"root of another media type", func(d *forge.Documents) {
			sub(&d.Root, "vnd.oci.image.index.v1", "vnd.docker.distribution.manifest.list.v2")
		}, 1, "not an mmoci snapshot"},
		{"core of another media type", func(d *forge.Documents) {
			sub(&d.Core, "vnd.oci.image.manifest.v1", "vnd.docker.distribution.manifest.v2")
		}, 3, "core says mediaType"},
		{"descriptor of another media type", func(d *forge.Documents) {
			sub(&d.Root, `[{"mediaType":"application/vnd.oci.image.manifest.v1`, `[{"mediaType":"application/vnd.docker.distribution.manifest.v2`)
		}, 3, "media type"},
		{"a larger size", func(d *forge.Documents) { sub(&d.Shard, `"size":`, `"size":1`) }, 3, ""},
		{"a size of nothing", func(d *forge.Documents) { d.Core = resize(d.Core, "0") }, 3, "0 bytes, want 1 to"},
		{"a negative size", func(d *forge.Documents) { d.Core = resize(d.Core, "-1") }, 3, "-1 bytes, want 1 to"},
		{"a size beyond int64", func(d *forge.Documents) { d.Core = resize(d.Core, "99999999999999999999") }, 3, "cannot unmarshal number"},
		{"root of another size than declared", func(d *forge.Documents) { d.Declared = 7 }, 3, "bytes, want 7"},
		{"upper-case digest", func(d *forge.Documents) { upper(&d.Core) }, 3, "not 64 lower-case hexadecimal digits"},
		{"a placeholder in the root", func(d *forge.Documents) { blank(&d.Root, `"manifests":[{`) }, 3, "a placeholder was not filled in"},
		{"a placeholder in the core", func(d *forge.Documents) { blank(&d.Core, `"layers":[{`) }, 3, "a placeholder was not filled in"},
		{"a placeholder in a shard", func(d *forge.Documents) { blank(&d.Shard, `"layers":[{`) }, 3, "a placeholder was not filled in"},
		{"sha512 digest", func(d *forge.Documents) {
			sub(&d.Core, `"digest":"sha256:`, `"digest":"sha512:`+strings.Repeat("0", 64))
		}, 3, `does not begin with "sha256:"`},
		{"unknown digest", func(d *forge.Documents) { sub(&d.Core, `"digest":"sha256:`, `"digest":"blake3:`) }, 3, `does not begin with "sha256:"`},
		{"urls", func(d *forge.Documents) { sub(&d.Shard, `"size":`, `"urls":["http://192.0.2.1/"],"size":`) }, 3, `"urls"`},
		{"data", func(d *forge.Documents) { sub(&d.Shard, `"size":`, `"data":"e30=","size":`) }, 3, `"data"`},
		{"annotations", func(d *forge.Documents) { sub(&d.Root, schema, schema+`"annotations":{},`) }, 3, `unknown field "annotations"`},
		{"subject", func(d *forge.Documents) { sub(&d.Core, schema, schema+`"subject":null,`) }, 3, `unknown field "subject"`},
		{"a key twice", func(d *forge.Documents) { sub(&d.Core, schema, schema+`"schemaVersion":2,`) }, 3, "not in canonical form"},
		{"a key in other letters", func(d *forge.Documents) { sub(&d.Core, `"mediaType"`, `"MediaType"`) }, 3, "not in canonical form"},
		{"white space", func(d *forge.Documents) { sub(&d.Root, schema, schema+" ") }, 3, "not in canonical form"},
		{"something behind", func(d *forge.Documents) { d.Core = append(d.Core, "{}"...) }, 1, "not an mmoci snapshot"},
		{"10 MB of root", func(d *forge.Documents) { d.Root = append(d.Root, bytes.Repeat([]byte(" "), 10<<20)...) }, 3, "the limit is 4194304"},
		{"2 MB of root", func(d *forge.Documents) { d.Root = append(d.Root, bytes.Repeat([]byte(" "), 2<<20)...) }, 3, "the limit is 1048576"},
		{"2 MB of core", func(d *forge.Documents) { d.Core = append(d.Core, bytes.Repeat([]byte(" "), 2<<20)...) }, 3, "want 1 to 1048576"},
		{"10 MB of core", func(d *forge.Documents) { d.Core = append(d.Core, bytes.Repeat([]byte(" "), 10<<20)...) }, 3, "the limit is 4194304"},
		{"100,000 descriptors", func(d *forge.Documents) { d.Root = manyDescriptors(100_000) }, 3, "the limit is 4194304"},
		{"5,000 descriptors to nothing", func(d *forge.Documents) { d.Root = manyDescriptors(5000) }, 1, "not in the snapshot"},
		{"500 layers", func(d *forge.Documents) { d.Shard = manyLayers(d.Shard, 500) }, 3, "500 layers, the limit is 400"},
		{"a layer twice", func(d *forge.Documents) {
			at := bytes.Index(d.Shard, []byte(`"layers":[`)) + len(`"layers":[`)
			end := at + bytes.IndexByte(d.Shard[at:], '}') + 1
			d.Shard = []byte(string(d.Shard[:end]) + "," + string(d.Shard[at:]))
		}, 3, "twice"},
		{"deep JSON", func(d *forge.Documents) { d.Root = bytes.Repeat([]byte("["), 500_000) }, 1, "not an mmoci snapshot"},
		{"config with a key twice", func(d *forge.Documents) { sub(&d.Config, `"encoder":1`, `"encoder":1,"encoder":1`) }, 3, "config is not in canonical form"},
		{"config with an unknown key", func(d *forge.Documents) { sub(&d.Config, `"encoder":1`, `"encoder":1,"os":"linux"`) }, 3, `unknown field "os"`},
		{"config of another date", func(d *forge.Documents) { sub(&d.Config, "2026-01-13", "2026-01-14") }, 3, "config: date 2026-01-14"},
		{"config of another encoder", func(d *forge.Documents) { sub(&d.Config, `"encoder":1`, `"encoder":2`) }, 3, "config: encoder 2, statement 1"},
		{"a later format", later, 1, `snapshot format "3" needs mmoci >= 1.4`},
		{"a file that nothing names", func(d *forge.Documents) {
			sub(&d.Shard, `"layers":[`, `"layers":[{"mediaType":"application/octet-stream","digest":"`+snapshot.Sum([]byte("x")).String()+`","size":1},`)
		}, 3, "what the snapshot packs to"},
	}
}

func resize(doc []byte, size string) []byte {
	head, tail, _ := strings.Cut(string(doc), `"layers":[`)
	at := strings.Index(tail, `"size":`) + len(`"size":`)
	end := at + strings.IndexByte(tail[at:], '}')
	return []byte(head + `"layers":[` + tail[:at] + size + tail[end:])
}

// later makes the documents such as a later mmoci will write for a statement with lines that this one does not know.
func later(d *forge.Documents) {
	core := string(d.Core)
	core = strings.Replace(core, "snapshot.config.v1", "snapshot.config.v3", 1)
	d.Core = []byte(strings.Replace(core, "mmoci.statement.v1", "mmoci.statement.v3", 1))
	d.Config = []byte(strings.Replace(string(d.Config), `}`, `,"needs":"1.4"}`, 1))
}

// blank writes zeros for the first digest behind a mark.
func blank(doc *[]byte, mark string) {
	head, tail, _ := strings.Cut(string(*doc), mark)
	at := strings.Index(tail, "sha256:") + len("sha256:")
	*doc = []byte(head + mark + tail[:at] + strings.Repeat("0", 64) + tail[at+64:])
}

func upper(doc *[]byte) {
	head, tail, _ := strings.Cut(string(*doc), `"layers":[{`)
	at := strings.Index(tail, "sha256:") + len("sha256:")
	*doc = []byte(head + `"layers":[{` + tail[:at] + strings.ToUpper(tail[at:at+64]) + tail[at+64:])
}

func manyDescriptors(n int) []byte {
	var b strings.Builder
	b.WriteString(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:%064x","size":%d}`, i+1, i+1)
	}
	b.WriteString("]}")
	return []byte(b.String())
}

func manyLayers(shard []byte, n int) []byte {
	head, _, _ := strings.Cut(string(shard), `"layers":[`)
	var b strings.Builder
	b.WriteString(head + `"layers":[`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"mediaType":"application/octet-stream","digest":"sha256:%064x","size":%d}`, i+1, i+1)
	}
	b.WriteString("]}")
	return []byte(b.String())
}

// maxHostile bounds what the refusal of one hostile document may allocate, over
// what the good one takes. Under 128 MiB is seen; under the race detector, which
// drops pooled buffers, more.
const maxHostile = 256 << 20

// TestHostileDocuments: whatever a registry answers is refused with the right
// exit code and one line, in bounded memory.
func TestHostileDocuments(t *testing.T) {
	good := world.Draft(t, world.Good()).Seal(forge.Kept)
	for _, h := range hostileDocuments() {
		t.Run(h.name, func(t *testing.T) {
			ref := forge.Write(t, good, filepath.Join(testarchive.MemoryDir(t), "layout"), "hostile")
			forge.EditDocuments(t, ref, h.edit)
			used := allocated(func() {
				s, err := prove.Open(t.Context(), ref, world.SiteTrust(t), artifact.Options{})
				if err != nil {
					refused(t, err, h.exit, h.message)
					return
				}
				r, err := prove.Verify(t.Context(), prove.Options{Snapshot: s, Trust: world.SiteTrust(t), Hash: true, Ref: ref})
				refused(t, err, h.exit, "")
				if !strings.Contains(strings.Join(r.Failures, "\n"), h.message) {
					t.Errorf("failures %q; want %s", r.Failures, h.message)
				}
			})
			if used > maxHostile {
				t.Errorf("%d bytes allocated", used)
			}
		})
	}
}

// refused checks exit code and message, and that the message is one line.
func refused(t *testing.T, err error, exit int, message string) {
	t.Helper()
	if got := exitOf(err); got != exit || err != nil && !strings.Contains(worded(err), message) {
		t.Errorf("exit %d: %v; want exit %d: %s", got, err, exit, message)
	}
	if err != nil && (strings.Contains(err.Error(), "\n") || len(err.Error()) > 1500) {
		t.Errorf("not one clear line (%d bytes): %.300q", len(err.Error()), err.Error())
	}
}

// worded is the text of an error, with its remedy.
func worded(err error) string {
	if r, args := outcome.RemedyOf(err); r != "" {
		return fmt.Sprintf("%v; %s %v", err, r, args)
	}
	return err.Error()
}

func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// dateOf reads the Date of a Release.
func dateOf(text []byte) time.Time {
	_, rest, _ := strings.Cut(string(text), "Date: ")
	line, _, _ := strings.Cut(rest, "\n")
	date, err := time.Parse("Mon, 02 Jan 2006 15:04:05 MST", line)
	if err != nil {
		return time.Time{}
	}
	return date
}

// TestHostileArchives reads every hostile archive of testarchive as a verbatim
// one whose statement, table and shards were made to fit, with its own key:
// what push would have refused, extract and pull -o refuse too, and write nothing.
func TestHostileArchives(t *testing.T) {
	good := world.Draft(t, world.Good())
	otherwise := map[string]bool{
		"index-flipped-by-name": true, // by-hash has it whole; a snapshot holds one of the two, here the broken one
	}
	treeTakes := map[string]bool{ // the tree is what upstream signed, and so is this; extract refuses it
		"index-missing": true, "bomb-zst": true, "control-differs": true, "control-other-package": true,
	}
	for _, h := range testarchive.HostileArchives() {
		t.Run(h.Name, func(t *testing.T) {
			if unpackable()[h.Name] {
				return
			}
			key, err := pgp.ReadKeyring(h.Keyring)
			if err != nil {
				t.Fatal(err)
			}
			d := good.Clone()
			for _, prefix := range []string{"docker", "debian", "security"} {
				d.Drop(prefix)
			}
			addVerbatim(d, "toy", "toy", h.Files(t))
			ref := forge.Write(t, d.Seal(forge.Foreign), filepath.Join(testarchive.MemoryDir(t), "layout"), "hostile")
			trust := prove.Trust{Upstream: map[string]*pgp.Keyring{"toy": key}, Now: testarchive.HostileNow()}
			dirs := []string{filepath.Join(testarchive.MemoryDir(t), "out"), filepath.Join(testarchive.MemoryDir(t), "tree")}
			var errs [2]error
			used := allocated(func() {
				s, err := prove.Open(t.Context(), ref, trust, artifact.Options{})
				if err != nil {
					errs = [2]error{err, err}
					return
				}
				_, errs[0] = extract.Run(t.Context(), extract.Options{Snapshot: s, Trust: trust, Queries: []string{"top"}, Dir: dirs[0], Architecture: "amd64"})
				_, errs[1] = extract.Tree(t.Context(), extract.TreeOptions{Snapshot: s, Trust: trust, Dir: dirs[1]})
			})
			for i, err := range errs {
				if exitOf(err) == 3 && len(debsIn(t, dirs[i])) > 0 {
					t.Errorf("%s: attempt %d: %v, but files stay", h.Why, i, err)
				}
				refused(t, err, exitOf(err), "")
			}
			if taken := errs[0] == nil && errs[1] == nil; taken != (h.Want == testarchive.Taken) && !otherwise[h.Name] {
				t.Errorf("%s: %v, then %v; should be %s", h.Why, errs[0], errs[1], h.Want)
			}
			if h.Want != testarchive.Taken && errs[1] == nil && !otherwise[h.Name] && !treeTakes[h.Name] {
				t.Errorf("%s: pull -o takes it", h.Why)
			}
			if used > maxHostile {
				t.Errorf("%d bytes allocated", used)
			}
		})
	}
}

// unpackable cannot be sealed at all: the format forbids such signature files.
func unpackable() map[string]bool {
	return map[string]bool{"empty-inrelease": true, "release-too-long": true}
}

// addVerbatim puts an archive into a draft as if push had taken it.
func addVerbatim(d *forge.Draft, prefix, suite string, files testarchive.Files) {
	dists := "dists/" + suite + "/"
	a := snapshot.Archive{Prefix: prefix, Mode: snapshot.Verbatim, Class: snapshot.Upstream, Format: snapshot.FormatDeb, Suites: []snapshot.Suite{{Name: suite}}}
	names := []string{"InRelease"}
	if _, ok := files[dists+"InRelease"]; !ok {
		names = []string{"Release", "Release.gpg"}
	}
	for _, name := range names {
		data, ok := files[dists+name]
		if !ok {
			continue
		}
		role := map[string]snapshot.Role{"InRelease": snapshot.InRelease, "Release": snapshot.Release, "Release.gpg": snapshot.ReleaseGPG}[name]
		a.Suites[0].Files = append(a.Suites[0].Files, snapshot.SuiteFile{
			Role: role, Blob: snapshot.BlobOf(data), Date: dateOf(files[dists+"Release"]), Path: prefix + "/" + dists + name,
		})
		d.Put(prefix+"/"+dists+name, data)
	}
	d.Archives = append(d.Archives, a)
	for _, p := range files.Paths() {
		if !strings.HasPrefix(p, "dists/") || strings.Contains(p, "/Packages") && !strings.HasSuffix(p, "/Packages") {
			d.Put(prefix+"/"+p, files[p])
		}
	}
}
