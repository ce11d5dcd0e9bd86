package imageplan

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// Format writes a plan as the image.yaml that is read as it: every key that is not its default, in a fixed order, texts as
// JSON writes them. Equal plans give equal texts, whatever form they were written in.
func (p *Plan) Format() []byte {
	var b bytes.Buffer
	line := func(key string, value any) { fmt.Fprintf(&b, "%s: %s\n", key, jsonOf(value)) }
	text := func(key, value string) {
		if value != "" {
			line(key, value)
		}
	}
	list := func(key string, values []string) {
		if len(values) > 0 {
			line(key, values)
		}
	}
	text("name", p.Name)
	text("version", p.Version)
	text("author", p.Author)
	text("ref", p.Ref)
	list("tags", p.Tags)
	text("from", p.From)
	list("arch", p.Architectures)
	b.WriteString("packages:\n")
	for _, q := range p.Packages {
		fmt.Fprintf(&b, "- %s\n", jsonOf(q.Text))
	}
	for i := range p.Embedded {
		fmt.Fprintf(&b, "- %s\n", p.Embedded[i].String())
	}
	if p.Essential {
		b.WriteString("essential: yes\n")
	}
	list("exclude", p.Exclude)
	text("scripts", p.Scripts)
	if len(p.ScriptsFor) > 0 {
		b.WriteString("scripts-for:\n")
		for _, s := range p.ScriptsFor {
			fmt.Fprintf(&b, "  %s: %s\n", jsonOf(s.Package), s.What)
		}
	}
	if len(p.Users) > 0 {
		b.WriteString("users:\n")
		for _, u := range p.Users {
			fmt.Fprintf(&b, "- {name: %s, uid: %d, gid: %d, home: %s, shell: %s}\n", jsonOf(u.Name), u.UID, u.GID, jsonOf(u.Home), jsonOf(u.Shell))
		}
	}
	if len(p.Sync) > 0 {
		b.WriteString("sync:\n")
		for _, s := range p.Sync {
			b.WriteString("- {" + s.format() + "}\n")
		}
	}
	p.Config.format(&b)
	if p.Layers != (Layers{DefaultLayers, Gzip}) {
		fmt.Fprintf(&b, "layers: {max: %d, compression: %s}\n", p.Layers.Max, p.Layers.Compression)
	}
	return b.Bytes()
}

func (s *Sync) format() string {
	dest := s.Dest
	if s.Into && dest != "/" {
		dest += "/"
	}
	text := fmt.Sprintf("src: %s, dest: %s", jsonOf(s.Src), jsonOf(dest))
	if s.Recursive {
		text += ", recursive: yes"
	}
	if s.Mode >= 0 {
		text += fmt.Sprintf(", mode: \"%04o\"", s.Mode)
	}
	if s.UID != 0 || s.GID != 0 {
		text += fmt.Sprintf(", owner: \"%d:%d\"", s.UID, s.GID)
	}
	return text
}

func (c *Config) format(b *bytes.Buffer) {
	var out bytes.Buffer
	line := func(key string, there bool, value any) {
		if there {
			fmt.Fprintf(&out, "  %s: %s\n", key, jsonOf(value))
		}
	}
	line("entrypoint", len(c.Entrypoint) > 0, c.Entrypoint)
	line("command", len(c.Command) > 0, c.Command)
	line("user", c.User != "", c.User)
	line("workdir", c.WorkDir != "", c.WorkDir)
	env := map[string]string{}
	for _, e := range c.Env {
		name, value, _ := strings.Cut(e, "=")
		env[name] = value
	}
	line("env", len(env) > 0, env)
	line("expose", len(c.Ports) > 0, c.Ports)
	line("volumes", len(c.Volumes) > 0, c.Volumes)
	line("stop-signal", c.StopSignal != "", c.StopSignal)
	line("labels", len(c.Labels) > 0, c.Labels)
	if out.Len() > 0 {
		b.WriteString("config:\n")
		b.Write(out.Bytes())
	}
}

// jsonOf is a value as JSON has it, which is YAML as well.
func jsonOf(v any) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return "null" // strings, and lists and maps of them, have no error
	}
	return strings.TrimSuffix(b.String(), "\n")
}
