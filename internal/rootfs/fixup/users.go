package fixup

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Where base-passwd has the lists that every Debian system starts with.
const (
	MasterPasswd = "usr/share/base-passwd/passwd.master"
	MasterGroup  = "usr/share/base-passwd/group.master"
)

// User is a user to be added.
type User struct {
	Name string
	UID  int
	// GID is that of a group of the list; if there is none of it, it is made under
	// the user's name.
	GID   int
	Home  string // "" for /nonexistent
	Shell string // "" for /usr/sbin/nologin
}

// UsersOptions are what the lists of users are made of.
type UsersOptions struct {
	Passwd, Group []byte // base-passwd's master files
	// Shadow keeps passwords in lists of their own, as the scripts of the package
	// passwd arrange it. None of the users has one.
	Shadow bool
	Date   time.Time // of the snapshot; shadow says when a password was changed
	Add    []User
}

const maxUserID = 1<<32 - 2

// Users makes etc/passwd and etc/group, and with Shadow etc/shadow and
// etc/gshadow, as base-passwd and pwconv(8) make them in an empty root, and adds
// users, which have no password.
func Users(o UsersOptions) (*Fix, error) {
	passwd, err := readList(o.Passwd, 7)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", MasterPasswd, err)
	}
	group, err := readList(o.Group, 4)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", MasterGroup, err)
	}
	for _, u := range o.Add {
		if passwd, group, err = addUser(passwd, group, u); err != nil {
			return nil, fmt.Errorf("user %q: %w", u.Name, err)
		}
	}
	f := &Fix{Name: NameUsers, Says: "etc/passwd and etc/group from base-passwd's master files, in place of its scripts"}
	if o.Shadow {
		f.Says = "etc/passwd, etc/group, etc/shadow and etc/gshadow from base-passwd's master files, in place of its scripts and those of passwd"
		shadowGroup := 0
		if i := slices.IndexFunc(group, func(g []string) bool { return g[0] == "shadow" }); i >= 0 {
			shadowGroup, _ = strconv.Atoi(group[i][2])
		}
		day := strconv.FormatInt(o.Date.Unix()/86400, 10)
		var shadow, gshadow [][]string
		for _, p := range passwd {
			shadow = append(shadow, []string{p[0], p[1], day, "0", "99999", "7", "", "", ""})
			p[1] = "x"
		}
		for _, g := range group {
			gshadow = append(gshadow, []string{g[0], g[1], "", g[3]})
			g[1] = "x"
		}
		f.Files = append(f.Files,
			File{Path: "etc/gshadow", Mode: 0o640, GID: shadowGroup, Data: writeList(gshadow)},
			File{Path: "etc/shadow", Mode: 0o640, GID: shadowGroup, Data: writeList(shadow)})
	}
	f.Files = append(f.Files,
		File{Path: "etc/group", Mode: 0o644, Data: writeList(group)},
		File{Path: "etc/passwd", Mode: 0o644, Data: writeList(passwd)})
	slices.SortFunc(f.Files, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	if n := len(o.Add); n > 0 {
		f.Says += fmt.Sprintf(", and %d users of the plan", n)
	}
	return f, nil
}

// AddUsers adds users to lists that are there: files by path, etc/passwd and
// etc/group, and etc/shadow and etc/gshadow if they are there. It returns those
// that changed.
func AddUsers(files map[string][]byte, date time.Time, users []User) (map[string][]byte, error) {
	passwd, err := readList(files["etc/passwd"], 7)
	if err != nil {
		return nil, fmt.Errorf("etc/passwd: %w", err)
	}
	group, err := readList(files["etc/group"], 4)
	if err != nil {
		return nil, fmt.Errorf("etc/group: %w", err)
	}
	out := map[string][]byte{}
	shadow, isShadow := files["etc/shadow"]
	gshadow, isGShadow := files["etc/gshadow"]
	users0, groups0 := len(passwd), len(group)
	for _, u := range users {
		if passwd, group, err = addUser(passwd, group, u); err != nil {
			return nil, fmt.Errorf("user %q: %w", u.Name, err)
		}
	}
	if isShadow {
		for _, p := range passwd[users0:] {
			shadow = fmt.Appendf(slices.Clip(shadow), "%s:*:%d:0:99999:7:::\n", p[0], date.Unix()/86400)
			p[1] = "x"
		}
		out["etc/shadow"] = shadow
	}
	if isGShadow {
		for _, g := range group[groups0:] {
			gshadow = fmt.Appendf(slices.Clip(gshadow), "%s:*::\n", g[0])
			g[1] = "x"
		}
		out["etc/gshadow"] = gshadow
	}
	out["etc/passwd"], out["etc/group"] = writeList(passwd), writeList(group)
	return out, nil
}

// addUser adds a user, and its group if there is none with the number.
func addUser(passwd, group [][]string, u User) ([][]string, [][]string, error) {
	uid, gid := strconv.Itoa(u.UID), strconv.Itoa(u.GID)
	switch {
	case !validUser(u.Name):
		return nil, nil, errors.New("not a name that useradd(8) takes")
	case u.UID < 0 || u.GID < 0 || u.UID > maxUserID || u.GID > maxUserID:
		return nil, nil, fmt.Errorf("ids %s and %s are out of range", uid, gid)
	case has(passwd, 0, u.Name):
		return nil, nil, errors.New("there is a user of this name")
	case has(passwd, 2, uid):
		return nil, nil, fmt.Errorf("there is a user with id %s", uid)
	}
	for _, s := range []string{u.Home, u.Shell} {
		if strings.ContainsAny(s, ":\n") || s != "" && !strings.HasPrefix(s, "/") {
			return nil, nil, fmt.Errorf("%q is no absolute path for a list of users", s)
		}
	}
	if !has(group, 2, gid) {
		if has(group, 0, u.Name) {
			return nil, nil, fmt.Errorf("there is no group with id %s, and one of the user's name with another", gid)
		}
		group = append(group, []string{u.Name, "*", gid, ""})
	}
	return append(passwd, []string{u.Name, "*", uid, gid, "", cmp.Or(u.Home, "/nonexistent"), cmp.Or(u.Shell, "/usr/sbin/nologin")}), group, nil
}

func has(list [][]string, field int, value string) bool {
	return slices.ContainsFunc(list, func(l []string) bool { return l[field] == value })
}

// validUser tells whether useradd(8) of Debian takes a name without asking.
func validUser(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && c != '_' && (i == 0 || (c < '0' || c > '9') && c != '-') {
			return false
		}
	}
	return s != "" && len(s) <= 32
}

// readList reads lines of so many fields with colons between them, as passwd(5)
// and group(5) have.
func readList(text []byte, fields int) ([][]string, error) {
	var list [][]string
	for n, line := range bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n")) {
		f := strings.Split(string(line), ":")
		if len(f) != fields || f[0] == "" {
			return nil, fmt.Errorf("line %d: want a name and %d further fields", n+1, fields-1)
		}
		if _, err := strconv.ParseUint(f[2], 10, 32); err != nil {
			return nil, fmt.Errorf("line %d: id: %w", n+1, err)
		}
		list = append(list, f)
	}
	return list, nil
}

func writeList(list [][]string) []byte {
	var b bytes.Buffer
	for _, l := range list {
		b.WriteString(strings.Join(l, ":"))
		b.WriteByte('\n')
	}
	return b.Bytes()
}
