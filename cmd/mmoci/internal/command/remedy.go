package command

import (
	"cmp"
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"example.org/mmoci/internal/host"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

const insist = "--replace-unverified with --date replaces it and takes nothing from it"

// remedies are the words of each remedy; what they name is as [outcome.Remedy] says.
var remedies = map[outcome.Remedy]string{
	outcome.AcceptKey:         "compare it with what its owner says; --accept-key %s takes it",
	outcome.AllowEmpty:        "name some in packages: at the top, or say --allow-empty",
	outcome.AllowOlder:        "--allow-older insists",
	outcome.AllowOlderSuite:   "--allow-older %s insists",
	outcome.ChooseDate:        "--date auto takes it",
	outcome.CopyInstead:       "without --link it is copied",
	outcome.EarlierKey:        "if it was pushed under an earlier key of the site, add that key's public half to trust: in mmoci.yaml; else somebody else put it there: " + insist,
	outcome.GiveAKey:          "name the site's key (--keyring FILE or trust: in mmoci.yaml), an upstream's (--keyring PREFIX=FILE; prefixes: %s), or pin it by digest (%s@%s)",
	outcome.GiveDate:          "--date 2026-11-21T00:00:00Z gives one",
	outcome.GiveLock:          "--lock FILE names it",
	outcome.GiveSiteKey:       "name its key (trust: in mmoci.yaml, or --keyring FILE)",
	outcome.GiveSigningKey:    "give --sign-key FILE or sign: in mmoci.yaml",
	outcome.GiveUpstreamKey:   "--keyring %s=FILE",
	outcome.KeepSome:          "--keep-last, --keep-daily, --keep-weekly, --keep-monthly or --min-age",
	outcome.MakeAnew:          "mmoci image build --no-cache makes every layer anew",
	outcome.NameKeyring:       "signed-by: in mmoci.yaml, or --keyring FILE beside --url, names upstream's (Debian's is /usr/share/keyrings/debian-archive-keyring.gpg)",
	outcome.PushUnsigned:      "give --sign-key FILE or sign: in mmoci.yaml (mmoci key new -o FILE makes one), or --insecure-unsigned",
	outcome.PushWhole:         "--yes pushes them (or take less: drop:, components, mode: curated)",
	outcome.Redate:            "--redate makes one of this content, of curated archives; --allow-older insists",
	outcome.Repair:            "mmoci push --repair heals it",
	outcome.RepairOrReplace:   "--repair puts the same snapshot again; " + insist,
	outcome.Replace:           insist,
	outcome.ReplaceOrSameDate: "if it is the same but for its date, the tag NAME-DATE-HEX that names %s tells that for --date; " + insist,
	outcome.TellAgain:         "the same command runs --hook again",
	outcome.UpdateLock:        "mmoci lock --update takes that over",
}

// remediesOf are the words for errors of libraries that know no remedies; the first that matches counts.
var remediesOf = []struct {
	err   error
	words string
}{
	{artifact.ErrPlainHTTP, "--plain-http allows it"},
	{artifact.ErrUnreachable, "mmoci doctor REF tells what is in the way"},
	{artifact.ErrUnknownCA, "--ca-file FILE does so for one command"},
	{snapshot.ErrNewer, ""}, // its own words
	{artifact.ErrNotOurs, "this command reads snapshots; mmoci copy, verify and tag take images, too"},
	{artifact.ErrPackage, "want HOST/REPO:TAG, oci:DIR or oci-archive:FILE"},
	{host.ErrNotRoot, "run it as root (sudo mmoci ..), or for a directory (--root DIR)"},
}

// WithRemedy is the text of an error of a command with what helps against it. It is the
// one place that names flags for errors of libraries.
func WithRemedy(err error, command string) string {
	text, words := err.Error(), ""
	if r, args := outcome.RemedyOf(err); r != "" {
		for i, arg := range args {
			if list, ok := arg.([]string); ok { // a flag that is repeated
				args[i] = strings.Join(list, " --accept-key ")
			}
		}
		words = fmt.Sprintf(remedies[r], args...)
	}
	for _, r := range remediesOf {
		if errors.Is(err, r.err) {
			words = cmp.Or(words, r.words)
			break
		}
	}
	if missing, ok := errors.AsType[*host.MissingKeyError](err); ok {
		words = "--keyring FILE or trust: in mmoci.yaml; --upstream needs none"
		if missing.Prefix != "" {
			words = fmt.Sprintf("--keyring %s=FILE", missing.Prefix)
		}
	}
	if errors.Is(err, artifact.ErrPackage) && command == "mmoci pull" {
		words = "did you mean mmoci pull --extract?"
	}
	if words == "" && errors.Is(err, host.ErrDpkg) && errors.Is(err, exec.ErrNotFound) {
		words = "mmoci pull --extract leaves the .debs to other means"
	}
	switch {
	case words == "":
		return text
	case strings.Contains(text, "\n"):
		return text + "\n" + words
	}
	return text + "; " + words
}
