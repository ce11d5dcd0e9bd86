package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"example.org/mmoci/pkg/artifact"
)

// copy copies an artifact from any place to any other.
func (a *app) copy() *cobra.Command {
	return &cobra.Command{
		Use:   "copy SRC DST",
		Short: "Copy a snapshot between registries, layouts and oci-archives, bytes unchanged",
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			src, err := artifact.ParseReference(args[0])
			if err != nil {
				return err
			}
			dst, err := artifact.ParseReference(args[1])
			if err != nil {
				return err
			}
			bar := a.progress()
			o := a.options()
			o.Progress = bar.event
			res, err := artifact.Copy(cmd.Context(), src, dst, o)
			bar.end()
			if err != nil {
				return err
			}
			a.log("copied %d files, %s; %s were there", res.Uploaded, size(res.Bytes), size(res.Reused))
			fmt.Fprintln(a.stdout, res.Reference)
			return nil
		},
	}
}
