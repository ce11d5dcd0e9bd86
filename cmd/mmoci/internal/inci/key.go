package inci

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"example.org/mmoci/cmd/mmoci/internal/command"
	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/config/hostapt"
	"example.org/mmoci/internal/durable"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/signer"
)

// Init is "mmoci init", which makes an mmoci.yaml.
func Init(a *command.App) *cobra.Command {
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
				return fmt.Errorf("%w: %s is there already; --force replaces it, -o writes elsewhere", outcome.ErrUsage, out)
			}
		}
		text, err := hostapt.FromSystem(root, args)
		if err != nil {
			return err
		}
		if out == "-" {
			_, err := a.Stdout.Write(text)
			return err
		}
		if err := durable.WriteFile(out, text, 0o644); err != nil {
			return err
		}
		a.Log("%s: look through it, say in ref: where to push to; then: mmoci key new -o keys/site.asc, mmoci push", out)
		return nil
	}
	return cmd
}

// Key makes, shows and rotates signing keys.
func Key(a *command.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Make and look at the site's signing key",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var out, user string
	create := &cobra.Command{
		Use:   "new -o FILE",
		Short: "Make an Ed25519 signing key; the public half goes to FILE.pub.asc",
		Long: `Makes an Ed25519 signing key, dated 2000-01-01, without expiry. It is locked with the passphrase of
MMOCI_SIGN_PASSPHRASE if that is set. FILE is not overwritten. keys/site.asc gets keys/site.pub.asc beside it.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return newKey(a, out, user) },
	}
	create.Flags().StringVarP(&out, "output", "o", "", "secret key `FILE`")
	create.Flags().StringVar(&user, "user-id", "mmoci site key", "user ID of the key")
	show := &cobra.Command{
		Use:   "show FILE..",
		Short: "Print fingerprint, user ID and validity of the keys in a file",
		Args:  cobra.MinimumNArgs(1),
		RunE:  func(_ *cobra.Command, args []string) error { return showKeys(a, args) },
	}
	cmd.AddCommand(create, show, rotateKey(a))
	return cmd
}

func rotateKey(a *command.App) *cobra.Command {
	var user string
	var finish bool
	cmd := &cobra.Command{
		Use:   "rotate FILE",
		Short: "Add a new key to FILE: old and new sign, until --finish retires the old one",
		Long: `Adds a new key to a file of secret keys. From then on all keys in it sign what is pushed, and FILE.pub.asc holds all public
halves. Push once, so that both sign what the tag names, and give FILE.pub.asc to every host. When all have it, --finish leaves the new key
alone; the old secret halves are added to FILE.retired. A locked key needs MMOCI_SIGN_PASSPHRASE: the new one gets the same passphrase.`,
		Args: cobra.ExactArgs(1),
	}
	cmd.Flags().StringVar(&user, "user-id", "mmoci site key", "user ID of the new key")
	cmd.Flags().BoolVar(&finish, "finish", false, "retire all but the newest key")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		file := args[0]
		public := signer.PublicFile(file)
		if finish {
			retired, err := signer.FinishRotation(cmd.Context(), file)
			if err != nil {
				return err
			}
			a.Log("%s signs with the new key alone; the secret halves that it had before are in %s", file, retired)
		} else {
			if err := signer.Rotate(cmd.Context(), file, user, newPassphrase()); err != nil {
				return err
			}
			a.Log("%s signs with the old and the new key: push, give %s to every host, then: mmoci key rotate --finish %s", file, public, file)
		}
		return showKeys(a, []string{public})
	}
	return cmd
}

// newPassphrase is what a new key is locked with.
func newPassphrase() []byte { return []byte(os.Getenv("MMOCI_SIGN_PASSPHRASE")) }

func newKey(a *command.App, out, user string) error {
	if out == "" {
		return fmt.Errorf("%w: say where to: -o FILE", outcome.ErrUsage)
	}
	fingerprint, err := signer.NewKeyFile(out, user, newPassphrase())
	if err != nil {
		return err
	}
	a.Log("secret half: %s, keep it in CI; public half: %s, give it to every host", out, signer.PublicFile(out))
	fmt.Fprintln(a.Stdout, fingerprint)
	return nil
}

func showKeys(a *command.App, files []string) error {
	ring, err := signer.ReadKeyrings(files...)
	if err != nil {
		for _, f := range files {
			if _, none := os.Stat(signer.PublicFile(f)); none == nil {
				return fmt.Errorf("%w (the public half is in %s)", err, signer.PublicFile(f))
			}
		}
		return err
	}
	now := time.Now()
	for _, fp := range ring.Fingerprints() {
		info, _ := ring.Info(fp, now)
		valid := "no expiry"
		if !info.Expires.IsZero() {
			valid = "valid until " + info.Expires.Format(time.DateOnly)
		}
		if info.AptRefuses != "" {
			valid += "; apt would refuse: " + info.AptRefuses
		}
		fmt.Fprintf(a.Stdout, "%s  %s  %s\n", fp, info.UserID, valid)
	}
	return nil
}
