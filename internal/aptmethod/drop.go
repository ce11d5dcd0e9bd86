package aptmethod

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Drop gives up the rights of root, for good and in all threads, for those of a user and the user's group, and the right to get
// others by a program that is started. apt names the user (APT::Sandbox::User); "" and root stay root, and who is not
// root stays what he is.
func Drop(name string) error {
	if name == "" || name == "root" || os.Geteuid() != 0 {
		return nil
	}
	uid, gid, err := idsOf(name)
	if err != nil {
		return fmt.Errorf("APT::Sandbox::User: %w", err)
	}
	if _, _, errno := syscall.AllThreadsSyscall6(syscall.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); errno != 0 && errno != syscall.ENOTSUP { // a build with cgo cannot
		return fmt.Errorf("APT::Sandbox::User %s: no_new_privs: %w", name, errno)
	}
	if err := errors.Join(syscall.Setgroups([]int{gid}), syscall.Setresgid(gid, gid, gid), syscall.Setresuid(uid, uid, uid)); err != nil {
		return fmt.Errorf("APT::Sandbox::User %s: %w", name, err)
	}
	if os.Getuid() != uid || os.Geteuid() != uid || os.Getgid() != gid || os.Getegid() != gid || uid != 0 && syscall.Setuid(0) == nil {
		return fmt.Errorf("APT::Sandbox::User %s: still root", name)
	}
	return nil
}

func idsOf(name string) (uid, gid int, err error) {
	u, err := user.Lookup(name)
	if err != nil {
		return 0, 0, err
	}
	if uid, err = strconv.Atoi(u.Uid); err == nil {
		gid, err = strconv.Atoi(u.Gid)
	}
	return uid, gid, err
}
