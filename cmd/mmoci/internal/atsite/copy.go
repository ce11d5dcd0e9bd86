package atsite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"example.org/mmoci/cmd/mmoci/internal/command"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/internal/site"
	"example.org/mmoci/internal/terminal"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/artifact/layout"
	"example.org/mmoci/pkg/snapshot"
)

// Copy copies an artifact from any place to any other.
func Copy(a *command.App) *cobra.Command {
	var p command.PlanFlags
	var since, split string
	var asJSON, repair, older bool
	var redate redateFlags
	cmd := &cobra.Command{
		Use:   "copy SRC DST",
		Short: "Copy a snapshot or image between registries, layouts and oci-archives, bytes unchanged",
		Long: `Copies what DST lacks; every byte is verified on the way, the tag is set last, and a rerun resumes. Dates along a tag strictly increase, so that
all clients see each change: another snapshot that is not newer than the one that DST's tag names is refused; --redate pushes its content, of
curated archives, under the next date, signed anew. The images of a snapshot get their names in DST, too: in a registry as /images/REPO:TAG
below DST, or where images-to: says for this repository.

A container image, or other OCI content, is copied with all its documents, layers and what refers to it (signatures, SBOMs). In a layout or
oci-archive it may be called REPO:TAG: mmoci copy registry.example.org/app:1 oci:DIR:app:1

--since OLD writes a delta to an oci-archive or a layout: only what OLD lacks. Copied to a place that holds OLD it gives the whole
snapshot there, under its own digest; copied elsewhere, what is missing is named.

--split SIZE cuts an oci-archive FILE into FILE.001, FILE.002 .. and writes their digests to FILE.sha256:

    sha256sum -c FILE.sha256                         each part by itself: damaged, missing and misnamed ones are told
    mmoci copy oci-archive:FILE:TAG DST              reads the parts as they are
    cat FILE.??? >FILE                               makes the whole again

An oci-archive of a snapshot that bundles mmoci (bundle: in mmoci.yaml) names the programs below mmoci/ for hosts that have nothing but
tar, if the snapshot's statement verifies: by trust: or --keyring, or because SRC is given by digest. Their digests are printed. On the
host the digest of the script, typed from there, vouches for it, and the script for the programs:

    mkdir stick && tar xf FILE -C stick && echo "DIGEST  stick/mmoci/bootstrap.sh" | sha256sum -c &&
    deploy_with_mirror=yes MMOCI_KEY=SITE-KEY sh stick/mmoci/bootstrap.sh`,
		Args: cobra.ExactArgs(2),
	}
	f := cmd.Flags()
	p.Flags(f)
	f.StringArrayVar(&p.Keyrings, "keyring", nil, "`FILE` of the site's keys: what the snapshot bundles is made runnable in an oci-archive only if they vouch for it")
	f.StringVar(&since, "since", "", "write only what the snapshot `OLD` lacks")
	f.StringVar(&split, "split", "", "cut the oci-archive into parts of `SIZE` (650M, 3G; FAT holds files below 4G)")
	f.BoolVar(&repair, "repair", false, "ask DST for every blob: put again what was lost of a snapshot whose tag is there")
	redate.flags(f)
	f.BoolVar(&older, "allow-older", false, "let DST's tag name a snapshot that is not newer, which clients ignore")
	f.BoolVar(&asJSON, "json", false, "print the result as JSON, and all else on stderr as JSON lines")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		a.Events = asJSON
		src, err := artifact.ParseReference(args[0])
		if err != nil {
			return err
		}
		dst, err := artifact.ParseReference(args[1])
		if err != nil {
			return err
		}
		var part int64
		if split != "" {
			if part, err = command.SizeOf("--split", split); err != nil {
				return err
			}
			if dst.Kind != artifact.Archive {
				return fmt.Errorf("%w: --split cuts an oci-archive; %s is none", outcome.ErrUsage, dst)
			}
		}
		o := a.Options()
		if dst.Kind == artifact.Archive {
			if o.Vouched, err = vouchedRoot(a, cmd, &p, src); err != nil && !site.IsForeign(err) {
				return err
			}
		}
		q := site.CopyOptions{From: src, To: dst, AllowOlder: older, Push: artifact.PushOptions{Options: o, Recheck: repair}}
		if q.Push.ImagesTo, err = p.ImagesTo(dst); err != nil {
			return err
		}
		if redate.wanted {
			plan, err := p.Plan()
			if err == nil {
				q.Redate, err = redating(a, &p, plan, redate)
			}
			if err != nil {
				return err
			}
		}
		var again *command.Healed
		if repair {
			again = new(command.Healed)
		}
		res, err := transferAll(a, cmd, q, since, again)
		if err != nil {
			return err
		}
		command.ReportRunnable(a, res.Runnable)
		switch {
		case !res.Changed && res.Uploaded+res.Manifests > 0:
			a.Log("changed: false; %s", command.Repaired(res))
		case !res.Changed:
			a.Log("changed: false; the tag named it already")
		default:
			a.Log("changed: true; copied %s in %s, reused %s", terminal.Size(res.Bytes), terminal.Count(res.Uploaded, "blob"), terminal.Size(res.Reused))
		}
		if repair {
			command.ReportRepair(a, again, res)
		}
		if part > 0 {
			if err := splitFile(cmd.Context(), a, dst.Name, part); err != nil {
				return err
			}
		}
		if asJSON {
			return a.PrintJSON(copyJSON{
				Reference: res.Reference.String(), Digest: res.Root.String(), Tag: res.Immutable, Changed: res.Changed,
				Copied: res.Uploaded, CopiedBytes: res.Bytes, ReusedBytes: res.Reused, Runnable: digestsOf(res.Runnable),
			})
		}
		fmt.Fprintln(a.Stdout, res.Reference)
		return nil
	}
	return cmd
}

