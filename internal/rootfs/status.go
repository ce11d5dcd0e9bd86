package rootfs

import (
	"slices"
	"strings"

	"example.org/mmoci/pkg/deb"
)

// statusFields are the fields that dpkg knows, in the order in which it writes
// them into its status (dpkg, lib/dpkg/parse.c, fieldinfos). All others follow
// in the order of the control file.
var statusFields = []string{
	"Package", "Essential", "Protected", "Status", "Priority", "Section", "Installed-Size", "Origin", "Maintainer", "Bugs",
	"Architecture", "Multi-Arch", "Source", "Version", "Replaces", "Provides", "Depends", "Pre-Depends", "Recommends",
	"Suggests", "Breaks", "Conflicts", "Enhances", "Conffiles", "Description",
}

// neverInControl are fields of dpkg's database alone. In a .deb dpkg refuses
// some and drops the others.
var neverInControl = []string{
	"Status", "Config-Version", "Conffiles", "Filename", "Size", "MD5sum", "MSDOS-Filename", "Revision", "Package-Revision", "Package_Revision",
	"Triggers-Pending", "Triggers-Awaited", "Class", "Recommended", "Optional",
}

// priorities are those that dpkg knows in any letter case.
var priorities = []string{"required", "important", "standard", "optional", "extra"}

// StatusStanza is a package's stanza in dpkg's status once it is installed, byte
// for byte as dpkg writes it, from its control file.
func StatusStanza(control deb.Stanza, conffiles []Conffile) (deb.Stanza, error) {
	for _, f := range neverInControl {
		if control.Get(f) != "" {
			return nil, faulty("control: field %s, which is dpkg's own", f)
		}
	}
	name, version, arch := control.Get("Package"), control.Get("Version"), control.Get("Architecture")
	if !deb.ValidName(name) || !deb.ValidArchitecture(arch) {
		return nil, faulty("control: package %.100q of architecture %.100q", name, arch)
	}
	if _, err := deb.ParseVersion(version); err != nil {
		return nil, faulty("control: %w", err)
	}
	var b strings.Builder
	line := func(field, value string) {
		if value == "" {
			return
		}
		b.WriteString(field)
		b.WriteString(":")
		if value[0] != '\n' {
			b.WriteString(" ")
		}
		b.WriteString(value)
		b.WriteString("\n")
	}
	for _, field := range statusFields {
		value := control.Get(field)
		switch field {
		case "Package":
			value = strings.ToLower(value)
		case "Status":
			value = "install ok installed"
		case "Essential", "Protected":
			if !strings.EqualFold(value, "yes") {
				value = ""
			} else {
				value = "yes"
			}
		case "Multi-Arch":
			if value = strings.ToLower(value); value == "no" {
				value = ""
			}
		case "Priority":
			if i := slices.IndexFunc(priorities, func(p string) bool { return strings.EqualFold(p, value) }); i >= 0 {
				value = priorities[i]
			}
		case "Version":
			value = describeVersion(value)
		case "Replaces", "Provides", "Depends", "Pre-Depends", "Recommends", "Suggests", "Breaks", "Conflicts", "Enhances":
			var err error
			if value, err = describeRelations(value); err != nil {
				return nil, faulty("control: field %s: %w", field, err)
			}
		case "Conffiles":
			value = describeConffiles(conffiles)
		}
		line(field, value)
	}
	for field, value := range control.Fields() {
		if !slices.ContainsFunc(statusFields, func(f string) bool { return strings.EqualFold(f, field) }) {
			line(field, value)
		}
	}
	return deb.Stanza(b.String()), nil
}

// describeVersion is a version as dpkg writes it: without an epoch of zero,
// unless a colon would be taken for the end of one.
func describeVersion(s string) string {
	v, err := deb.ParseVersion(s)
	if err != nil || v.Epoch != 0 || strings.Contains(v.Upstream+v.Revision, ":") {
		return s
	}
	_, rest, ok := strings.Cut(s, ":")
	if !ok {
		return s
	}
	return rest
}

// describeRelations is a relation field as dpkg writes it.
func describeRelations(value string) (string, error) {
	clauses, err := deb.ParseRelations(value, "")
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for i, c := range clauses {
		if i > 0 {
			b.WriteString(", ")
		}
		for k, r := range c {
			if k > 0 {
				b.WriteString(" | ")
			}
			r.Name = strings.ToLower(r.Name)
			r.Version = describeVersion(r.Version)
			b.WriteString(r.String())
		}
	}
	return b.String(), nil
}

// describeConffiles is the field Conffiles: a line for each.
func describeConffiles(conffiles []Conffile) string {
	var b strings.Builder
	for _, c := range conffiles {
		sum := c.MD5
		if sum == "" {
			sum = "newconffile"
		}
		b.WriteString("\n /" + c.Path + " " + sum)
		if c.Obsolete {
			b.WriteString(" obsolete")
		}
		if c.RemoveOnUpgrade {
			b.WriteString(" remove-on-upgrade")
		}
	}
	return b.String()
}
