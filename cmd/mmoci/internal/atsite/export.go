package atsite

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"example.org/mmoci/cmd/mmoci/internal/command"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/static"
	"example.org/mmoci/internal/terminal"
	"example.org/mmoci/pkg/artifact"
)

// Export writes snapshots and images as files that any web server serves.
func Export(a *command.App) *cobra.Command {
	var dir string
	var link, copied, apt, asJSON bool
	var days int
	var follow time.Duration
	cmd := &cobra.Command{
		Use:   "export --static DIR REF..",
		Short: "Write snapshots and images as a tree of files that any web server serves to registry clients and apt",
		Long: `Makes DIR hold what the REFs name, snapshots and container images: blobs, manifests and tags as files, for nginx with a configuration that
never changes (artifacts/nginx/static.conf). docker, podman, skopeo, crane, oras, containerd and mmoci read it as a registry, with --apt apt reads it, too,
at /apt/REPO:TAG/PREFIX. A tree is carried to other servers by rsync -aH --safe-links.

Each blob is hashed before it gets its name. A layout on the same file system is linked, not copied; what else there is, is copied. The REFs
are all that DIR is to hold: what none of them names any more, and its tags, go after --keep-days. Interrupted, old tags are whole, and the same command
goes on from there; if all is there already nothing is written.

--follow goes on: it asks what the REFs name, exports again whenever one has moved, and after an hour in any case. What fails then is logged and tried
again. SIGTERM and SIGINT end it, with exit code 0 where it waits, and 130 in the middle of an export.`,
		Args: cobra.MinimumNArgs(1),
	}
	f := cmd.Flags()
	f.StringVar(&dir, "static", "", "the tree's `DIR`: empty, or of an earlier export")
	f.BoolVar(&link, "link", false, "fail where a blob of a layout cannot be linked")
	f.BoolVar(&copied, "copy", false, "link nothing: later changes of a layout's files do not reach the tree")
	f.BoolVar(&apt, "apt", false, "write an apt tree of each snapshot, too")
	f.IntVar(&days, "keep-days", 2, "keep what no REF names any more for `N` days")
	command.DurationVar(f, &follow, "follow", "export again whenever a tag has moved; asked for so often")
	f.BoolVar(&asJSON, "json", false, "print the result as JSON, and all else on stderr as JSON lines")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		a.Events = asJSON
		switch {
		case dir == "":
			return fmt.Errorf("%w: say where to: --static DIR", outcome.ErrUsage)
		case link && copied:
			return fmt.Errorf("%w: --link and --copy contradict each other", outcome.ErrUsage)
		case days < 0:
			return fmt.Errorf("%w: --keep-days is negative", outcome.ErrUsage)
		case cmd.Flags().Changed("follow") && follow < time.Second:
			return fmt.Errorf("%w: --follow %s: at most once a second", outcome.ErrUsage, follow)
		}
		o := static.Options{Dir: dir, Apt: apt, Keep: time.Duration(days) * 24 * time.Hour, Places: a.Options(), Log: a.Log}
		switch {
		case link:
			o.Mode = static.Link
		case copied:
			o.Mode = static.Copy
		}
		for _, arg := range args {
			ref, err := artifact.ParseReference(arg)
			if err != nil {
				return err
			}
			o.References = append(o.References, ref)
		}
		if follow > 0 {
			shown := false
			return static.Follow(cmd.Context(), o, static.Following{Every: follow, Done: func(res *static.Result) error {
				if shown && res.Moved+res.Removed+res.Linked+res.Copied == 0 {
					return nil
				}
				shown = true
				return reportExport(a, res, asJSON)
			}})
		}
		bar := a.Progress()
		defer bar.End()
		o.Progress = bar.Event
		res, err := static.Export(cmd.Context(), o)
		bar.End()
		if err != nil {
			return err
		}
		return reportExport(a, res, asJSON)
	}
	return cmd
}

func reportExport(a *command.App, res *static.Result, asJSON bool) error {
	a.Log("%s linked, %d copied, %s; %d were there; %s moved, %s removed", terminal.Count(res.Linked, "blob"), res.Copied, terminal.Size(res.Bytes), res.Reused,
		terminal.Count(res.Moved, "tag"), terminal.Count(res.Removed, "file"))
	if res.LeavingRoots+res.LeavingTags > 0 {
		a.Log("%s and %s that no REF names any more: kept until --keep-days are over", terminal.Count(res.LeavingRoots, "root"), terminal.Count(res.LeavingTags, "tag"))
	}
	if asJSON {
		j := exportJSON{Tags: []tagJSON{}, Linked: res.Linked, Copied: res.Copied, Bytes: res.Bytes, Reused: res.Reused, Moved: res.Moved, Leaving: res.LeavingRoots, LeavingTags: res.LeavingTags, Removed: res.Removed}
		for _, t := range res.Tags {
			j.Tags = append(j.Tags, tagJSON{Tag: t.Repository + ":" + t.Name, Digest: t.Digest.String()})
		}
		return a.PrintJSON(j)
	}
	for _, t := range res.Tags {
		if _, err := fmt.Fprintf(a.Stdout, "%s:%s@%s\n", t.Repository, t.Name, t.Digest); err != nil {
			return err
		}
	}
	return nil
}

// exportJSON is what export --json prints.
type exportJSON struct {
	Tags        []tagJSON `json:"tags"` // REPO:TAG of the tree, with digests
	Linked      int       `json:"linkedBlobs"`
	Copied      int       `json:"copiedBlobs"`
	Bytes       int64     `json:"bytes"` // of these
	Reused      int       `json:"reusedBlobs"`
	Moved       int       `json:"movedTags"`
	Leaving     int       `json:"leavingRoots"`
	LeavingTags int       `json:"leavingTags"`
	Removed     int       `json:"removedFiles"`
}
