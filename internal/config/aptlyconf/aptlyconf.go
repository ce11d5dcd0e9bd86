// Package aptlyconf reads an aptly.conf for what of it changes which packages a mirror holds.
//
// Both forms of aptly 1.6 are read: JSON, in which lines may be comments, and YAML. Keys that say how aptly
// works (where, how fast, published to what) mean nothing here and are taken without a word; what
// would change the result and cannot be honoured is refused; so are keys that aptly does not know and drops silently.
package aptlyconf

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"example.org/mmoci/internal/config/document"
)

// Conf is what an aptly.conf asks for.
type Conf struct {
	// Architectures are nil if it does not say.
	Architectures []string
	// Sources takes the source packages of what is chosen.
	Sources bool
	// Recommends is where it asks for Recommends; zero if it does not.
	Recommends document.Position
}

// known maps the keys of the JSON form to those of the YAML form: the ones that aptly's code reads, then the ones that
// its sample file spells otherwise.
func known() map[string][]string {
	return map[string][]string{
		"architectures":               {"architectures"},
		"dependencyFollowSuggests":    {"dep_follow_suggests"},
		"dependencyFollowRecommends":  {"dep_follow_recommends"},
		"dependencyFollowAllVariants": {"dep_follow_all_variants", "dep_follow_allvariants"},
		"dependencyFollowSource":      {"dep_follow_source"},
		"downloadSourcePackages":      {"download_sourcepackages"},
		"gpgKeys":                     {"gpg_keys"},

		"rootDir":                    {"root_dir"},
		"logLevel":                   {"log_level"},
		"logFormat":                  {"log_format"},
		"databaseOpenAttempts":       {"database_open_attempts"},
		"databaseBackend":            {"database_backend"},
		"skipLegacyPool":             {"skip_legacy_pool"},
		"dependencyVerboseResolve":   {"dep_verboseresolve", "dep_verbose_resolve"},
		"ppaDistributorID":           {"ppa_distributor_id"},
		"ppaCodename":                {"ppa_codename"},
		"ppaBaseURL":                 {"ppa_baseurl"},
		"serveInAPIMode":             {"serve_in_api_mode"},
		"enableMetricsEndpoint":      {"enable_metrics_endpoint"},
		"enableSwaggerEndpoint":      {"enable_swagger_endpoint"},
		"AsyncAPI":                   {"async_api"},
		"downloader":                 {"downloader"},
		"downloadConcurrency":        {"download_concurrency"},
		"downloadSpeedLimit":         {"download_limit"},
		"downloadRetries":            {"download_retries"},
		"gpgProvider":                {"gpg_provider"},
		"gpgDisableSign":             {"gpg_disable_sign"},
		"gpgDisableVerify":           {"gpg_disable_verify"},
		"skipContentsPublishing":     {"skip_contents_publishing"},
		"skipBz2Publishing":          {"skip_bz2_publishing"},
		"FileSystemPublishEndpoints": {"filesystem_publish_endpoints"},
		"S3PublishEndpoints":         {"s3_publish_endpoints"},
		"SwiftPublishEndpoints":      {"swift_publish_endpoints"},
		"AzurePublishEndpoints":      {"azure_publish_endpoints"},
		"packagePoolStorage":         {"packagepool_storage"},
	}
}

// setting is a key with its value: of the YAML form a node, else what JSON holds.
type setting struct {
	key  string // as it is written
	name string // of the JSON form
	at   document.Position
	node *document.Node
	json any
}

func (s setting) errorf(format string, args ...any) error {
	return document.Errorf(s.at, "aptly configuration: "+s.key+" "+format, args...)
}

func (s setting) flag() (bool, error) {
	if s.node != nil && s.node.IsNull() || s.node == nil && s.json == nil {
		return false, nil
	}
	if s.node != nil {
		if v, err := s.node.Flag(); err == nil {
			return v, nil
		}
	} else if v, ok := s.json.(bool); ok {
		return v, nil
	}
	return false, s.errorf("should be true or false")
}

