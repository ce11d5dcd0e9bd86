package atsite

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"example.org/mmoci/cmd/mmoci/internal/command"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/policy"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// errDenied is the result of a policy test in which something is denied.
var errDenied = errors.New("denied")

// Policy tells what the rules of a site say of packages and images.
func Policy(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Look at the rules of a server",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(policyTest(a))
	return cmd
}

func policyTest(a *command.App) *cobra.Command {
	var p command.PlanFlags
	var file, ref string
	cmd := &cobra.Command{
		Use:   "test PKG[=VERSION]|HOST/REPO[:TAG]..",
		Short: "Tell what the rules say of packages and container images in a snapshot",
		Long: `Prints a line for each file of the packages: allow or deny, archive, name, version, architecture, rule, reason.
What has a slash is a container image: its line has - for archive, version and architecture. The snapshot is --ref, else ref: of the configuration. Ends with 1 if one is denied.`,
		Args: cobra.MinimumNArgs(1),
	}
	p.Flags(cmd.Flags())
	cmd.Flags().StringVar(&file, "policy", "", "rules `FILE` (default: serve.policy of the configuration)")
	cmd.Flags().StringVar(&ref, "ref", "", "reference (default: ref: of the configuration)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		plan, err := p.Plan()
		if err != nil {
			return err
		}
		if file == "" && plan != nil {
			file = plan.Serve.Policy
		}
		if file == "" {
			return fmt.Errorf("%w: no rules: give --policy FILE or serve: {policy: FILE}", outcome.ErrUsage)
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		rules, err := policy.Parse(file, data)
		if err != nil {
			return fmt.Errorf("%w: %w", outcome.ErrUsage, err)
		}
		var refs []string
		if ref != "" {
			refs = []string{ref}
		}
		s, err := a.OpenUnverified(cmd, &p, refs)
		if err != nil {
			return err
		}
		return testRules(a, rules, s, args)
	}
	return cmd
}

// testRules prints what the rules say of each package asked for.
func testRules(a *command.App, rules *policy.Policy, s *snapshot.Snapshot, wanted []string) error {
	w := tabwriter.NewWriter(a.Stdout, 0, 8, 2, ' ', 0)
	denied := false
	for _, want := range wanted {
		if strings.Contains(want, "/") {
			bad, err := testImage(w, rules, s.Statement, want)
			if err != nil {
				return errors.Join(w.Flush(), err)
			}
			denied = denied || bad
			continue
		}
		name, version, exact := strings.Cut(want, "=")
		found := false
		for row := range s.Table.Rows() {
			if !row.IsPackage() || row.Name != name || (exact && row.Version != version) {
				continue
			}
			found = true
			d := rules.Decide(row.Package, row.Archive())
			denied = denied || !d.Allow
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", verdict(d), row.Archive(), row.Name, row.Version, row.Architecture, d.Rule, d.Reason)
		}
		if !found {
			return errors.Join(w.Flush(), fmt.Errorf("package %s: %w in the snapshot", want, artifact.ErrNotFound))
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if denied {
		return errDenied
	}
	return nil
}

func verdict(d policy.Decision) string {
	if d.Allow {
		return "allow"
	}
	return "deny"
}

// testImage prints what the rules say of the images called HOST/REPO:TAG or HOST/REPO, and tells whether one is denied.
func testImage(w io.Writer, rules *policy.Policy, st *snapshot.Statement, want string) (denied bool, err error) {
	found := false
	for _, m := range st.Images {
		if m.Name != want && m.Name[:strings.LastIndexByte(m.Name, ':')] != want {
			continue
		}
		found = true
		d := rules.DecideImage(m.Name)
		denied = denied || !d.Allow
		fmt.Fprintf(w, "%s\t-\t%s\t-\t-\t%s\t%s\n", verdict(d), m.Name, d.Rule, d.Reason)
	}
	if !found {
		return false, fmt.Errorf("image %s: %w in the snapshot", want, artifact.ErrNotFound)
	}
	return denied, nil
}
