package atsite

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"example.org/mmoci/cmd/mmoci/internal/command"
	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/hook"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/site"
	"example.org/mmoci/internal/terminal"
	"example.org/mmoci/pkg/artifact"
)

// Tag lists, moves and removes tags.
func Tag(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tag",
		Short: "Look at the snapshots and images of a place, name them, go back, clean up",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(tagDigest(a), tagList(a), tagPromote(a), tagRollback(a), tagPrune(a))
	return cmd
}

func tagDigest(a *command.App) *cobra.Command {
	var p command.PlanFlags
	cmd := &cobra.Command{
		Use:   "digest [REF]",
		Short: "Print the digest that a reference names, of a snapshot, an image or anything else",
		Args:  cobra.MaximumNArgs(1),
	}
	p.Flags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		_, ref, err := p.Place(args)
		if err != nil {
			return err
		}
		digest, err := artifact.Resolve(cmd.Context(), ref, a.Options())
		if err != nil {
			return err
		}
		fmt.Fprintln(a.Stdout, digest)
		return nil
	}
	return cmd
}

// tagJSON is a tag in tag list --json and tag prune --json.
type tagJSON struct {
	Tag    string `json:"tag"`
	Digest string `json:"digest"`
	Date   string `json:"date,omitempty"`
	Why    string `json:"why,omitempty"`
}

func jsonTag(t artifact.Tag, why string) tagJSON {
	j := tagJSON{Tag: t.Name, Digest: t.Digest.String(), Why: why}
	if !t.Date.IsZero() {
		j.Date = t.Date.Format(time.RFC3339)
	}
	return j
}

func tagList(a *command.App) *cobra.Command {
	var p command.PlanFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list [REF]",
		Short: "List tags with digests: names, then the snapshots, newest first",
		Args:  cobra.MaximumNArgs(1),
	}
	p.Flags(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		_, ref, err := p.Place(args)
		if err != nil {
			return err
		}
		tags, err := artifact.Tags(cmd.Context(), ref, a.Options())
		if err != nil {
			return err
		}
		if asJSON {
			list := make([]tagJSON, len(tags))
			for i, t := range tags {
				list[i] = jsonTag(t, "")
			}
			return a.PrintJSON(list)
		}
		w := tabwriter.NewWriter(a.Stdout, 0, 8, 2, ' ', 0)
		for _, t := range tags {
			fmt.Fprintf(w, "%s\t%s\n", t.Name, t.Digest)
		}
		return w.Flush()
	}
	return cmd
}

func tagPromote(a *command.App) *cobra.Command {
	var p command.PlanFlags
	var older, asJSON bool
	var program string
	var redate redateFlags
	cmd := &cobra.Command{
		Use:   "promote [REF] TAG",
		Short: "Let TAG name the snapshot or image of REF too; nothing but tags is written",
		Long: `Lets TAG, of the same place, name the snapshot or container image of REF too. Dates along a tag strictly increase, so that all clients see each change: another
snapshot that is not newer than the one that TAG names is refused. --redate pushes its content, of curated archives, under the next date, signed anew.

--hook runs a program afterwards, also where TAG named it before, with a line of JSON on its standard input: reference, source, changed, what the tag named
(from) and names (to), each with digest and date, time and by whom. If it fails or takes longer than ten minutes the exit code is 1, and the tag stays.`,
		Args: cobra.RangeArgs(1, 2),
	}
	p.Flags(cmd.Flags())
	cmd.Flags().StringArrayVar(&p.Keyrings, "keyring", nil, "`FILE` of the site's keys, for --redate")
	redate.flags(cmd.Flags())
	cmd.Flags().BoolVar(&older, "allow-older", false, "let TAG name a snapshot that is not newer, which clients ignore")
	cmd.Flags().StringVar(&program, "hook", "", "`PROGRAM` that is told of it, as JSON on its standard input")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print what the program would be told as JSON, and all else on stderr as JSON lines")
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		a.Events = asJSON
		var told *hook.Hook
		if program != "" {
			output := a.Stderr
			if asJSON {
				lines := &logLines{log: a.Log}
				defer lines.end()
				output = lines
			}
			if told, err = hook.Find(program, output); err != nil {
				return err
			}
		}
		last := len(args) - 1
		plan, ref, err := p.Place(args[:last])
		if err != nil {
			return err
		}
		q := site.PromoteOptions{From: ref, To: args[last], AllowOlder: older, ImagesTo: command.ImagesTo(plan, ref), Options: a.Options()}
		if q.Redate, err = redating(a, &p, plan, redate); err != nil {
			return err
		}
		done, err := site.Promote(cmd.Context(), q)
		if err != nil {
			return err
		}
		also := ""
		if done.Immutable != "" {
			also = "; also tagged " + done.Immutable
		}
		a.Log("changed: %t%s", done.Changed, also)
		if asJSON {
			err = a.PrintJSON(site.PromotionOf(cmd.Context(), q, done, time.Now()))
		} else {
			fmt.Fprintln(a.Stdout, done.Reference)
		}
		if told != nil {
			err = errors.Join(err, site.TellPromotion(cmd.Context(), told, q, done, time.Now()))
		}
		return err
	}
	return cmd
}

