package static

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

// marksPath is the file that says since when no reference names a tag: whatever the tag leads to may have other names.
const marksPath = leftDir + "/tags"

// maxMarks bounds the file.
const maxMarks = 16 << 20

// What a name is of.
const (
	tagMark = "tag" // a tag of the registry
	aptMark = "apt" // a name of an apt tree
)

// mark is a name that no reference gives.
type mark struct {
	kind string
	tagName
}

// marks are the names that no reference gives, as they were before this run and as they are now.
type marks struct {
	at       time.Time // of this run
	keep     time.Duration
	was, now map[mark]time.Time
}

// young tells whether a name that no reference gives was given less than keep ago, and notes it.
func (m *marks) young(kind string, name tagName) bool {
	of := mark{kind, name}
	since, ok := m.was[of]
	if !ok || since.After(m.at) {
		since = m.at
	}
	if m.at.Sub(since) >= m.keep {
		return false
	}
	m.now[of] = since
	return true
}

// readMarks reads the file. One that cannot be read is as good as none: what it names stays longer.
func (e *export) readMarks() *marks {
	m := &marks{at: e.o.Now, keep: e.o.Keep, now: map[mark]time.Time{}}
	if f, err := e.root.Open(marksPath); err == nil {
		if data, err := oci.ReadLimited(f, maxMarks); err == nil {
			m.was, _ = parseMarks(data)
		}
		f.Close()
	}
	return m
}

func (e *export) writeMarks(m *marks) error {
	if len(m.now) == 0 {
		if err := e.root.Remove(marksPath); err != nil && !os.IsNotExist(err) {
			return err
		}
		return nil
	}
	if err := e.root.MkdirAll(leftDir, 0o755); err != nil {
		return err
	}
	return e.write(marksPath, formatMarks(m.now))
}

// formatMarks writes KIND DATE REPO:TAG, a line each, in order of kind and name.
func formatMarks(all map[mark]time.Time) []byte {
	var b bytes.Buffer
	for _, m := range slices.SortedFunc(maps.Keys(all), func(a, b mark) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.repository, b.repository), cmp.Compare(a.tag, b.tag))
	}) {
		fmt.Fprintf(&b, "%s %s %s\n", m.kind, snapshot.FormatDate(all[m].UTC()), m.tagName)
	}
	return b.Bytes()
}

// parseMarks reads what formatMarks writes, and nothing else.
func parseMarks(data []byte) (map[mark]time.Time, error) {
	all := map[mark]time.Time{}
	for line := range strings.Lines(string(data)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), " ")
		if len(f) != 3 || f[0] != tagMark && f[0] != aptMark {
			return nil, fmt.Errorf("line %.100q", line)
		}
		since, err := time.Parse(time.RFC3339, f[1])
		if err != nil {
			return nil, fmt.Errorf("line %.100q: %w", line, err)
		}
		repository, tag, _ := strings.Cut(f[2], ":")
		all[mark{f[0], tagName{repository, tag}}] = since
	}
	if !bytes.Equal(formatMarks(all), data) {
		return nil, errors.New("not as an export writes it")
	}
	return all, nil
}
