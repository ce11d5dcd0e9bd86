// Package inci is the commands that make a mirror, as "mmoci --help" groups them: init, key, push, lock, doctor.
package inci

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"example.org/mmoci/cmd/mmoci/internal/command"
	"example.org/mmoci/internal/bundle"
	"example.org/mmoci/internal/changes"
	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/durable"
	"example.org/mmoci/internal/freeze"
	"example.org/mmoci/internal/image"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/push"
	"example.org/mmoci/internal/signer"
	"example.org/mmoci/internal/state"
	"example.org/mmoci/internal/terminal"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// pushFlags are those of push.
type pushFlags struct {
	command.PlanFlags
	archiveFlags
	date, lock, held                string
	locked, plan, yes, allowEmpty   bool
	repair, replace, unsigned, json bool
	rate                            string
	allowOlder, acceptKeys          []string
	bundleFrom, serverImage         string
	report                          string
	keepGoing                       bool
}

// Push freezes archives into a snapshot and puts it into a registry or a layout.
func Push(a *command.App) *cobra.Command {
	var o pushFlags
	cmd := &cobra.Command{
		Use:   "push [REF]",
		Short: "Read upstream archives, verify, choose, pin, and push one snapshot",
		Args:  cobra.MaximumNArgs(1),
	}
	o.add(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		a.Events = o.json
		if o.report != "" {
			if err := durable.CheckOutput(o.report); err != nil {
				return fmt.Errorf("report: %w", err)
			}
		}
		q, lockFile, err := pushOptions(a, cmd, &o, args)
		if err != nil {
			return err
		}
		var server *image.ServerOptions
		if o.serverImage != "" {
			if server, err = serverImage(a, o.serverImage, q); err != nil {
				return err
			}
		}
		written := reportTo(a, o.report, q)
		res, err := runPush(cmd.Context(), a, q)
		if unwritten := written(); err == nil {
			err = unwritten
		}
		if err != nil {
			return err
		}
		if q.DateAuto && q.Lock != nil && !q.DryRun && !res.Date.Equal(q.Lock.Date) {
			if err := recordDate(a, lockFile, res.Date); err != nil {
				return err
			}
		}
		var list []changes.Change // nil: not known
		if o.plan || o.json {
			list = changesOf(cmd.Context(), a, res)
		}
		if o.plan {
			reportPlan(a, res, q.Ref, list)
		}
		if o.plan && !o.json {
			fmt.Fprint(a.Stdout, changes.Lines(list))
			for _, r := range res.New {
				fmt.Fprintf(a.Stdout, "%s %d %s\n", r.Digest, r.Size, r.Path)
			}
		}
		if !o.json {
			fmt.Fprintln(a.Stdout, res.Reference) // also where there will be no server image
		}
		served, failed := "", error(nil)
		if server != nil && !o.plan {
			server.Mirror.Ref, server.Mirror.Date = res.Reference, res.Date
			if ref, err := image.PushServer(cmd.Context(), *server); err != nil {
				failed = fmt.Errorf("the snapshot is pushed, its server image is not (the same command makes it): %w", err)
			} else {
				served = ref.String()
			}
		}
		if o.json {
			if err := a.PrintJSON(resultOf(res, served, list, o.plan)); failed == nil {
				failed = err
			}
		} else if served != "" {
			fmt.Fprintln(a.Stdout, served)
		}
		return failed
	}
	return cmd
}