// maxLine is the longest line of a program that is logged in one piece.
const maxLine = 64 << 10

// logLines logs what is written, a line each, in whatever pieces it comes.
type logLines struct {
	log  func(format string, args ...any)
	rest []byte // a line that has no end yet
}

func (l *logLines) Write(p []byte) (int, error) {
	for part := range bytes.Lines(p) {
		l.rest = append(l.rest, part...)
		if part[len(part)-1] == '\n' || len(l.rest) >= maxLine {
			l.end()
		}
	}
	return len(p), nil
}

// end logs what has no end yet.
func (l *logLines) end() {
	if len(l.rest) > 0 {
		l.log("%s", bytes.TrimSuffix(l.rest, []byte("\n")))
		l.rest = l.rest[:0]
	}
}

// redateFlags are those of commands that may sign a snapshot anew, under the next date.
type redateFlags struct {
	wanted bool
	key    string
}

func (r *redateFlags) flags(f *pflag.FlagSet) {
	f.BoolVar(&r.wanted, "redate", false, "where it is not newer, push its content under the next date, signed anew (curated archives)")
	f.StringVar(&r.key, "sign-key", "", "the site's signing key `FILE`, for --redate")
}

// redating is nil unless it is wanted.
func redating(a *command.App, p *command.PlanFlags, plan *config.Plan, r redateFlags) (*site.RedateOptions, error) {
	if !r.wanted {
		return nil, nil
	}
	trust, err := p.Trust(plan)
	if err != nil {
		return nil, err
	}
	signer, err := command.Signer(a, plan, r.key)
	if err != nil {
		return nil, err
	}
	return &site.RedateOptions{Signer: signer, Site: trust.Site, Now: time.Now()}, nil
}

func tagRollback(a *command.App) *cobra.Command {
	var p command.PlanFlags
	var to, key, date string
	cmd := &cobra.Command{
		Use:   "rollback [REF] --to ID",
		Short: "Push an older snapshot's selection again, under a newer date that apt takes",
		Long: `Makes a snapshot of the packages of an older one (ID: a tag, the DATE-HEX12 of one, or a digest) and pushes it to REF.
It is signed anew, dated a second after the snapshot that it replaces: apt ignores a Release that is older than the one it has.`,
		Args: cobra.MaximumNArgs(1),
	}
	f := cmd.Flags()
	p.TrustFlags(f)
	f.StringVar(&to, "to", "", "`ID` of the snapshot to go back to")
	f.StringVar(&key, "sign-key", "", "the site's signing key `FILE`")
	f.StringVar(&date, "date", "", "date input (default: a second after the replaced snapshot's)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		plan, ref, err := p.Place(args)
		if err != nil {
			return err
		}
		if to == "" {
			return fmt.Errorf("%w: say where to: --to ID (mmoci tag list shows them)", outcome.ErrUsage)
		}
		trust, err := p.Trust(plan)
		if err != nil {
			return err
		}
		q := site.RollbackOptions{Ref: ref, To: to, Site: trust.Site, Now: time.Now(), Push: artifact.PushOptions{Options: a.Options(), ImagesTo: command.ImagesTo(plan, ref)}}
		if q.Date, _, err = command.ParseDate(date); err != nil {
			return err
		}
		if q.Signer, err = command.Signer(a, plan, key); err != nil {
			return err
		}
		done, err := site.Rollback(cmd.Context(), q)
		if err != nil {
			return err
		}
		a.Log("changed: %t; uploaded %s in %s; also tagged %s", done.Changed, terminal.Size(done.Bytes), terminal.Count(done.Uploaded, "blob"), done.Immutable)
		fmt.Fprintln(a.Stdout, done.Reference)
		return nil
	}
	return cmd
}

