package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"example.org/mmoci/internal/mirror"
	"example.org/mmoci/pkg/artifact"
)

// copy copies an artifact from any place to any other.
func (a *app) copy() *cobra.Command {
	var since, split string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "copy SRC DST",
		Short: "Copy a snapshot between registries, layouts and oci-archives, bytes unchanged",
		Long: `Copies what DST lacks; every byte is verified on the way, the tag is set last, and a rerun resumes.

--since OLD writes a delta to an oci-archive or a layout: only what OLD lacks. Copied to a place that holds OLD it gives the whole
snapshot there, under its own digest; copied elsewhere, what is missing is named.

--split SIZE cuts an oci-archive FILE into FILE.001, FILE.002 .. and writes their digests to FILE.sha256:

    sha256sum -c FILE.sha256                         each part by itself: damaged, missing and misnamed ones are told
    mmoci copy oci-archive:FILE:TAG DST              reads the parts as they are
    cat FILE.??? >FILE                               makes the whole again

An oci-archive of a snapshot that carries mmoci (carry: in mmoci.yaml) needs nothing but tar on a bare host:

    tar xf FILE && sh mmoci/bootstrap.sh             or: mmoci/ARCH install --ref oci:.:TAG --keyring SITE-KEY PKG..`,
		Args: cobra.ExactArgs(2),
	}
	f := cmd.Flags()
	f.StringVar(&since, "since", "", "write only what the snapshot `OLD` lacks")
	f.StringVar(&split, "split", "", "cut the oci-archive into parts of `SIZE` (650M, 3G; FAT holds files below 4G)")
	f.BoolVar(&asJSON, "json", false, "print the result as JSON, and all else on stderr as JSON lines")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		a.events = asJSON
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
			if part, err = parseSize(split); err != nil {
				return err
			}
			if dst.Kind != artifact.Archive {
				return fmt.Errorf("%w: --split cuts an oci-archive; %s is none", mirror.ErrUsage, dst)
			}
		}
		res, err := a.transfer(cmd, src, dst, since)
		if err != nil {
			return err
		}
		a.log("copied %d files, %s; %s were there", res.Uploaded, size(res.Bytes), size(res.Reused))
		if part > 0 {
			if err := a.split(dst.Name, part); err != nil {
				return err
			}
		}
		if asJSON {
			return a.printJSON(copyJSON{
				Reference: res.Reference.String(), Digest: res.Root.String(), Tag: res.Immutable, Changed: res.Changed,
				Copied: res.Uploaded, CopiedBytes: res.Bytes, ReusedBytes: res.Reused,
			})
		}
		fmt.Fprintln(a.stdout, res.Reference)
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
}

func (a *app) transfer(cmd *cobra.Command, src, dst artifact.Reference, since string) (artifact.Copied, error) {
	bar := a.progress()
	defer bar.end()
	o := a.options()
	o.Progress = bar.event
	if since == "" {
		return artifact.Copy(cmd.Context(), src, dst, o)
	}
	old, err := artifact.ParseReference(since)
	if err != nil {
		return artifact.Copied{}, fmt.Errorf("--since: %w", err)
	}
	return artifact.CopySince(cmd.Context(), src, old, dst, o)
}

func (a *app) split(file string, part int64) error {
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		a.log("%s: its parts are there", file)
		return nil
	}
	parts, err := artifact.Split(file, part)
	if err != nil {
		return err
	}
	a.log("%d parts: %s.001 .. ; sha256sum -c %s.sha256 verifies each", len(parts), file, file)
	return nil
}
