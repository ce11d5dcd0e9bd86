package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"example.org/mmoci/cmd/mmoci/internal/atsite"
	"example.org/mmoci/cmd/mmoci/internal/command"
	"example.org/mmoci/cmd/mmoci/internal/image"
	"example.org/mmoci/cmd/mmoci/internal/inci"
	"example.org/mmoci/cmd/mmoci/internal/look"
	"example.org/mmoci/cmd/mmoci/internal/onhost"
	"example.org/mmoci/cmd/mmoci/internal/source"
	"example.org/mmoci/internal/terminal"
)

func commands(a *command.App) *cobra.Command {
	root := &cobra.Command{
		Use:   "mmoci",
		Short: "An OCI-artifact-native mirror of Debian archives",
		Long: `mmoci freezes Debian archives into content-addressed OCI artifacts, pushes them to any registry,
and pulls them to serve apt or to install packages on a bare host, verified from upstream's key down to the blob.`,
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		var unknown *pflag.NotExistError
		if errors.As(err, &unknown) {
			if now := replacedFlags[cmd.CommandPath()+" --"+unknown.GetSpecifiedName()]; now != "" {
				return fmt.Errorf("%w: %w (%s does it)", command.ErrFlags, err, now)
			}
		}
		return fmt.Errorf("%w: %w (%s --help)", command.ErrFlags, err, cmd.CommandPath())
	})
	f := root.PersistentFlags()
	f.BoolVarP(&a.Quiet, "quiet", "q", false, "print results and errors only")
	f.BoolVarP(&a.Verbose, "verbose", "v", false, "say more on stderr")
	a.Registry.Flags(f)
	for _, group := range []struct {
		title    string
		commands []*cobra.Command
	}{
		{"In CI:", []*cobra.Command{inci.Init(a), inci.Key(a), inci.Push(a), inci.Lock(a), image.Command(a), source.Command(a), inci.Doctor(a)}},
		{"On a host:", []*cobra.Command{onhost.Pull(a), onhost.Install(a), onhost.Host(a)}},
		{"At a site:", []*cobra.Command{atsite.Serve(a), atsite.Check(a), atsite.Policy(a), atsite.Copy(a), atsite.Tag(a), atsite.Export(a)}},
		{"Look:", []*cobra.Command{look.Verify(a), look.Prove(a), look.Ls(a), look.Why(a), look.Diff(a)}},
	} {
		root.AddGroup(&cobra.Group{ID: group.title, Title: group.title})
		for _, c := range group.commands {
			c.GroupID = group.title
		}
		root.AddCommand(group.commands...)
	}
	root.SetHelpCommand(helpOn(a, root))
	root.InitDefaultCompletionCmd()
	usageArgs(root)
	return root
}

// replacedFlags maps flags that earlier versions had to what does their work now.
var replacedFlags = map[string]string{
	"mmoci push --recheck":    "--repair",
	"mmoci push --dry-run":    "--plan",
	"mmoci push --carry-from": "--bundle-from",
	"mmoci pull --install":    "mmoci install",
	"mmoci pull --mirror":     "--via",
	"mmoci install --mirror":  "--via",
	"mmoci serve --mirror":    "--via",
}

// helpOn is "mmoci help COMMAND"; an unknown COMMAND is a usage error.
func helpOn(a *command.App, root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Tell what a command does and which flags it has",
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err == nil && len(rest) > 0 {
				err = fmt.Errorf("%s has no command %q", cmd.CommandPath(), rest[0])
			}
			if err != nil {
				return fmt.Errorf("%w: %w (mmoci --help)", command.ErrFlags, err)
			}
			cmd.InitDefaultHelpFlag()
			return cmd.Help()
		},
	}
}

// usageArgs makes wrong arguments a usage error, below every command.
func usageArgs(c *cobra.Command) {
	if c.HasSubCommands() && !c.Runnable() {
		c.Args, c.RunE = cobra.NoArgs, func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	if check := c.Args; check != nil {
		c.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				if strings.Contains(err.Error(), "arg(s)") { // cobra counts them, and does not say which
					err = fmt.Errorf("%s given; want %s", terminal.Count(len(args), "argument"), strings.TrimSuffix(cmd.UseLine(), " [flags]"))
				}
				return fmt.Errorf("%w: %w (%s --help)", command.ErrFlags, err, cmd.CommandPath())
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		usageArgs(sub)
	}
}
