package registry

import (
	"fmt"
	"slices"
	"testing"

	"example.org/mmoci/pkg/snapshot"
)

// Each row is found by its number and by its digest, and no other.
func TestDigestIndex(t *testing.T) {
	var rows []snapshot.Row
	for i := range 1000 {
		data := fmt.Sprint("content ", i%700) // some stand at two paths
		b := snapshot.BlobOf([]byte(data))
		if i%97 == 0 {
			b = snapshot.BlobOf(nil)
		}
		rows = append(rows, snapshot.Row{Path: fmt.Sprintf("docker/pool/%04d", i), Size: b.Size, Digest: b.Digest})
	}
	// Two digests that begin alike, as somebody may make them.
	alike := rows[1].Digest
	alike[31] ^= 1
	rows = append(rows, snapshot.Row{Path: "docker/zz", Size: 7, Digest: alike})
	table, err := snapshot.NewTable(rows)
	if err != nil {
		t.Fatal(err)
	}
	all := slices.Collect(table.Rows())
	want := map[snapshot.Digest][]snapshot.Row{}
	for i, row := range all {
		if got := table.Row(i); got != row {
			t.Fatalf("row %d: %v, want %v", i, got, row)
		}
		if row.Size > 0 {
			want[row.Digest] = append(want[row.Digest], row)
		}
	}
	x := indexDigests(table)
	for d, rows := range want {
		if got := slices.Collect(x.Rows(d)); !slices.Equal(got, rows) {
			t.Errorf("%s: %v, want %v", d, got, rows)
		}
	}
	for _, d := range []snapshot.Digest{snapshot.Sum(nil), snapshot.Sum([]byte("nothing")), {}} {
		if got := slices.Collect(x.Rows(d)); got != nil {
			t.Errorf("%s: %v", d, got)
		}
	}
	empty, err := snapshot.NewTable(nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := slices.Collect(indexDigests(empty).Rows(alike)); got != nil {
		t.Errorf("in an empty table: %v", got)
	}
}

func BenchmarkDigestIndex(b *testing.B) {
	rows := make([]snapshot.Row, 1_300_000)
	for i := range rows {
		d := snapshot.Sum(fmt.Append(nil, i))
		rows[i] = snapshot.Row{Path: fmt.Sprintf("debian/pool/main/%03d/%07d", i/1000%997, i), Size: 1, Digest: d}
	}
	table, err := snapshot.NewTable(rows)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("make", func(b *testing.B) {
		for b.Loop() {
			indexDigests(table)
		}
	})
	x := indexDigests(table)
	b.Run("find", func(b *testing.B) {
		i := 0
		for b.Loop() {
			for range x.Rows(rows[i%len(rows)].Digest) {
			}
			i += 7919
		}
	})
}