// texts is a list; given tells one without a value.
func (s setting) texts() (list []string, given bool, err error) {
	wrong := s.errorf("should be a list of words")
	if s.node == nil {
		items, ok := s.json.([]any)
		if !ok {
			return nil, s.json != nil, orNil(s.json != nil, wrong)
		}
		for _, item := range items {
			text, ok := item.(string)
			if !ok {
				return nil, true, wrong
			}
			list = append(list, text)
		}
		return list, true, nil
	}
	if s.node.IsNull() {
		return nil, false, nil
	}
	if s.node.IsEmptyList() {
		return nil, true, nil
	}
	if list, err = s.node.Texts(); err != nil {
		return nil, true, wrong
	}
	return list, true, nil
}

func orNil(is bool, err error) error {
	if is {
		return err
	}
	return nil
}

// Parse reads an aptly.conf whose first line is at a position: a file, or a text in one. All that is wrong with it is
// told at once; valid says why a name is no architecture.
func Parse(at document.Position, data []byte, valid func(architecture string) error) (Conf, error) {
	// With the lines before it, whoever reads it counts right.
	data = append(bytes.Repeat([]byte("\n"), max(0, at.Line-1)), document.Normalise(data)...)
	var c Conf
	var faults document.Faults
	settings, err := read(at.File, data)
	faults.Add(err)
	var follow setting // dependencyFollowSource
	for _, s := range settings {
		switch s.name {
		case "architectures":
			faults.Add(c.architectures(s, valid))
		case "downloadSourcePackages":
			on, err := s.flag()
			c.Sources = c.Sources || on
			faults.Add(err)
		case "dependencyFollowRecommends":
			on, err := s.flag()
			if on {
				c.Recommends = s.at
			}
			faults.Add(err)
		case "dependencyFollowSource":
			on, err := s.flag()
			if on {
				follow = s
			}
			faults.Add(err)
		case "dependencyFollowSuggests", "dependencyFollowAllVariants":
			on, err := s.flag()
			if on {
				err = s.errorf("is not supported; set it to false and name the packages in the list")
			}
			faults.Add(err)
		case "gpgKeys":
			keys, _, err := s.texts()
			if err == nil && len(keys) > 0 {
				err = s.errorf("names keys of a GnuPG keyring, which is not read; remove it and give the file of the secret key (RELEASE_SIGN_KEY_PATH, or sign: in mmoci.yaml)")
			}
			faults.Add(err)
		}
	}
	if follow.name != "" && !c.Sources {
		faults.Add(follow.errorf("follows to source packages, of which there are none; set downloadSourcePackages, which takes those of what is chosen"))
	}
	return c, faults.Err()
}

func (c *Conf) architectures(s setting, valid func(string) error) error {
	list, given, err := s.texts()
	if err != nil || !given {
		return err
	}
	var faults document.Faults
	for _, a := range list {
		if a == "source" {
			c.Sources = true
			continue
		}
		c.Architectures = append(c.Architectures, a)
		if err := valid(a); err != nil {
			faults.Add(document.Errorf(s.at, "aptly configuration: architectures: %q %w", fmt.Sprintf("%.40s", a), err))
		}
	}
	if len(c.Architectures) == 0 && len(list) == 0 {
		faults.Add(s.errorf("is empty, which to aptly means every architecture of upstream's; name those of the hosts, or remove the key (amd64)"))
	}
	return faults.Err()
}

// read gives the settings of either form, and what is wrong with the keys.
func read(file string, data []byte) ([]setting, error) {
	if trimmed := bytes.TrimSpace(withoutComments(data)); len(trimmed) > 0 && trimmed[0] == '{' {
		return readJSON(file, data)
	}
	docs, err := document.Parse(file, data)
	if err != nil {
		return nil, err
	}
	if len(docs) == 0 {
		return nil, nil
	}
	pairs, err := docs[0].Pairs()
	if err != nil && pairs == nil {
		at := docs[0].At()
		return nil, document.Errorf(at, "aptly configuration: not JSON, and not YAML with keys")
	}
	var faults document.Faults
	faults.Add(err)
	if len(docs) > 1 {
		faults.Add(docs[1].Errorf("aptly configuration: a second document begins here, which aptly does not read; remove it"))
	}
	names := map[string]string{}
	for name, spellings := range known() {
		for _, s := range spellings {
			names[s] = name
		}
	}
	var out []setting
	for _, p := range pairs {
		s := setting{key: p.Key, name: names[p.Key], at: p.KeyAt(), node: &p.Node}
		if s.name == "" {
			faults.Add(unknown(s, document.SortedKeys(names)))
			continue
		}
		out = append(out, s)
	}
	return out, faults.Err()
}