func (o *pushFlags) add(f *pflag.FlagSet) {
	o.PlanFlags.Flags(f)
	o.archiveFlags.flags(f)
	f.StringVar(&o.date, "date", "", "date input: RFC 3339, or auto: as late as the replaced snapshot demands, recorded in the lock (default: the newest Date of the upstreams; now with valid-for)")
	f.StringVar(&o.lock, "lock", "", "pin versions and date by a lock `FILE` (default: lock: of the configuration)")
	f.BoolVar(&o.locked, "locked", false, "push exactly the lock: that of --lock, else mmoci.lock beside the configuration")
	f.StringVar(&o.held, "held", "", "`REF` of a snapshot that holds what the lock names and upstream has lost (default: the one that is replaced)")
	f.BoolVar(&o.plan, "plan", false, "stop before anything is written, and print which packages would be added (+), removed (-) and changed (~), and each file that would be downloaded and uploaded")
	f.BoolVar(&o.yes, "yes", false, "push whole archives of more than 10 GB without asking back")
	f.BoolVar(&o.allowEmpty, "allow-empty", false, "push curated archives that ask for no package")
	f.BoolVar(&o.repair, "repair", false, "ask the registry for every blob, and put again what it lost")
	f.BoolVar(&o.replace, "replace-unverified", false, "replace a snapshot that nobody vouches for, taking nothing from it; needs --date")
	f.BoolVar(&o.unsigned, "insecure-unsigned", false, "push curated archives without a site signature")
	f.StringArrayVar(&o.allowOlder, "allow-older", nil, "`SUITE` of upstream that may be older than in the replaced snapshot")
	f.StringArrayVar(&o.acceptKeys, "accept-key", nil, "`FINGERPRINT` that a key from the network may have from now on")
	f.StringVar(&o.bundleFrom, "bundle-from", "", "`DIR` of the programs for bundle:, named mmoci-ARCH (default: beside this program, /usr/lib/mmoci)")
	f.StringVar(&o.serverImage, "server-image", "", "then push to `REF` a container image that serves this snapshot, made of this program and those of bundle:; with --ca-file it has that CA")
	f.BoolVar(&o.keepGoing, "keep-going", false, "upload what can be had where something cannot, and name all of that; no tag moves, and the same command fetches only what is missing")
	f.StringVar(&o.report, "report", "", "write into `FILE` which place gave each file, after how many tries, with which digest: JSON if its name ends in .json, else a table")
	f.StringVar(&o.rate, "rate", "", "upload at most so many bytes a second together, such as 5M")
	f.BoolVar(&o.json, "json", false, "print the result as JSON, and all else on stderr as JSON lines")
}

// pushOptions are what flags and configuration ask for, and the file of the lock that the push obeys.
func pushOptions(a *command.App, cmd *cobra.Command, o *pushFlags, args []string) (q *push.Options, lockFile string, err error) {
	plan, err := o.archiveFlags.plan(cmd, &o.PlanFlags)
	if err != nil {
		return nil, "", err
	}
	if err := findBundled(plan, o.bundleFrom); err != nil {
		return nil, "", err
	}
	q = &push.Options{
		Plan: plan, Unsigned: o.unsigned, Locked: o.locked, AllowOlder: o.allowOlder, ReplaceUnverified: o.replace, Yes: o.yes, AllowEmpty: o.allowEmpty,
		KeepGoing: o.keepGoing, DryRun: o.plan, Listed: listedDir, Now: time.Now(), Log: a.Log,
		Artifact: artifact.PushOptions{Options: a.Options(), Recheck: o.repair},
	}
	if q.Artifact.Rate, err = command.SizeOf("--rate", o.rate); err != nil {
		return nil, "", err
	}
	if q.Ref, err = command.Reference(args, plan); err != nil {
		return nil, "", err
	}
	if q.Plan, err = command.TakeBuilds(a, cmd, &o.PlanFlags, plan, func() (artifact.Reference, error) { return q.Ref, nil }); err != nil {
		return nil, "", err
	}
	q.Artifact.ImagesTo = command.ImagesTo(plan, q.Ref)
	if q.Date, q.DateAuto, err = command.ParseDate(o.date); err != nil {
		return nil, "", err
	}
	if lockFile, err = lockFor(a, q, o.lock); err != nil {
		return nil, "", err
	}
	if q.Keys, err = networkKeys(&o.PlanFlags, plan, q.Lock, o.acceptKeys); err != nil {
		return nil, "", err
	}
	if o.held != "" {
		held, err := artifact.ParseReference(o.held)
		if err != nil {
			return nil, "", err
		}
		q.Previous = &held
	}
	if q.Signer, err = command.Signer(a, plan, ""); err != nil {
		return nil, "", err
	}
	if len(plan.Trust) > 0 {
		if q.Site, err = signer.ReadKeyrings(plan.Trust...); err != nil {
			return nil, "", err
		}
	}
	if q.State, err = state.HostDir("pushed"); errors.Is(err, state.ErrForeign) {
		return nil, "", err
	} else if err != nil {
		a.Detail("that nothing changed will not be noticed early: %s", err)
	}
	return q, lockFile, nil
}

// runPush pushes, and says on the log what came of it.
func runPush(ctx context.Context, a *command.App, q *push.Options) (*push.Result, error) {
	bar := a.Progress()
	q.Artifact.Progress = bar.Event
	var again command.Healed
	if q.Artifact.Recheck {
		q.Artifact.Progress = again.Watch(bar.Event)
	}
	start := time.Now()
	res, err := push.Run(ctx, *q)
	bar.End()
	if err != nil {
		return nil, err
	}
	reportPush(a, res, q.Plan, time.Since(start), q.DryRun)
	if q.Artifact.Recheck && !q.DryRun {
		command.ReportRepair(a, &again, res.Pushed)
	}
	command.ReportRunnable(a, res.Runnable)
	return res, nil
}

