package account

import (
	"slices"
	"testing"
)

// The texts are those of debhelper 13's autoscripts, and what people write.
const (
	head  = "#!/bin/sh\nset -e\n"
	block = "# Automatically added by dh_installdeb/13.11.4\n"
	end   = "# End automatically added section\n"
)

func TestIsNoOp(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want bool
	}{
		"empty":           {"#!/bin/sh\n", true},
		"frame":           {head + "\n# nothing\nexit 0\n", true},
		"rm_conffile":     {head + block + "dpkg-maintscript-helper rm_conffile /etc/x.conf 1.2-3~ -- \"$@\"\n" + end, true},
		"with package":    {head + block + "dpkg-maintscript-helper symlink_to_dir /usr/share/doc/x y 1.2-3~ x -- \"$@\"\n" + end, true},
		"ldconfig":        {head + "if [ \"$1\" = \"configure\" ]; then\n\tldconfig\nfi\n", true},
		"systemd":         {head + "if [ \"$1\" = \"configure\" ]; then\n\tdeb-systemd-helper enable x\nfi\n", false},
		"no shell":        {"#!/usr/bin/perl\n", false},
		"no first line":   {"exit 0\n", false},
		"substitution":    {head + "dpkg-maintscript-helper rm_conffile /etc/$(touch${IFS}/x) 1 -- \"$@\"\n", false},
		"second command":  {head + "dpkg-maintscript-helper rm_conffile /etc/x 1 -- \"$@\"; touch /x\n", false},
		"continued":       {head + "dpkg-maintscript-helper rm_conffile /etc/x 1 -- \"$@\" \\\n  # \n", false},
		"in a comment":    {head + "# Automatically added by dh_installdeb\ntouch /x\n" + end, false},
		"other helper":    {head + "dpkg-maintscript-helper finish_dir_to_symlink /a b -- \"$@\"\n", false},
		"half of a block": {head + "if [ \"$1\" = \"configure\" ]; then\n\tldconfig\n", false},
		"exit 1":          {head + "exit 1\n", false},
		"hash in a word":  {head + "a=b # c\n", false},
	} {
		if got := IsNoOp("postinst", []byte(c.text)); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if IsNoOp("postrm", []byte(head)) {
		t.Error("a script for removals is called a no-op of an installation")
	}
}

func TestPackage(t *testing.T) {
	scripts := map[string][]byte{"postinst": []byte("#!/bin/sh\nuseradd x\n"), "preinst": []byte(head), "prerm": []byte(head)}
	got := Package("x", "1", scripts, NotRun)
	want := []Line{{"x", "1", "preinst", NoOp, ""}, {"x", "1", "postinst", NotRun, ""}, {"x", "1", "prerm", Later, ""}}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := Package("x", "1", nil, Ran); !slices.Equal(got, []Line{{"x", "1", "-", None, ""}}) {
		t.Errorf("%v", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("x\t1\tpostinst\tran\t\ny\t1\t-\tnone\tdetail\n")
	f.Fuzz(func(t *testing.T, text string) {
		lines, err := Parse([]byte(text))
		if err == nil && len(lines) > 0 && string(Encode(lines)) != text && string(Encode(lines)) != text+"\n" {
			t.Errorf("%q is read and written as %q", text, Encode(lines))
		}
	})
}

func FuzzIsNoOp(f *testing.F) {
	f.Add(head + block + end)
	f.Fuzz(func(_ *testing.T, text string) { IsNoOp("postinst", []byte(text)) })
}

// Whatever names of files and scripts hold, what is written is read, and has no control character.
func TestEncode(t *testing.T) {
	lines := []Line{
		{Package: "a", Version: "1", Script: "postinst", What: NotRun, Detail: "blocks of dh\tx\n\x1b[2J\x7f\u0085 and \xff"},
		File(Capabilities, "usr/bin/ping", "layers have none"),
		File(Cleaned, "srv/\r\tname", "a log"),
	}
	text := Encode(lines)
	got, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	lines[0].Detail = `blocks of dh\u0009x\u000a\u001b[2J\u007f\u0085 and \xff`
	lines[2].Detail = `/srv/\u000d\u0009name: a log`
	if !slices.Equal(got, lines) {
		t.Errorf("%q", got)
	}
	if _, err := Parse([]byte("a\t1\tpostinst\tran\t\x1b[2J\n")); err == nil {
		t.Error("an escape of terminals is taken")
	}
}