// unknown is the error of a key that aptly does not know.
func unknown(s setting, keys []string) error {
	key := fmt.Sprintf("%.60s", document.OneLine(s.key))
	lower := map[string]string{}
	for _, k := range keys {
		lower[strings.ToLower(k)] = k
	}
	for _, word := range []string{s.key, strings.ReplaceAll(s.key, "-", "_")} {
		if near := document.Nearest(word, document.SortedKeys(lower)); near != "" {
			return document.Errorf(s.at, "aptly configuration: unknown key %q; did you mean %q?", key, lower[near])
		}
	}
	return document.Errorf(s.at, "aptly configuration: unknown key %q, which aptly would ignore; remove it", key)
}

// readJSON reads the JSON form: an object. Its keys are those of Go's encoding/json, in capitals or not.
func readJSON(file string, data []byte) ([]setting, error) {
	clean := withoutComments(data)
	lineAt := func(offset int64) document.Position {
		return document.At(file, 1+bytes.Count(data[:min(max(offset, 0), int64(len(data)))], []byte("\n")))
	}
	notJSON := func(offset int64) error {
		return document.Errorf(lineAt(offset), "aptly configuration: not JSON from here on")
	}
	lower := map[string]string{}
	for name := range known() {
		lower[strings.ToLower(name)] = name
	}
	dec := json.NewDecoder(bytes.NewReader(clean))
	if _, err := dec.Token(); err != nil {
		return nil, notJSON(dec.InputOffset())
	}
	var out []setting
	var faults document.Faults
	first := map[string]document.Position{}
	for dec.More() {
		token, err := dec.Token()
		key, ok := token.(string)
		if err != nil || !ok {
			faults.Add(notJSON(offsetOf(err, dec)))
			return out, faults.Err()
		}
		s := setting{key: key, name: lower[strings.ToLower(key)], at: lineAt(dec.InputOffset())}
		if err := dec.Decode(&s.json); err != nil {
			faults.Add(notJSON(offsetOf(err, dec)))
			return out, faults.Err()
		}
		switch was, twice := first[s.name]; {
		case s.name == "":
			faults.Add(unknown(s, document.SortedKeys(known())))
		case twice:
			faults.Add(s.errorf("stands twice, first in line %d; keep one", was.Line))
		default:
			first[s.name] = s.at
			out = append(out, s)
		}
	}
	if _, err := dec.Token(); err != nil {
		faults.Add(notJSON(offsetOf(err, dec)))
	} else if rest := clean[dec.InputOffset():]; len(bytes.TrimSpace(rest)) > 0 {
		faults.Add(document.Errorf(lineAt(int64(len(clean)-len(bytes.TrimLeft(rest, " \t\n")))), "aptly configuration: text after the closing brace, which aptly does not read; remove it"))
	}
	return out, faults.Err()
}

// offsetOf is where a decoder met an error.
func offsetOf(err error, dec *json.Decoder) int64 {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return max(syntax.Offset-1, dec.InputOffset())
	}
	return dec.InputOffset()
}

// withoutComments puts blanks in place of comments ("//" and "#" to the end of a line, outside of strings) and of commas
// before a closing bracket, which aptly's reader allows, so that every other byte keeps its place.
func withoutComments(data []byte) []byte {
	out := slices.Clone(data)
	comma := -1 // the last one, if only blanks follow it
	for i := 0; i < len(out); i++ {
		switch c := out[i]; {
		case c == '"':
			for i++; i < len(out) && out[i] != '"' && out[i] != '\n'; i++ {
				if out[i] == '\\' {
					i++
				}
			}
			comma = -1
		case c == '#', c == '/' && i+1 < len(out) && out[i+1] == '/':
			for ; i < len(out) && out[i] != '\n'; i++ {
				out[i] = ' '
			}
		case c == ',':
			comma = i
		case c == '}' || c == ']':
			if comma >= 0 {
				out[comma] = ' '
			}
			comma = -1
		case c != ' ' && c != '\t' && c != '\n' && c != '\r':
			comma = -1
		}
	}
	return out
}
