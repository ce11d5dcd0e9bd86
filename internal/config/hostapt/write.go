package hostapt

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/config/document"
)

func (w *aptWriter) reasons() string {
	if len(w.left) == 0 {
		return ""
	}
	return " (" + strings.Join(w.left, "; ") + ")"
}

func (w *aptWriter) yaml() []byte {
	var b bytes.Buffer
	b.WriteString(`# What "mmoci push" reads, chooses and signs. Paths are relative to this file.
ref: ` + quote("registry.invalid/site/mirror:"+w.tag()) + ` # where to push: put your registry here
sign: {key: keys/site.asc}         # mmoci key new -o keys/site.asc
trust: [keys/site.pub.asc]         # whose snapshots pull and verify believe
# What is wanted, of whichever archive apt would take it from: the best pin, then the highest version.
`)
	if len(w.packages) > 0 {
		b.WriteString("packages: " + quoteList(withoutDoubles(w.packages)) + "\n")
	} else {
		b.WriteString("# packages: [NAME, \"NAME (>= VERSION)\"] # name some: a push that asks for nothing is refused\n")
	}
	b.WriteString("archives:\n")
	for _, a := range w.archives {
		a.write(&b, len(w.packages) > 0)
	}
	for _, l := range w.left {
		b.WriteString(comment("left out: " + l))
	}
	b.WriteString("# serve: {listen: \"127.0.0.1:8000\"}\n")
	return b.Bytes()
}

// tag is the name of the first suite, as far as it can be a tag.
func (w *aptWriter) tag() string {
	s := w.archives[0].Suites[0]
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
		return "latest"
	}
	return s
}

// write writes one archive. Where nothing is asked for over all of them, each must say what it gives.
func (a *foundArchive) write(b *bytes.Buffer, common bool) {
	for _, r := range append([]string{"from " + a.file}, a.remarks...) {
		b.WriteString(comment(r))
	}
	line := func(key, value string) { fmt.Fprintf(b, "  %s: %s\n", key, value) }
	fmt.Fprintf(b, "- prefix: %s\n", quote(a.Prefix))
	line("mode", "curated")
	line("url", quote(a.URLs[0]))
	line("suites", quoteList(a.Suites))
	if len(a.Components) > 0 {
		line("components", quoteList(a.Components))
	}
	line("architectures", quoteList(a.Architectures))
	if a.SignedBy != "" {
		line("signed-by", quote(a.SignedBy))
	}
	if !a.CheckValidUntil {
		line("check-valid-until", "no")
	}
	if a.WithSources {
		line("with-sources", "yes")
	}
	if !common {
		line("packages", "none # only what packages: at the top and the closure draw from here")
	}
}

func withoutDoubles(list []string) []string {
	var out []string
	config.AddMissing(&out, list)
	return out
}

// comment is one line of a comment.
func comment(s string) string {
	return "# " + document.OneLine(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return ' '
		}
		return r
	}, s)) + "\n"
}

func quoteList(list []string) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = quote(s)
	}
	return "[" + strings.Join(out, ", ") + "]"
}

// quote writes a scalar: plain where that is safe, else in double quotes,
// whose escapes are those of JSON and so of Go's for the characters that can occur.
func quote(s string) string {
	plain := s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-./:_") == "" && !strings.HasSuffix(s, ":")
	first := plain && (s[0] >= 'a' && s[0] <= 'z' || s[0] >= 'A' && s[0] <= 'Z' || s[0] == '/' || strings.HasPrefix(s, "./"))
	switch strings.ToLower(s) {
	case "y", "n", "yes", "no", "true", "false", "on", "off", "null", "none", "all":
		first = false
	}
	if first {
		return s
	}
	return strconv.Quote(s)
}
