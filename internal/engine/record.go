package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"example.org/mmoci/internal/durable"
	"example.org/mmoci/pkg/snapshot"
)

// recordFile is the file of the state directory that says what was imported, so that exactly that can be undone. Its lines are
//
//	image ENGINE NAMESPACE NAME CONFIG,MANIFEST[,INDEX..]
//
// after the first; NAMESPACE is - where the engine has none.
const (
	recordFile = "imported"
	recordHead = "mmoci-host-images-v1"
)

// imported is an image that was put into an engine by mmoci.
type imported struct {
	Kind      Kind
	Namespace string
	Name      string // or the digest of one that lost its name to a newer one
	IDs       ids    // by which the engine may know it; the first is of its config
}

func (i imported) engine() *Engine { return &Engine{i.Kind, i.Namespace} }

// of tells whether the record is of that name in that engine.
func (i imported) of(e *Engine, name string) bool {
	return i.Kind == e.Kind && i.Namespace == e.Namespace && i.Name == name
}

func (i imported) line() string {
	hex := make([]string, len(i.IDs))
	for n, d := range i.IDs {
		hex[n] = d.String()
	}
	namespace := i.Namespace
	if namespace == "" {
		namespace = "-"
	}
	return fmt.Sprintf("image %s %s %s %s\n", i.Kind, namespace, i.Name, strings.Join(hex, ","))
}

// readRecord reads what was imported; nothing if there is no record.
func readRecord(dir string) ([]imported, error) {
	name := filepath.Join(dir, recordFile)
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	all, err := parseRecord(string(data))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return all, nil
}

func parseRecord(text string) ([]imported, error) {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if lines[0] != recordHead {
		return nil, errors.New("not of this version of mmoci")
	}
	var all []imported
	for n, line := range lines[1:] {
		f := strings.Split(line, " ")
		if len(f) != 5 || f[0] != "image" || !slices.Contains([]Kind{Docker, Containerd, Podman}, Kind(f[1])) || !isWord(f[2]) {
			return nil, fmt.Errorf("line %d: %.100q", n+2, line)
		}
		i := imported{Kind: Kind(f[1]), Namespace: f[2], Name: f[3]}
		if i.Namespace == "-" {
			i.Namespace = ""
		}
		if (i.Namespace != "") != (i.Kind == Containerd) {
			return nil, fmt.Errorf("line %d: namespace %q of %s", n+2, f[2], i.Kind)
		}
		if _, err := snapshot.ParseDigest(i.Name); err != nil {
			if _, _, _, ok := snapshot.CutImageName(i.Name); !ok {
				return nil, fmt.Errorf("line %d: image name %.100q", n+2, i.Name)
			}
		}
		for _, id := range strings.Split(f[4], ",") {
			d, err := snapshot.ParseDigest(id)
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", n+2, err)
			}
			i.IDs = append(i.IDs, d)
		}
		all = append(all, i)
	}
	return all, nil
}

// isWord holds namespaces to what containerd takes, so that none reads as a flag.
func isWord(s string) bool {
	return s == "-" || s != "" && s[0] != '-' && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == ""
}

func writeRecord(dir string, all []imported) error {
	name := filepath.Join(dir, recordFile)
	if len(all) == 0 {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	var b strings.Builder
	fmt.Fprintln(&b, recordHead)
	for _, i := range all {
		b.WriteString(i.line())
	}
	return durable.WriteFile(name, []byte(b.String()), 0o600)
}
