package byaddress

import (
	"fmt"
	"strings"
	"testing"

	"example.org/mmoci/pkg/snapshot"
)

// Whatever a lock says of one address, two files that differ are all that is kept of it.
func TestManyOfOneAddress(t *testing.T) {
	t.Parallel()
	var rows []snapshot.Row
	var lock strings.Builder
	for i := range 1000 {
		path := fmt.Sprintf("files/%04d", i)
		row := snapshot.Row{Path: path, Size: 5, Digest: snapshot.Sum([]byte(path))}
		if i == 1 {
			row.Digest = rows[0].Digest
		}
		rows = append(rows, row)
		fmt.Fprintf(&lock, "file files %04d %s 5 https://up.example.org/f?n=%d\n", i, row.Digest, i)
	}
	table, err := snapshot.NewTable(rows)
	if err != nil {
		t.Fatal(err)
	}
	x := New(&snapshot.Snapshot{Table: table, Statement: &snapshot.Statement{Archives: []snapshot.Archive{{Prefix: "files", Format: snapshot.FormatFiles}}}})
	all := x.read(lock.String())["up.example.org/f"]
	if len(all) != 2 || all[0].Path != "files/0000" || all[1].Path != "files/0002" {
		t.Errorf("%d files, %+v", len(all), all[:min(3, len(all))])
	}
}
