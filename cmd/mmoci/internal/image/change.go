package image

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"example.org/mmoci/cmd/mmoci/internal/command"
	"example.org/mmoci/internal/host"
	"example.org/mmoci/internal/imagebuild"
	"example.org/mmoci/internal/imagefind"
	"example.org/mmoci/internal/imagelock"
	"example.org/mmoci/internal/imageproof"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/terminal"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/deb"
)

func imageDiff(a *command.App) *cobra.Command {
	var p proofFlags
	cmd := &cobra.Command{
		Use:   "diff OLD NEW",
		Short: "Tell in which packages two images differ",
		Args:  cobra.ExactArgs(2),
	}
	p.add(cmd, false)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var locks []*imagelock.Lock
		for _, name := range args {
			im, err := readMade(a, cmd, &p, name)
			if err != nil {
				return err
			}
			locks = append(locks, im.Lock)
		}
		for _, c := range imageproof.Changes(locks[0], locks[1]) {
			fmt.Fprintf(a.Stdout, "%s: %s\n", c.Architecture, c)
		}
		return nil
	}
	return cmd
}

func imageAffected(a *command.App) *cobra.Command {
	var p proofFlags
	var q imagefind.Query
	var file string
	cmd := &cobra.Command{
		Use:   "affected PKG [--below VERSION] {REF.. | --refs FILE}",
		Short: "Tell which images have a package, or one below a version",
		Long: `PKG is a binary package, or a source package: then every package that is built of it counts, and its own version is compared.
A REF may stand for many: HOST/* for all images of a registry that lists its repositories, HOST/REPO/* for those below a repository, REF:* for all tags of one or of a layout.

A line is printed for each image, architecture and package, as the image's lock says: REF ARCHITECTURE PACKAGE VERSION. No image is read for this but for what is said of it.
An image of which nothing is said is named on stderr, and so is one that cannot be read or does not verify; the others are told all the same, and the exit code is that of the worst.`,
		Args: cobra.MinimumNArgs(1),
	}
	p.add(cmd, false)
	cmd.Flags().StringVar(&q.Below, "below", "", "only versions before `VERSION`, in Debian's order")
	cmd.Flags().StringVar(&file, "refs", "", "`FILE` with a reference a line, # begins a comment")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		q.Name = args[0]
		refs := args[1:]
		if !deb.ValidName(q.Name) {
			return fmt.Errorf("%w: %.80q is no name of a package, which stands before the references", outcome.ErrUsage, q.Name)
		}
		if cmd.Flags().Changed("below") {
			if err := deb.ValidVersion(q.Below); err != nil {
				return fmt.Errorf("%w: --below: %w", outcome.ErrUsage, err)
			}
		}
		if file != "" {
			more, err := imagefind.ReadReferences(file)
			if err != nil {
				return err
			}
			refs = append(refs, more...)
		}
		if len(refs) == 0 {
			return fmt.Errorf("%w: which images? give references, or --refs FILE", outcome.ErrUsage)
		}
		plan, err := p.Plan()
		if err != nil {
			return err
		}
		trust, err := p.Trust(plan)
		if err != nil {
			return err
		}
		return printAffected(cmd.Context(), a, q, refs, imagefind.Options{Artifact: a.Options(), Site: trust.Site, Log: a.Log})
	}
	return cmd
}

