package extract

import (
	"crypto/sha512"
	"encoding/hex"
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
		if p.SHA256 == "" {
			if err := checkSHA512(p.SHA512, open); err != nil {
				return fmt.Errorf("package %s: %w", what, err)
			}
		}
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

// checkSHA512 holds a file against a stanza that has no SHA256: the digest it
// was found by is the table's, which nobody signed.
func checkSHA512(want string, open func() (io.ReadCloser, error)) error {
	f, err := open()
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha512.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		return fmt.Errorf("%w: SHA512 is %s, its stanza says %s", outcome.ErrIntegrity, got, want)
	}
	return nil
}
