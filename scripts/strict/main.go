// Command strict says of inputs whether this program takes them, so that scripts/e2e/71-strict.sh
// can hold its verdicts against those of dpkg, dpkg-deb and apt.
//
//	strict version <LINES               each line a version
//	strict deb FILE..                   each file a .deb
//	strict inrelease KEYRING FILE..     each file a clear-signed Release
//
// Each gets a line, its fields separated by tabs: "taken" or "refused", the input, and the SHA256 of
// the .deb's control file, or what is wrong.
package main

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"os"

	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/deb"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "strict:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 1 && args[0] == "version":
		lines := bufio.NewScanner(os.Stdin)
		for lines.Scan() {
			say(lines.Text(), deb.ValidVersion(lines.Text()))
		}
		return lines.Err()
	case len(args) > 1 && args[0] == "deb":
		for _, name := range args[1:] {
			f, err := os.Open(name)
			if err != nil {
				return err
			}
			d, err := deb.ReadDeb(f)
			f.Close()
			if err == nil {
				name += fmt.Sprintf("\t%x", sha256.Sum256(d.Control))
			}
			say(name, err)
		}
		return nil
	case len(args) > 2 && args[0] == "inrelease":
		data, err := os.ReadFile(args[1])
		if err != nil {
			return err
		}
		key, err := pgp.ReadKeyring(data)
		if err != nil {
			return err
		}
		for _, name := range args[2:] {
			data, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			_, _, err = pgp.VerifyClearsigned(data, pgp.Trust{Keyring: key})
			say(name, err)
		}
		return nil
	}
	return fmt.Errorf("want version, deb FILE.. or inrelease KEYRING FILE.., got %q", args)
}

func say(what string, err error) {
	if err != nil {
		fmt.Printf("refused\t%s\t%q\n", what, err)
		return
	}
	fmt.Printf("taken\t%s\n", what)
}