// printAffected asks the images that references stand for, prints which have the package, and names those that cannot be asked.
func printAffected(ctx context.Context, a *command.App, q imagefind.Query, refs []string, o imagefind.Options) error {
	var bad []int
	fault := func(err error) {
		a.Log("%s", command.WithRemedy(err, "mmoci image affected"))
		bad = append(bad, command.ExitCode(ctx, err))
	}
	var candidates []imagefind.Candidate
	for _, name := range refs {
		found, err := imagefind.List(ctx, name, o)
		if ctx.Err() != nil {
			return err
		}
		if err != nil {
			fault(err)
		}
		candidates = append(candidates, found...)
	}
	unsigned, asked, has := 0, 0, false
	err := imagefind.Affected(ctx, q, candidates, o, func(answer imagefind.Answer) {
		switch {
		case answer.Err != nil:
			fault(answer.Err)
		case answer.Signer == "":
			unsigned++
		}
		if answer.Err == nil {
			asked++
			has = has || answer.Has
		}
		for _, m := range answer.Matches {
			fmt.Fprintf(a.Stdout, "%s %s %s %s\n", answer.Reference, m.Architecture, m.Name, m.Version)
		}
	})
	if unsigned > 0 {
		a.Log("what is said of %s is not proved: no key of the site is given (trust: in mmoci.yaml, or --keyring FILE)", terminal.Count(unsigned, "image"))
	}
	if err == nil && asked > 0 && !has {
		a.Log("no image that was asked has a package or source %s", q.Name)
	}
	for _, worst := range []int{command.ExitIntegrity, command.ExitFailed, command.ExitUsage, command.ExitExpired, command.ExitNotFound} {
		if err == nil && slices.Contains(bad, worst) {
			return &command.CodedError{Text: terminal.Count(len(bad), "reference") + " could not be asked", Code: worst}
		}
	}
	return err
}

func imageUpdate(a *command.App) *cobra.Command {
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
	p.builds.Made(cmd.Flags())
	cmd.Flags().StringVar(&signKey, "sign-key", "", "the site's signing key `FILE`, in the place of sign: of mmoci.yaml")
	cmd.Flags().BoolVar(&older, "allow-older", false, "take a snapshot that is older than the one an image was made from")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		bar := a.Progress()
		defer bar.End()
		site, err := p.Plan()
		if err != nil {
			return err
		}
		sign, err := command.Signer(a, site, signKey)
		if err != nil {
			return err
		}
		cache, err := imageCache(a)
		if err != nil {
			return err
		}
		defer cache.Close()
		for _, name := range args { // before any of them is updated
			ref, err := artifact.ParseReference(name)
			if err != nil {
				return err
			}
			if ref.Tag == "" && !ref.Digest.IsZero() {
				return fmt.Errorf("%w: %s: an update moves a tag, and a digest stays what it is; name its tag", outcome.ErrUsage, name)
			}
		}
		for _, name := range args {
			start := time.Now()
			im, err := readMade(a, cmd, &p, name)
			if err != nil {
				return err
			}
			if im.Signer == "" && !p.Unsigned {
				return outcome.GiveSiteKey.For(fmt.Errorf("%w: %s: its plan counts only under the site's signature", outcome.ErrUsage, im.Reference))
			}
			if im.Signer != "" && sign == nil {
				return outcome.GiveSigningKey.For(fmt.Errorf("%w: %s: the site signed it, and what takes its place would be signed by nobody", outcome.ErrUsage, im.Reference))
			}
			o, err := proving(a, cmd, &p, im)
			if err != nil {
				return err
			}
			if !older {
				if err := im.Follows(o.Snapshot); err != nil {
					return err
				}
			}
			again := imagebuild.Options{Snapshot: o.Snapshot, Trust: o.Trust, Cache: cache, Signed: signedNotes(a, im.Reference, im.Notes), Signer: sign, Log: a.Log}
			sources, err := command.ImageSources(a, host.OwnArchitecture(cmd.Context()), im.Plan, site, &p.builds, o.Snapshot, o.Trust, sign, false)
			if err != nil {
				return err
			}
			if sources != nil {
				again.Sources = sources
				defer sources.Close()
			}
			made, err := im.Again(cmd.Context(), again)
			if err != nil {
				return fmt.Errorf("%s: %w", im.Reference, err)
			}
			for _, c := range imageproof.Changes(im.Lock, made.Lock) {
				a.Log("%s: %s", c.Architecture, c)
			}
			to := im.Reference
			to.Digest = artifact.Reference{}.Digest
			err = putImage(cmd.Context(), a, made, []artifact.Reference{to}, &im.Reference.Digest, start)
			if err := errors.Join(err, made.Close()); err != nil {
				return err
			}
		}
		return nil
	}
	return cmd
}