// resultOf is what push --json prints.
func resultOf(res *push.Result, served string, list []changes.Change, plan bool) pushJSON {
	result := pushJSON{
		Reference: res.Reference.String(), Digest: res.Root.String(), Tag: res.Immutable, Date: res.Date, Changed: res.Changed,
		Packages: sumOf(res.Packages), Files: res.Files, Bytes: res.Bytes, Uploaded: res.Uploaded, UploadedBytes: res.Pushed.Bytes, ReusedBytes: res.Reused,
		ServerImage: served, Changes: list,
	}
	if !res.Previous.IsZero() {
		result.Previous = res.Previous.String()
	}
	if plan {
		result.plan(res)
	}
	return result
}

// serverImage checks what a push is told of a server image, before anything is
// pushed. What it gives lacks the snapshot.
func serverImage(a *command.App, to string, q *push.Options) (*image.ServerOptions, error) {
	usage := func(format string, args ...any) (*image.ServerOptions, error) {
		return nil, fmt.Errorf("%w: --server-image: %w", outcome.ErrUsage, fmt.Errorf(format, args...))
	}
	ref, err := artifact.ParseReference(to)
	switch {
	case err != nil:
		return nil, fmt.Errorf("--server-image: %w", err)
	case ref.Kind != artifact.Registry || ref.Tag == "" || !ref.Digest.IsZero():
		return usage("%s is not HOST/REPO:TAG; it is pushed to a registry (mmoci copy takes it on from there)", to)
	case q.Ref.Kind != artifact.Registry:
		return usage("no container reaches %s, a file of this host; push the snapshot to a registry", q.Ref)
	case ref.Name == q.Ref.Name && ref.Tag == q.Ref.Tag:
		return usage("%s is the snapshot's own reference; give the image another name", to)
	}
	o := &image.ServerOptions{To: ref, Version: a.Version, Artifact: q.Artifact.Options}
	o.Mirror.PlainHTTP = q.Artifact.PlainHTTP
	if q.Signer != nil { // else nothing is signed that a key could verify
		if o.Mirror.Keys, err = pgp.JoinKeyrings(q.Site, q.Signer.Public()).Armor(); err != nil {
			return nil, err
		}
	}
	end, err := artifact.EndpointOf(q.Ref, q.Artifact.Options)
	if err != nil {
		return nil, err
	}
	for _, file := range end.CAFiles {
		pem, err := os.ReadFile(file)
		if err != nil {
			return usage("%w", err)
		}
		o.Mirror.CA = append(o.Mirror.CA, image.Certificates(pem)...)
	}
	switch plain := strings.HasPrefix(end.URL, "http:"); {
	case plain && !q.Artifact.PlainHTTP:
		a.Log("server image: %s is loopback, and a container has its own: run it with the host's network", q.Ref.Host())
	case !plain && len(o.Mirror.CA) == 0:
		a.Log("server image: it will have no CA certificates for %s: mount /etc/ssl/certs into it, or give --ca-file", q.Ref.Host())
	}
	o.Programs, err = serverPrograms(q.Plan.Bundled)
	return o, err
}

// serverPrograms are those that are bundled, and this one if none of its architecture is.
func serverPrograms(bundled []config.Bundled) ([]config.Bundled, error) {
	programs := slices.DeleteFunc(slices.Clone(bundled), func(b config.Bundled) bool { return b.File == "" })
	file, err := os.Executable()
	if err != nil {
		return nil, err
	}
	self, err := bundle.Program(file)
	if slices.ContainsFunc(programs, func(b config.Bundled) bool { return b.Name == self.Name }) {
		return programs, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: --server-image: this program cannot be put into an image: %w", outcome.ErrUsage, err)
	}
	return append([]config.Bundled{self}, programs...), nil
}

// lockFor reads the lock that a push obeys: the one that --lock names, else the
// configuration's, else with --locked the one beside the configuration.
func lockFor(a *command.App, q *push.Options, named string) (file string, err error) {
	beside := lockBeside(q.Plan)
	switch _, missing := os.Stat(beside); {
	case named != "":
		file = named
	case q.Plan.Lock != "":
		q.Locked = true
		file = q.Plan.Lock
	case q.Locked:
		file = beside
	case missing == nil && q.Plan.File != "":
		a.Log("%s is not obeyed, today's versions are taken: --locked pushes what it says, lock: %s in the configuration does so each time", beside, filepath.Base(beside))
	}
	q.Lock, err = readLock(file)
	return file, err
}

