package image

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"example.org/mmoci/cmd/mmoci/internal/command"
	"example.org/mmoci/internal/config/imageplan"
	"example.org/mmoci/internal/imageproof"
	"example.org/mmoci/internal/inventory"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/sbom"
	"example.org/mmoci/internal/terminal"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// proofFlags say by what an image is looked at.
type proofFlags struct {
	command.PlanFlags
	places command.PlaceFlags
	builds command.BuildsFlags
	from   string
}

func (p *proofFlags) add(cmd *cobra.Command, snapshot bool) {
	f := cmd.Flags()
	p.ConfigFlag(f, "snapshot and keys")
	p.PlanFlags.BelieveFlags(f)
	if snapshot {
		f.StringVar(&p.from, "from", "", "`REF` of a snapshot that has the image's packages (default: from: of the image's plan, if the site signed it, else ref: of mmoci.yaml)")
		p.places.Flags(f)
		p.builds.Find(f)
	}
}

// readMade reads an image with what is said of it.
func readMade(a *command.App, cmd *cobra.Command, p *proofFlags, name string) (*imageproof.Image, error) {
	ref, err := artifact.ParseReference(name)
	if err != nil {
		return nil, err
	}
	plan, err := p.Plan()
	if err != nil {
		return nil, err
	}
	trust, err := p.Trust(plan)
	if err != nil {
		return nil, err
	}
	im, err := imageproof.Read(cmd.Context(), ref, imageproof.Options{Artifact: a.Options(), Site: trust.Site, Log: a.Log})
	if err != nil {
		return nil, err
	}
	if im.Signer == "" {
		a.Log("what is said of the image is not proved: no key of the site is given (trust: in mmoci.yaml, or --keyring FILE)")
	} else {
		a.Detail("%s: what is said of it is signed by %s", im.Reference, im.Signer)
	}
	return im, nil
}

// proving opens the snapshot that an image is compared with: the one that is asked for, else from: of a plan that the site signed, else
// ref: of the configuration.
func proving(a *command.App, cmd *cobra.Command, p *proofFlags, im *imageproof.Image) (imageproof.VerifyOptions, error) {
	o := imageproof.VerifyOptions{Log: a.Log}
	plan := im.Plan
	if im.Signer == "" {
		plan = &imageplan.Plan{}
	}
	args, err := snapshotOf(p.from, plan)
	if err != nil {
		return o, err
	}
	s, trust, err := a.Open(cmd, &p.PlanFlags, &p.places, args)
	if err != nil {
		return o, err
	}
	o.Snapshot, o.Trust = s, trust
	site, err := p.Plan()
	if err != nil {
		return o, err
	}
	sources, err := command.ImageSources(a, "", im.Plan, site, &p.builds, s, trust, nil, true)
	if sources != nil {
		o.Sources = sources
	}
	return o, err
}

// vouched fails for an image whose plan, files and config nobody known vouches for, unless the user insists.
func (p *proofFlags) vouched(im *imageproof.Image) error {
	if im.Signer != "" || p.Unsigned {
		return nil
	}
	return outcome.GiveSiteKey.For(fmt.Errorf("%w: %s: nothing to verify its plan, files and config by: they are not proved, and whoever can write to the place may have written them", outcome.ErrUsage, im.Reference))
}

// proofText tells what is proved of an architecture, and what is not.
func proofText(q imageproof.Proof, signed bool) string {
	proved := fmt.Sprintf("proved %d", q.Proved)
	if len(q.Built) > 0 {
		proved += fmt.Sprintf(", built %d (%s)", len(q.Built), strings.Join(q.Built, ", "))
	}
	switch {
	case q.Site > 0 && signed:
		proved += fmt.Sprintf(", by the site's key %d", q.Site)
	case q.Site > 0: // none is given
		proved += fmt.Sprintf(", by no key %d", q.Site)
	}
	if signed {
		text := fmt.Sprintf("%s, generated %d, files %d", proved, q.Generated, q.Files)
		if len(q.Unproved) > 0 {
			text += ", by the site's statement alone: " + strings.Join(q.Unproved, ", ")
		}
		return text + otherwise(q)
	}
	open := slices.Clone(q.Unproved)
	if q.Generated > 0 {
		open = append(open, "system")
	}
	if q.Files > 0 {
		open = append(open, "files")
	}
	return fmt.Sprintf("%s, not proved: %s", proved, strings.Join(append(open, "plan", "config"), ", ")) + otherwise(q)
}

// otherwise tells the files that scripts made otherwise when they were run again.
func otherwise(q imageproof.Proof) string {
	if len(q.Otherwise) == 0 {
		return ""
	}
	return "; scripts made otherwise: " + imageproof.Paths(q.Otherwise)
}

// nameOf is what the site calls an image.
func nameOf(p *imageplan.Plan) string {
	if p.Name == "" {
		return "an image without a name"
	}
	return strings.TrimSpace("image " + p.Name + " " + p.Version)
}

