package look

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"example.org/mmoci/cmd/mmoci/internal/command"
	"example.org/mmoci/internal/chain"
	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/internal/signer"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// Prove shows the chain from upstream's key to a package.
func Prove(a *command.App) *cobra.Command {
	var p command.PlanFlags
	var arch string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "prove PKG[=VERSION] [REF]",
		Short: "Print the chain of a package from upstream's key to its digest, each step with the command that checks it",
		Args:  cobra.RangeArgs(1, 2),
	}
	p.TrustFlags(cmd.Flags())
	cmd.Flags().StringVar(&arch, "arch", "", "architecture of the package (default: any)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name, version, _ := strings.Cut(args[0], "=")
		if name == "" {
			return fmt.Errorf("%w: %q names no package: PKG or PKG=VERSION", outcome.ErrUsage, args[0])
		}
		plan, err := p.Plan()
		if err != nil {
			return err
		}
		ref, err := command.Reference(args[1:], plan)
		if err != nil {
			return err
		}
		trust, err := p.Trust(plan)
		if err != nil {
			return err
		}
		s, err := prove.Open(cmd.Context(), ref, trust, a.Options())
		if err != nil {
			return err
		}
		book, err := chain.Read(cmd.Context(), chain.Options{Snapshot: s, Upstream: trust.Upstream, Site: trust.Site, Pinned: true, Want: func(row snapshot.Row) bool {
			return row.Name == name && (version == "" || row.Version == version) && (arch == "" || row.Architecture == arch)
		}})
		if err != nil {
			return err
		}
		packages, err := book.Named(name)
		if err != nil {
			return err
		}
		built, err := builtPackages(cmd.Context(), s)
		if err != nil {
			return err
		}
		proofs := []chain.Proof{}
		for _, pkg := range packages {
			hashed, err := s.OpenBlob(cmd.Context(), pkg.Blob())
			if err != nil {
				return fmt.Errorf("%s %s: %w", pkg.Name, pkg.Version, err)
			}
			_, err = io.Copy(io.Discard, hashed)
			hashed.Close()
			if err != nil {
				return fmt.Errorf("%s %s: %w", pkg.Name, pkg.Version, err)
			}
			key := keyFileOf(pkg.Archive(), book.Signer(pkg), s.Statement, plan, p.Keyrings)
			proof := book.Prove(pkg, chain.ProofOptions{
				Place: placeOf(ref), Key: key, Who: "mmoci", Now: trust.Now, Hashed: true, Verify: "mmoci verify " + chain.Quote(ref.String()),
			})
			proof.Built = built[proof.Archive+" "+proof.Digest]
			proofs = append(proofs, proof)
		}
		if asJSON {
			err = a.PrintJSON(proofs)
		} else {
			for i, proof := range proofs {
				if i > 0 {
					fmt.Fprintln(a.Stdout)
				}
				fmt.Fprint(a.Stdout, proof.Text())
			}
		}
		if err != nil {
			return err
		}
		return proofsHold(args[0], s, book, proofs)
	}
	return cmd
}

// builtPackages is what the snapshot's lock says of the builds of its own packages, by "ARCHIVE DIGEST".
func builtPackages(ctx context.Context, s *snapshot.Snapshot) (map[string]string, error) {
	if !slices.ContainsFunc(s.Statement.Archives, func(a snapshot.Archive) bool { return a.Class == snapshot.Site }) {
		return nil, nil
	}
	text, err := s.ReadLock(ctx)
	if err != nil {
		return nil, err
	}
	l, err := config.ParseLock("lock", text)
	if err != nil {
		return nil, err
	}
	return l.Built(), nil
}

// proofsHold is the outcome of the proofs: none, or one that contradicts itself, is an error.
func proofsHold(asked string, s *snapshot.Snapshot, book *chain.Book, proofs []chain.Proof) error {
	name, _, _ := strings.Cut(asked, "=")
	for _, p := range proofs {
		if i := slices.IndexFunc(p.Steps, func(s chain.Step) bool { return s.State == chain.Wrong }); i >= 0 {
			return fmt.Errorf("%w: %s %s: step %d: %s", outcome.ErrIntegrity, p.Name, p.Version, i+1, p.Steps[i].Reason)
		}
	}
	if len(book.Lost) > 0 {
		return book.Lost[0]
	}
	if len(proofs) > 0 {
		return nil
	}
	for row := range s.Table.Rows() {
		if row.Name == name && row.IsPackage() {
			return fmt.Errorf("%w: no index of the snapshot has a stanza for what was asked for of %s; %s has version %s for %s", outcome.ErrNotFound, name, row.Archive(), row.Version, row.Architecture)
		}
	}
	return fmt.Errorf("%w: package %s is not in the snapshot (mmoci ls lists what is)", outcome.ErrNotFound, name)
}

// placeOf is where a person reads the blobs of a reference.
func placeOf(ref artifact.Reference) chain.Place {
	switch ref.Kind {
	case artifact.Layout:
		return chain.Place{Layout: ref.Name}
	case artifact.Archive:
		return chain.Place{Archive: ref.Name}
	}
	return chain.Place{Repository: ref.Name}
}

// keyFileOf is the file that proves an archive: of --keyring, or of the configuration. Of several it is the one that has the key
// that signed.
func keyFileOf(prefix, fingerprint string, st *snapshot.Statement, plan *config.Plan, keyrings []string) chain.KeyFile {
	site := st.Archive(prefix).Class == snapshot.Site
	var files []string
	for _, k := range keyrings {
		of, named, ok := strings.Cut(k, "=")
		switch {
		case !ok && site:
			files = append(files, k)
		case ok && of == prefix:
			files = append(files, named)
		}
	}
	if len(files) == 0 && plan != nil && site {
		files = plan.Trust
	}
	if len(files) == 0 && plan != nil && !site {
		for _, a := range plan.Archives {
			if a.Prefix == prefix {
				files = append(files, a.SignedBy)
			}
		}
	}
	var first chain.KeyFile
	for i, file := range files {
		data, _ := signer.ReadKeyFile(file)
		key := chain.KeyFile{File: file, Armored: bytes.HasPrefix(bytes.TrimSpace(data), []byte("-----BEGIN"))}
		if i == 0 {
			first = key
		}
		if ring, err := pgp.ReadKeyring(data); err == nil && slices.Contains(ring.Fingerprints(), fingerprint) {
			return key
		}
	}
	return first
}
