package prove

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"example.org/mmoci/internal/durable"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// Memory is the last statement of the site's seen at each reference by tag, so
// that a registry cannot go back to an older one (rollback). Nil remembers nothing.
// Safe for use by several processes.
type Memory struct {
	Dir string      // made when it is needed
	Log outcome.Log // hears that nothing can be remembered
}

// memoryLine is what is kept of a statement, one file a reference.
const memoryLine = "mmoci-seen-v1\n%s\nstatement %s %s\n"

// Note refuses a snapshot whose statement is older than the last one seen at
// ref, and remembers it otherwise. The statement must have been verified.
// Where the directory cannot be written it says so in the log and refuses nothing.
func (m *Memory) Note(ref artifact.Reference, s *snapshot.Snapshot) error {
	if m == nil {
		return nil
	}
	name := RememberedName(ref)
	file := filepath.Join(m.Dir, snapshot.Sum([]byte(name)).Hex())
	unlock, err := m.lock()
	if err != nil {
		m.Log.Printf("statements seen are not remembered: %s", err)
		return nil
	}
	defer unlock()
	date, root, err := recall(file)
	if err != nil {
		return err
	}
	now := s.Statement.Date
	if now.Before(date) {
		return fmt.Errorf("%w: %s names %s, whose statement is of %s; seen before was %s, of %s (pin the older one by digest, or remove %s)",
			outcome.ErrIntegrity, ref, s.Root, snapshot.FormatDate(now), root, snapshot.FormatDate(date), file)
	}
	if now.Equal(date) && root == s.Root.String() {
		return nil
	}
	// It is durable on return: else a power cut would let a registry go back.
	if err := durable.WriteFile(file, fmt.Appendf(nil, memoryLine, name, snapshot.FormatDate(now), s.Root), 0o600); err != nil {
		m.Log.Printf("statements seen are not remembered: %s", err)
	}
	return nil
}

// RememberedName is a reference without digest; files by their absolute name.
func RememberedName(ref artifact.Reference) string {
	ref.Digest = snapshot.Digest{}
	if ref.Kind != artifact.Registry {
		if abs, err := filepath.Abs(ref.Name); err == nil {
			ref.Name = abs
		}
	}
	return ref.String()
}

func (m *Memory) lock() (unlock func(), err error) {
	if err := os.MkdirAll(m.Dir, 0o700); err != nil {
		return nil, err
	}
	return durable.Lock(context.Background(), filepath.Join(m.Dir, "lock"), 0o600)
}

// recall reads what was seen; the zero time if nothing was. A file that cannot
// be read is no licence to go back.
func recall(file string) (date time.Time, root string, err error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return date, "", nil
	}
	if err != nil {
		return date, "", err
	}
	lines := strings.Split(string(data), "\n")
	if len(lines) != 4 || lines[0] != "mmoci-seen-v1" {
		return date, "", fmt.Errorf("statement seen: %s is damaged; remove it to accept any", file)
	}
	var stamp string
	if _, err := fmt.Sscanf(lines[2], "statement %s %s", &stamp, &root); err != nil {
		return date, "", fmt.Errorf("statement seen: %s is damaged; remove it to accept any: %w", file, err)
	}
	if date, err = time.Parse(time.RFC3339, stamp); err != nil {
		return date, "", fmt.Errorf("statement seen: %s is damaged; remove it to accept any: %w", file, err)
	}
	return date, root, nil
}
