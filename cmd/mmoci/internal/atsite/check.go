package atsite

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"example.org/mmoci/cmd/mmoci/internal/command"
	"example.org/mmoci/internal/host"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/terminal"
)

// Check asks a server whether it serves.
func Check(a *command.App) *cobra.Command {
	timeout := 10 * time.Second
	var caFile string
	cmd := &cobra.Command{
		Use:   "check URL",
		Short: "Ask a server whether it is ready and hands out what it names",
		Long: `Asks URL/readyz, and for the Release file of one suite of each archive that URL/setup/ lists. Ends with 0 if all is well, for probes and the
tests of charts. It proves no signature: apt does.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if timeout <= 0 {
				return fmt.Errorf("%w: --timeout %s", outcome.ErrUsage, timeout)
			}
			found, err := host.Check(cmd.Context(), args[0], host.CheckOptions{Timeout: timeout, CAFile: caFile})
			for _, line := range found {
				fmt.Fprintln(a.Stdout, terminal.OneLine(line))
			}
			return err
		},
	}
	command.DurationVar(cmd.Flags(), &timeout, "timeout", "for all of it")
	cmd.Flags().StringVar(&caFile, "server-ca", "", "PEM `FILE` of the CA of the server's certificate (default: the system's)")
	return cmd
}