func tagPrune(a *command.App) *cobra.Command {
	var p command.PlanFlags
	var k site.Retention
	var dry, asJSON bool
	cmd := &cobra.Command{
		Use:   "prune [REF] --keep-last N ..",
		Short: "Remove the immutable tags of a name that no rule keeps; a layout shrinks",
		Long: `Removes the tags NAME-DATE-HEX12 of the reference's NAME that no rule keeps, and the checkpoints of pushes that have ended.
What any remaining tag reaches stays. The names of images that no
remaining snapshot has go, too. A layout is collected; a registry frees space by its own garbage collection.`,
		Args: cobra.MaximumNArgs(1),
	}
	f := cmd.Flags()
	p.Flags(f)
	f.IntVar(&k.Last, "keep-last", 0, "the newest `N`")
	f.IntVar(&k.Daily, "keep-daily", 0, "the last one of each of the newest `N` days that have any")
	f.IntVar(&k.Weekly, "keep-weekly", 0, "the same of `N` ISO weeks")
	f.IntVar(&k.Monthly, "keep-monthly", 0, "the same of `N` months")
	k.MinAge = site.MinAge
	command.DurationVar(f, &k.MinAge, "min-age", "remove none whose date is younger, such as 30d")
	f.BoolVar(&dry, "dry-run", false, "only tell what would go, and which versions of packages, and which plain files, with it")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		plan, ref, err := p.Place(args)
		if err != nil {
			return err
		}
		if k.Last < 0 || k.Daily < 0 || k.Weekly < 0 || k.Monthly < 0 || k.MinAge < 0 {
			return fmt.Errorf("%w: a rule with a negative number", outcome.ErrUsage)
		}
		if k.Last+k.Daily+k.Weekly+k.Monthly == 0 && !cmd.Flags().Changed("min-age") {
			k.MinAge = 0 // what nobody asked for is no rule by itself
		}
		out, err := site.Prune(cmd.Context(), site.PruneOptions{Ref: ref, Keep: k, DryRun: dry, Now: time.Now(), ImagesTo: command.ImagesTo(plan, ref), Options: a.Options()})
		if err != nil {
			return err
		}
		return reportPrune(a, out, ref.Kind == artifact.Registry, dry, asJSON)
	}
	return cmd
}

func reportPrune(a *command.App, out *site.PruneResult, registry, dry, asJSON bool) error {
	switch {
	case dry:
		a.Log("dry run: %s would stay, %s would go", terminal.Count(len(out.Keep), "snapshot"), terminal.Count(len(out.Remove), "tag"))
	case len(out.Refused) > 0:
		a.Log("not removed: %s: %s", terminal.Count(len(out.Refused), "tag"), out.Reason)
	}
	if !dry {
		freed := terminal.Count(out.Files, "file") + ", " + terminal.Size(out.Bytes) + " freed"
		if registry {
			freed = "the registry frees their space by its own garbage collection"
		}
		if len(out.Removed.Kept) > 0 {
			a.Log("left alone: %s; tags were moved meanwhile", strings.Join(out.Removed.Kept, ", "))
		}
		a.Log("%s kept, %s gone; %s", terminal.Count(len(out.Keep), "snapshot"), terminal.Count(len(out.Tags), "tag"), freed)
	}
	if asJSON {
		j := struct {
			Keep   []tagJSON `json:"keep"`
			Remove []tagJSON `json:"remove"`
			Freed  int64     `json:"freedBytes"`

			Versions []site.PrunedVersion `json:"versions,omitempty"`
		}{[]tagJSON{}, []tagJSON{}, out.Bytes, out.Versions}
		for _, t := range out.Keep {
			j.Keep = append(j.Keep, jsonTag(t.Tag, t.Why))
		}
		for _, t := range out.Remove {
			j.Remove = append(j.Remove, jsonTag(t.Tag, t.Why))
		}
		return a.PrintJSON(j)
	}
	w := tabwriter.NewWriter(a.Stdout, 0, 8, 2, ' ', 0)
	for _, t := range out.Keep {
		fmt.Fprintf(w, "keep\t%s\t%s\n", t.Name, t.Why)
	}
	for _, t := range out.Remove {
		fmt.Fprintf(w, "remove\t%s\t%s\n", t.Name, t.Why)
	}
	for _, v := range out.Versions {
		what := fmt.Sprintf("%s %s %s of %s", v.Name, v.Version, v.Architecture, v.Archive)
		if v.Digest != "" {
			what = fmt.Sprintf("%s of %s, %s", v.Name, v.Archive, v.Digest)
		}
		if v.HeldBy != "" {
			fmt.Fprintf(w, "held\t%s\tby %s\n", what, v.HeldBy)
		} else {
			fmt.Fprintf(w, "gone\t%s\twith %s\n", what, v.Tag)
		}
	}
	return w.Flush()
}