// recordDate records in a lock the date that its push got.
func recordDate(a *command.App, file string, date time.Time) error {
	st, err := os.Stat(file)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(file)
	if err == nil {
		text, err = config.SetLockDate(file, text, date)
	}
	if err == nil {
		err = durable.WriteFile(file, text, st.Mode().Perm())
	}
	if err != nil {
		return fmt.Errorf("the snapshot is pushed; its date, %s, could not be written into the lock: %w", date.Format(time.RFC3339), err)
	}
	a.Log("%s: its date is %s now", file, date.Format(time.RFC3339))
	return nil
}

// maxNotes is how many remarks on a selection are said without -v.
const maxNotes = 20

// pushJSON is what push --json prints. With --plan nothing has changed or was uploaded, and Would says what would be.
type pushJSON struct {
	Reference     string    `json:"reference"`
	Digest        string    `json:"digest"`
	Tag           string    `json:"tag,omitempty"`
	Date          time.Time `json:"date"`
	Previous      string    `json:"previous,omitempty"` // the root that the tag named before
	Changed       bool      `json:"changed"`
	Packages      int       `json:"packages"`
	Files         int       `json:"files"`
	Bytes         int64     `json:"bytes"`
	Uploaded      int       `json:"uploaded"`
	UploadedBytes int64     `json:"uploadedBytes"`
	ReusedBytes   int64     `json:"reusedBytes"`
	ServerImage   string    `json:"serverImage,omitempty"`
	// Changes are the packages in which this snapshot differs from the previous one; null if nobody vouches for that.
	Changes []changes.Change `json:"changes"`
	Would   *planJSON        `json:"would,omitempty"`
}

// planJSON is what a push would do.
type planJSON struct {
	Change      bool       `json:"change"` // the tag would name another snapshot
	Upload      int        `json:"upload"` // files that the previous snapshot does not have
	UploadBytes int64      `json:"uploadBytes"`
	Files       []fileJSON `json:"files"`
}

type fileJSON struct {
	Path   string `json:"path"`
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
}

func (p *pushJSON) plan(res *push.Result) {
	p.Would = &planJSON{Change: res.Root != res.Previous, Upload: len(res.New), Files: []fileJSON{}}
	for _, r := range res.New {
		p.Would.UploadBytes += r.Size
		p.Would.Files = append(p.Would.Files, fileJSON{r.Path, r.Digest.String(), r.Size})
	}
}

// changesOf are the packages in which a push differs from what the tag named before; nil if that cannot be told.
func changesOf(ctx context.Context, a *command.App, res *push.Result) []changes.Change {
	switch {
	case res.Frozen == nil || res.Root == res.Previous:
		return []changes.Change{}
	case res.Replaced == nil && !res.Previous.IsZero():
		return nil
	}
	list, err := changes.Between(ctx, res.Replaced, res.Frozen.Snapshot)
	if err != nil {
		a.Log("which packages differ cannot be told: %s", err)
	}
	return list
}

// reportPlan says what a push would change at its reference.
func reportPlan(a *command.App, res *push.Result, ref artifact.Reference, list []changes.Change) {
	switch {
	case res.Previous.IsZero():
		a.Log("plan: %s names nothing yet; %s would be there", ref, cmp.Or(packagesOf(res), terminal.Count(res.Files, "file")))
	case res.Root == res.Previous:
		a.Log("plan: nothing would change; %s names this snapshot already", ref)
	case list == nil:
		a.Log("plan: %s would name another snapshot; nobody vouches for the one it names, so no packages are compared", ref)
	case len(list) == 0:
		a.Log("plan: %s would name another snapshot, of the same packages", ref)
	default:
		a.Log("plan: %s would change: %s", ref, changes.Totals(list))
	}
}

// reportNewer says which packages another archive has newer.
func reportNewer(a *command.App, list []freeze.Newer, plan *config.Plan) {
	for i, n := range list {
		if i == maxNotes && !a.Verbose {
			a.Log("%d more that another archive has newer (-v says them)", len(list)-i)
			break
		}
		a.Log("%s", n.Say(plan.CommonList))
	}
}

