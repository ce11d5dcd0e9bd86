package chain

import (
	"context"
	"hash/maphash"
	"io"
	"sort"
	"strings"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/lock"
)

// reason is why the lock has a package. Its text is kept beside the stanzas.
type reason struct {
	sum      uint64 // of the text
	at, size uint32
	name     uint32 // a word
}

// readLock keeps the lines of the lock that say why a package was taken, and of what the site's own were built.
func (r *reader) readLock(ctx context.Context) error {
	text, err := r.snapshot.ReadLock(ctx)
	if err != nil {
		return err
	}
	l, err := config.ParseLock("lock", text)
	if err != nil {
		return err
	}
	r.built = l.Built()
	for _, a := range l.Archives {
		for _, p := range a.Packages {
			line := []byte(lock.Line(p))
			if r.size+int64(len(line)) > maxKept {
				return errTooMuch
			}
			if _, err := r.out.Write(line); err != nil {
				return err
			}
			r.reasons = append(r.reasons, reason{maphash.Bytes(r.seed, line), uint32(r.size), uint32(len(line)), r.dict.number(strings.ToLower(clean(p.Name)))})
			r.size += int64(len(line))
		}
	}
	return nil
}

// Why says why a package is in the snapshot, down to what was asked for, as [lock.Why]; nothing if nobody chose it.
func (b *Book) Why(name string) (steps []string, err error) {
	for seen := map[string]bool{}; name != "" && !seen[name]; {
		seen[name] = true
		line, err := b.reasonOf(name)
		if err != nil || line == "" {
			return steps, err
		}
		steps, name = append(steps, line), lock.Parent(line)
	}
	return steps, nil
}

// reasonOf is the last line of the lock about a package; "" if there is none.
func (b *Book) reasonOf(name string) (line string, err error) {
	word := strings.ToLower(clean(name))
	i := sort.Search(len(b.reasons), func(i int) bool { return string(b.words.word(b.reasons[i].name)) >= word })
	for ; i < len(b.reasons) && string(b.words.word(b.reasons[i].name)) == word; i++ {
		r := b.reasons[i]
		text := make([]byte, r.size)
		if _, err := b.text.ReadAt(text, int64(r.at)); err != nil && err != io.EOF {
			return "", err
		}
		if maphash.Bytes(b.seed, text) != r.sum {
			return "", errChanged
		}
		if of, _, _ := strings.Cut(string(text), " "); of == name {
			line = string(text)
		}
	}
	return line, nil
}
