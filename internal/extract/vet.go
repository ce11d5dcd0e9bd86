package extract

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/deb"
	"example.org/mmoci/pkg/resolve"
)

// vetting looks at a verified file before it gets its final name.
type vetting func(name string, open func() (io.ReadCloser, error)) error

// checkControl holds a fetched .deb against its stanza: its bytes are what the
// index says, but the index may say them of another package, or of no .deb at all.
func checkControl(pkgs []*resolve.Package) vetting {
	byName := map[string]*resolve.Package{}
	for _, p := range pkgs {
		byName[debName(p.Name, p.Version, p.Architecture)] = p
	}
	return func(name string, open func() (io.ReadCloser, error)) error {
		f, err := open()
		if err != nil {
			return err
		}
		defer f.Close()
		p := byName[name]
		what := strings.Join([]string{p.Name, p.Version, p.Architecture}, " ")
		d, err := deb.ReadDeb(f)
		if errors.Is(err, deb.ErrMalformed) {
			err = fmt.Errorf("%w: %w", outcome.ErrIntegrity, err)
		}
		if err != nil {
			return fmt.Errorf("package %s: %w", what, err)
		}
		got := []string{d.Control.Get("Package"), d.Control.Get("Version"), d.Control.Get("Architecture")}
		if want := []string{p.Name, p.Version, p.Architecture}; !slices.Equal(got, want) {
			return fmt.Errorf("%w: package %s: its control file names %s", outcome.ErrIntegrity, what, strings.Join(got, " "))
		}
		return nil
	}
}