func reportPush(a *command.App, res *push.Result, plan *config.Plan, took time.Duration, dry bool) {
	reportNewer(a, res.Newer, plan)
	if res.Frozen == nil {
		reportTotals(a, res, res.Date)
		a.Log("changed: false; upstream's Releases and the configuration are those of the last push (%.2f s)", took.Seconds())
		return
	}
	for i, n := range res.Frozen.Notes {
		if i == maxNotes && !a.Verbose {
			a.Log("%d remarks more (-v says them)", len(res.Frozen.Notes)-i)
			break
		}
		a.Log("%s", n)
	}
	for _, d := range res.Frozen.Dropped {
		a.Log("left out: %s", d)
	}
	st := res.Frozen.Snapshot.Statement
	for _, ar := range st.Archives {
		a.Log("%s: %s, %s", ar.Prefix, contentOf(res, &ar), command.KindOf(ar.Mode, ar.Class))
	}
	for _, s := range res.Frozen.Served() {
		if s.Others > 0 || a.Verbose {
			a.Log("%s: %s, %s from %s", s.Prefix, terminal.Count(s.Files, "file"), terminal.Size(s.Bytes), s.URL)
		}
	}
	reportTotals(a, res, st.Date)
	switch {
	case dry:
		var bytes int64
		for _, r := range res.New {
			bytes += r.Size
		}
		a.Log("plan: nothing was written; %s, %s, would be new there", terminal.Count(len(res.New), "file"), terminal.Size(bytes))
		a.Log("the root would be %s: %s of %s, %s; a push to a registry takes about %d requests", res.Root,
			terminal.Size(int64(res.RootSize)), terminal.Size(artifact.MaxDocument), terminal.Count(res.Shards, "shard"), requests(res))
	case !res.Changed && res.Uploaded+res.Manifests > 0:
		a.Log("changed: false; %s (%.1f s)", command.Repaired(res.Pushed), took.Seconds())
	case !res.Changed:
		a.Log("changed: false; the tag named it already (%.1f s)", took.Seconds())
	default:
		a.Log("changed: true; uploaded %s in %s, reused %s; %.1f s; also tagged %s",
			terminal.Size(res.Pushed.Bytes), terminal.Count(res.Uploaded, "blob"), terminal.Size(res.Reused), took.Seconds(), res.Immutable)
	}
}

// reportTotals says how much a snapshot has.
func reportTotals(a *command.App, res *push.Result, date time.Time) {
	packages := packagesOf(res)
	if packages != "" {
		packages += ", "
	}
	a.Log("snapshot of %s: %s%s, %s", date.Format(time.RFC3339), packages, terminal.Count(res.Files, "file"), terminal.Size(res.Bytes))
}

// packagesOf says how many packages there are; "" of a snapshot of plain files alone.
func packagesOf(res *push.Result) string {
	other := func(ar snapshot.Archive) bool { return ar.Format != snapshot.FormatFiles }
	if res.Frozen != nil && !slices.ContainsFunc(res.Frozen.Snapshot.Statement.Archives, other) {
		return ""
	}
	return terminal.Count(sumOf(res.Packages), "package")
}

// contentOf says how much an archive has: plain files, or packages in suites.
func contentOf(res *push.Result, ar *snapshot.Archive) string {
	if ar.Format != snapshot.FormatFiles {
		return terminal.Count(res.Packages[ar.Prefix], "package") + " of " + terminal.Count(len(ar.Suites), "suite")
	}
	n := 0
	for row := range res.Frozen.Snapshot.Table.Under(ar.Prefix + "/") {
		if _, ok := ar.PlainFile(row); ok {
			n++
		}
	}
	return terminal.Count(n, "file")
}

// sumOf adds up counts by prefix.
func sumOf(counts map[string]int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}

// requests estimates what a push asks of a registry: two for each new blob, one
// for each shard that may be new, and what every push costs.
func requests(res *push.Result) int {
	const constant = 40 // tags, the previous root, samples, the core and its blobs
	return constant + 2*len(res.New) + min(res.Shards, len(res.New))
}

// findBundled finds the programs that a plan bundles.
func findBundled(plan *config.Plan, from string) error {
	if len(plan.Bundle) == 0 {
		if from != "" {
			return fmt.Errorf("%w: --bundle-from without bundle: in mmoci.yaml", outcome.ErrUsage)
		}
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	dirs := []string{filepath.Dir(self), "/usr/lib/mmoci"}
	if from != "" {
		dirs = []string{from}
	}
	plan.Bundled, err = bundle.Find(plan.Bundle, dirs, self)
	return err
}
