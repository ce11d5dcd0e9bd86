package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/durable"
	"example.org/mmoci/internal/mirror"
)

// initPlan makes an mmoci.yaml.
func (a *app) initPlan() *cobra.Command {
	var fromApt, force bool
	var out, root string
	cmd := &cobra.Command{
		Use:   "init [PKG..]",
		Short: "Write a commented mmoci.yaml from this host's own apt",
		Args:  cobra.ArbitraryArgs,
	}
	f := cmd.Flags()
	f.BoolVar(&fromApt, "from-apt", true, "from the sources that apt has here (there is no other way yet)")
	f.StringVarP(&out, "output", "o", config.Name, "write to `FILE`; - is stdout")
	f.StringVar(&root, "root", "/", "`DIR` that holds etc/apt and var/lib/apt, for the apt of another system")
	f.BoolVar(&force, "force", false, "replace a file that is there")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if out != "-" && !force {
			if _, err := os.Lstat(out); !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%w: %s is there already; --force replaces it, -o writes elsewhere", mirror.ErrUsage, out)
			}
		}
		text, err := mirror.Init(root, args)
		if err != nil {
			return err
		}
		if out == "-" {
			_, err := a.stdout.Write(text)
			return err
		}
		if err := durable.WriteFile(out, text, 0o644); err != nil {
			return err
		}
		a.log("%s: look through it, say in ref: where to push to; then: mmoci key new -o keys/site.asc, mmoci push", out)
		return nil
	}
	return cmd
}
