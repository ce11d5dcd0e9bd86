// Command layers lays .debs out as the layers of an image, for comparisons with
// dpkg: layers [-split] [-max N] [-exclude WORDS] -o DIR DEB.. writes the layers
// as tars into DIR and prints their names, the lowest first. The order of the
// .debs is that in which dpkg unpacks them.
package main

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"example.org/mmoci/internal/rootfs"
	"example.org/mmoci/internal/rootfs/stack"
	"example.org/mmoci/pkg/snapshot"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "layers:", err)
		os.Exit(1)
	}
}

func run() error {
	dir := flag.String("o", "", "directory to write into")
	split := flag.Bool("split", false, "/usr is not merged")
	most := flag.Int("max", 100, "layers for packages, at most")
	exclude := flag.String("exclude", "", "words, with blanks between them")
	flag.Parse()
	words, err := rootfs.ParseExclude(strings.Fields(*exclude))
	if err != nil {
		return err
	}
	recipe := rootfs.Recipe{MergedUsr: !*split, Exclude: words}
	var notes []*rootfs.Note
	files := map[*rootfs.Note]string{}
	for _, f := range flag.Args() {
		var n *rootfs.Note
		err := write(*dir, "package", func(w io.Writer) (snapshot.Blob, error) {
			n, err = rootfs.WriteLayer(w, rootfs.Deb{Open: func() (io.ReadCloser, error) { return os.Open(f) }}, recipe)
			return snapshot.Blob{}, err
		})
		if err != nil {
			return fmt.Errorf("%s: %w", f, err)
		}
		if err := os.Rename(filepath.Join(*dir, "package.tar"), filepath.Join(*dir, n.Name()+".package")); err != nil {
			return err
		}
		// Everything behind this point works on what a note's text says.
		text := n.Encode()
		if n, err = rootfs.ParseNote(text); err != nil {
			return fmt.Errorf("%s: note: %w", f, err)
		}
		if !bytes.Equal(n.Encode(), text) {
			return fmt.Errorf("%s: another text of the note", f)
		}
		notes = append(notes, n)
		files[n] = f
	}
	open := func(n *rootfs.Note) (io.ReadCloser, error) { return os.Open(files[n]) }
	groups, err := stack.Arrange(notes, *most)
	if err != nil {
		return err
	}
	if recipe.MergedUsr {
		if err := write(*dir, "skeleton", stack.WriteSkeleton); err != nil {
			return err
		}
		fmt.Println("skeleton.tar")
	}
	for i, g := range groups {
		name := fmt.Sprintf("%03d-%s", i, strings.ReplaceAll(g.Name, " ", "-"))
		if len(g.Notes) == 1 {
			err = os.Rename(filepath.Join(*dir, g.Notes[0].Name()+".package"), filepath.Join(*dir, name+".tar"))
		} else {
			err = write(*dir, name, func(w io.Writer) (snapshot.Blob, error) { return stack.WriteGroup(w, g, open) })
		}
		if err != nil {
			return err
		}
		fmt.Println(name + ".tar")
	}
	s, err := stack.NewSystem(notes, groups, stack.SystemOptions{Open: open})
	if err != nil {
		return err
	}
	for _, e := range s.Entries {
		fmt.Fprintf(os.Stderr, "%s: %s\n", e.Why, e.Path)
	}
	fmt.Println("system.tar")
	return write(*dir, "system", func(w io.Writer) (snapshot.Blob, error) { return s.WriteLayer(w, time.Unix(1700000000, 0)) })
}

// write makes one layer.
func write(dir, name string, layer func(io.Writer) (snapshot.Blob, error)) error {
	f, err := os.Create(filepath.Join(dir, name+".tar"))
	if err != nil {
		return err
	}
	defer f.Close()
	b := bufio.NewWriterSize(f, 1<<20)
	if _, err := layer(b); err != nil {
		return fmt.Errorf("layer %s: %w", name, err)
	}
	if err := b.Flush(); err != nil {
		return err
	}
	return f.Close()
}
