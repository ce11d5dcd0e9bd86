package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"example.org/mmoci/internal/imagebuild"
	"example.org/mmoci/internal/imageproof"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/artifact"
)

func (a *app) imageDiff() *cobra.Command {
	var p proofFlags
	cmd := &cobra.Command{
		Use:   "diff OLD NEW",
		Short: "Tell in which packages two images differ",
		Args:  cobra.ExactArgs(2),
	}
	p.add(cmd, false)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var locks []*imagebuild.Lock
		for _, name := range args {
			im, err := a.readMade(cmd, &p, name)
			if err != nil {
				return err
			}
			locks = append(locks, im.Lock)
		}
		for _, c := range imageproof.Changes(locks[0], locks[1]) {
			fmt.Fprintf(a.stdout, "%s: %s\n", c.Architecture, c)
		}
		return nil
	}
	return cmd
}

func (a *app) imageAffected() *cobra.Command {
	var p proofFlags
	var below, file string
	cmd := &cobra.Command{
		Use:   "affected PKG [--below VERSION] {REF.. | --refs FILE}",
		Short: "Tell which images have a package, or one below a version",
		Long: `A line is printed for each image and architecture that has the package, as its lock says; an image of which nothing is said is named on stderr, and makes the exit code 4.
No image is read for this but for what is said of it.`,
		Args: cobra.MinimumNArgs(1),
	}
	p.add(cmd, false)
	cmd.Flags().StringVar(&below, "below", "", "only versions before `VERSION`, in Debian's order")
	cmd.Flags().StringVar(&file, "refs", "", "`FILE` with a reference a line, # begins a comment")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		refs := args[1:]
		if file != "" {
			more, err := readReferences(file)
			if err != nil {
				return err
			}
			refs = append(refs, more...)
		}
		if len(refs) == 0 {
			return fmt.Errorf("%w: which images? give references, or --refs FILE", outcome.ErrUsage)
		}
		var unknown error
		for _, name := range refs {
			im, err := a.readMade(cmd, &p, name)
			if errors.Is(err, outcome.ErrNotFound) || errors.Is(err, artifact.ErrNotFound) {
				a.log("%v", err)
				unknown = errors.Join(unknown, fmt.Errorf("%s: %w", name, outcome.ErrNotFound))
				continue
			}
			if err != nil {
				return err
			}
			found := im.Has(args[0], below)
			for _, arch := range im.Lock.Architectures {
				if q, ok := found[arch.Name]; ok {
					fmt.Fprintf(a.stdout, "%s %s %s %s\n", im.Reference, arch.Name, q.Name, q.Version)
				}
			}
		}
		return unknown
	}
	return cmd
}

func readReferences(name string) ([]string, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []string
	s := bufio.NewScanner(f)
	for s.Scan() {
		line, _, _ := strings.Cut(s.Text(), "#")
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return out, nil
}

func (a *app) imageUpdate() *cobra.Command {
	var p proofFlags
	var signKey string
	var older bool
	cmd := &cobra.Command{
		Use:   "update REF..",
		Short: "Build images again of the same plan and a newer snapshot, each under the tag of its REF",
		Long: `The plan and its files are those that are said of each image, so they count only under the site's signature (trust: or --keyring).
What changed is printed before each reference; an image in which nothing did keeps its digest but for the snapshot's date.
A snapshot that is older than the image's is refused, and so is a tag that meanwhile names another image than the one that was read.`,
		Args: cobra.MinimumNArgs(1),
	}
	p.add(cmd, true)
	cmd.Flags().StringVar(&signKey, "sign-key", "", "the site's signing key `FILE`, in the place of sign: of mmoci.yaml")
	cmd.Flags().BoolVar(&older, "allow-older", false, "take a snapshot that is older than the one an image was made from")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		bar := a.progress()
		defer bar.End()
		site, err := p.plan()
		if err != nil {
			return err
		}
		sign, err := a.signer(site, signKey)
		if err != nil {
			return err
		}
		cache, err := a.imageCache()
		if err != nil {
			return err
		}
		defer cache.Close()
		for _, name := range args {
			start := time.Now()
			ref, err := artifact.ParseReference(name)
			if err != nil {
				return err
			}
			if ref.Tag == "" && !ref.Digest.IsZero() {
				return fmt.Errorf("%w: %s: an update moves a tag, and a digest stays what it is; name its tag", outcome.ErrUsage, name)
			}
			im, err := a.readMade(cmd, &p, name)
			if err != nil {
				return err
			}
			if im.Signer == "" && !p.unsigned {
				return outcome.GiveSiteKey.For(fmt.Errorf("%w: %s: its plan counts only under the site's signature", outcome.ErrUsage, im.Reference))
			}
			o, err := a.proving(cmd, &p, im)
			if err != nil {
				return err
			}
			if !older {
				if err := im.Follows(o.Snapshot); err != nil {
					return err
				}
			}
			made, err := im.Again(cmd.Context(), imagebuild.Options{Snapshot: o.Snapshot, Trust: o.Trust, Cache: cache, Signer: sign, Log: a.log})
			if err != nil {
				return fmt.Errorf("%s: %w", im.Reference, err)
			}
			for _, c := range imageproof.Changes(im.Lock, made.Lock) {
				a.log("%s: %s", c.Architecture, c)
			}
			to := im.Reference
			to.Digest = artifact.Reference{}.Digest
			err = a.putImage(cmd.Context(), made, []artifact.Reference{to}, &im.Reference.Digest, start)
			if err := errors.Join(err, made.Close()); err != nil {
				return err
			}
		}
		return nil
	}
	return cmd
}