func imageVerify(a *command.App) *cobra.Command {
	var p proofFlags
	cmd := &cobra.Command{
		Use:   "verify REF",
		Short: "Prove an image: make each layer again from the signed .debs and compare",
		Long: `Every package layer is made again from the .deb, which is proved down to the key of its archive, and compared; then the layer with dpkg's database,
the site's own files and the config, from the plan that the site signed beside the image. All bytes of the image are read.
A line is printed for each architecture: how many packages are proved down to upstream's key, for how many the site's key alone vouches, how many layers
follow from them, and how many are of the site's own files. Then come the image's name, its snapshot's date and who signed it: a place may offer
another image of the site's under the tag that was asked for.
Without the site's key (trust: or --keyring) what it alone vouches for is named as not proved, and the exit code is 2, unless --insecure-unsigned is given.`,
		Args: cobra.ExactArgs(1),
	}
	p.add(cmd, true)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		im, err := readMade(a, cmd, &p, args[0])
		if err != nil {
			return err
		}
		o, err := proving(a, cmd, &p, im)
		if err != nil {
			return err
		}
		proofs, err := im.Verify(cmd.Context(), o)
		if err != nil {
			return fmt.Errorf("%s: %w", im.Reference, err)
		}
		for _, q := range proofs {
			fmt.Fprintf(a.Stdout, "%s: %s\n", q.Architecture, proofText(q, im.Signer != ""))
		}
		if im.Signer != "" {
			fmt.Fprintf(a.Stdout, "%s: %s, of the snapshot of %s, signed by %s\n", im.Reference, nameOf(im.Plan), snapshot.FormatDate(im.Lock.Date), im.Signer)
		}
		return p.vouched(im)
	}
	return cmd
}

func imageRebuild(a *command.App) *cobra.Command {
	var p proofFlags
	cmd := &cobra.Command{
		Use:   "rebuild REF",
		Short: "Make an image again from what is said of it and a snapshot, and compare the digests",
		Args:  cobra.ExactArgs(1),
	}
	p.add(cmd, true)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		im, err := readMade(a, cmd, &p, args[0])
		if err != nil {
			return err
		}
		o, err := proving(a, cmd, &p, im)
		if err != nil {
			return err
		}
		if err := im.Rebuild(cmd.Context(), o, nil); err != nil {
			return fmt.Errorf("%s: %w", im.Reference, err)
		}
		what := "same digest"
		if im.Signer == "" {
			what += ", not proved"
		}
		fmt.Fprintf(a.Stdout, "%s: %s\n", what, im.Reference)
		return p.vouched(im)
	}
	return cmd
}

func imageScripts(a *command.App) *cobra.Command {
	var p proofFlags
	var archs []string
	cmd := &cobra.Command{
		Use:   "scripts REF",
		Short: "Tell what became of each maintainer script of an image's packages",
		Args:  cobra.ExactArgs(1),
	}
	p.add(cmd, false)
	cmd.Flags().StringSliceVar(&archs, "arch", nil, "only of these of Debian's `ARCHITECTURE`s")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		im, err := readMade(a, cmd, &p, args[0])
		if err != nil {
			return err
		}
		seen := 0
		for _, l := range im.Lock.Architectures {
			if len(archs) > 0 && !slices.Contains(archs, l.Name) {
				continue
			}
			seen++
			a.Log("%s: %s", l.Name, terminal.Count(len(l.Packages), "package"))
			w := tabwriter.NewWriter(a.Stdout, 0, 8, 2, ' ', 0)
			fmt.Fprintln(w, "PACKAGE\tVERSION\tSCRIPT\tDID\tWHY")
			for _, s := range im.Account[l.Name] {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", s.Package, s.Version, s.Script, s.What, s.Detail)
			}
			if err := w.Flush(); err != nil {
				return err
			}
		}
		if seen == 0 {
			return fmt.Errorf("architecture %s is %w in the image", strings.Join(archs, ", "), outcome.ErrNotFound)
		}
		return nil
	}
	return cmd
}

// formats of what is told of an image for other programs, and the parts beside it that have them.
var formats = map[string]string{"spdx": "sbom.spdx.json", "cyclonedx": "sbom.cdx.json", "provenance": "provenance.json"}

func imageSBOM(a *command.App) *cobra.Command {
	var p proofFlags
	var format string
	cmd := &cobra.Command{
		Use:   "sbom [REF] [--format spdx|cyclonedx|provenance]",
		Short: "Print the bill of materials of an image or mirror, or how an image came to be",
		Long: `Of an image that was made here, what lies beside it is printed as it is: SPDX 2.3, CycloneDX 1.6, or its provenance, an in-toto statement with SLSA's predicate.
Of a mirror (REF is a snapshot's; default: ref: of mmoci.yaml) the bill is made of its proved indices, package by package, without licences, which stand in the packages.`,
		Args: cobra.MaximumNArgs(1),
	}
	p.add(cmd, false)
	cmd.Flags().StringVar(&format, "format", "spdx", "`FORMAT`: spdx, cyclonedx or, of an image, provenance; all in JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		part, ok := formats[format]
		if !ok {
			return fmt.Errorf("%w: --format is spdx, cyclonedx or provenance", outcome.ErrUsage)
		}
		if len(args) == 0 {
			return mirrorSBOM(a, cmd, &p, format, nil)
		}
		im, err := readMade(a, cmd, &p, args[0])
		if errors.Is(err, artifact.ErrSnapshot) {
			return mirrorSBOM(a, cmd, &p, format, args)
		}
		if err != nil {
			return err
		}
		data, err := im.Part(cmd.Context(), part)
		if err != nil {
			return fmt.Errorf("%s: %w", im.Reference, err)
		}
		_, err = a.Stdout.Write(data)
		return err
	}
	return cmd
}

func mirrorSBOM(a *command.App, cmd *cobra.Command, p *proofFlags, format string, args []string) error {
	write := sbom.SPDX
	switch format {
	case "cyclonedx":
		write = sbom.CycloneDX
	case "provenance":
		return fmt.Errorf("%w: provenance is told of images; \"mmoci prove PKG\" tells where a mirror's package comes from", outcome.ErrUsage)
	}
	s, trust, err := a.Open(cmd, &p.PlanFlags, &p.places, args)
	if err != nil {
		return err
	}
	bill, err := inventory.Bill(cmd.Context(), inventory.Options{Snapshot: s, Trust: trust})
	if err != nil {
		return err
	}
	return write(a.Stdout, bill)
}