// copyJSON is what copy --json prints.
type copyJSON struct {
	Reference   string `json:"reference"`
	Digest      string `json:"digest"`
	Tag         string `json:"tag,omitempty"`
	Changed     bool   `json:"changed"`
	Copied      int    `json:"copied"` // files
	CopiedBytes int64  `json:"copiedBytes"`
	ReusedBytes int64  `json:"reusedBytes"`
	// Runnable are the programs that an oci-archive names, to their digests.
	Runnable map[string]string `json:"runnable,omitempty"`
}

// vouchedRoot tells the root whose programs an oci-archive may name for hosts to
// run; zero, with the reason on stderr, if nothing vouches for what src bundles.
func vouchedRoot(a *command.App, cmd *cobra.Command, p *command.PlanFlags, src artifact.Reference) (snapshot.Digest, error) {
	plan, err := p.Plan()
	if err != nil {
		return snapshot.Digest{}, err
	}
	trust, err := p.Trust(plan)
	if err != nil {
		return snapshot.Digest{}, err
	}
	c, err := prove.ReadBundle(cmd.Context(), src, trust, a.Options())
	if err != nil {
		return snapshot.Digest{}, err
	}
	if c.Files > 0 && c.Reason != nil {
		a.Log("the snapshot bundles %s for hosts to run: left out below mmoci/, for nothing vouches for them (%s)", terminal.Count(c.Files, "file"), c.Reason)
	}
	return c.Root, nil
}

func digestsOf(files []artifact.CarriedFile) map[string]string {
	out := map[string]string{}
	for _, f := range files {
		out[f.Path] = f.Digest.String()
	}
	return out
}

func transferAll(a *command.App, cmd *cobra.Command, q site.CopyOptions, since string, again *command.Healed) (artifact.Copied, error) {
	bar := a.Progress()
	defer bar.End()
	q.Push.Progress = bar.Event
	if again != nil {
		q.Push.Progress = again.Watch(bar.Event)
	}
	if since != "" {
		old, err := artifact.ParseReference(since)
		if err != nil {
			return artifact.Copied{}, fmt.Errorf("--since: %w", err)
		}
		q.Since = &old
	}
	return site.Copy(cmd.Context(), q)
}

func splitFile(ctx context.Context, a *command.App, file string, part int64) error {
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		a.Log("%s: its parts are there", file)
		return nil
	}
	parts, err := layout.Split(ctx, file, part)
	if err != nil {
		return err
	}
	a.Log("%d parts: %s.001 .. ; sha256sum -c %s.sha256 verifies each", len(parts), file, file)
	return nil
}
