package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/holdfast-shim/holdfast/client"
)

// lookUpUser turns USER[:GROUP] into ids. Names are looked up in the container's
// own files; a user without a group gets the group that the files give, or 0.
func lookUpUser(rootfs, text string) (client.SpecUser, error) {
	user, group, hasGroup := strings.Cut(text, ":")
	var u client.SpecUser
	if user == "" || hasGroup && group == "" {
		return u, fmt.Errorf("user %q: must be USER or USER:GROUP", text)
	}
	entry, err := findEntry(rootfs, "etc/passwd", user, passwdFields)
	if err != nil {
		return u, fmt.Errorf("user %q: %w", user, err)
	}
	switch id, isNumber := parseID(user); {
	case isNumber:
		u.UID = id
	case entry == nil:
		return u, fmt.Errorf("user %q: not in the container's /etc/passwd", user)
	default:
		if u.UID, isNumber = parseID(entry[2]); !isNumber {
			return u, fmt.Errorf("user %q: id %q in the container's /etc/passwd", user, entry[2])
		}
	}
	if !hasGroup {
		if entry != nil {
			u.GID, _ = parseID(entry[3])
		}
		return u, nil
	}
	id, isNumber := parseID(group)
	if isNumber {
		u.GID = id
		return u, nil
	}
	entry, err = findEntry(rootfs, "etc/group", group, groupFields)
	if err != nil {
		return u, fmt.Errorf("group %q: %w", group, err)
	}
	if entry == nil {
		return u, fmt.Errorf("group %q: not in the container's /etc/group", group)
	}
	if u.GID, isNumber = parseID(entry[2]); !isNumber {
		return u, fmt.Errorf("group %q: id %q in the container's /etc/group", group, entry[2])
	}
	return u, nil
}

// The least numbers of fields that are of use here.
const (
	passwdFields = 4 // name, password, uid, gid
	groupFields  = 3 // name, password, gid
)

// parseID reads a user's or group's number. The highest is no id: it means none.
func parseID(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil && uint32(n) != ^uint32(0)
}

// findEntry returns the fields of the line whose name or third field is who, or
// nil. The file is opened inside the rootfs: a link in there cannot lead to the
// host's.
func findEntry(rootfs, file, who string, fields int) ([]string, error) {
	root, err := os.OpenRoot(rootfs)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, err := root.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return matchEntry(f, who, fields)
}

func matchEntry(r io.Reader, who string, fields int) ([]string, error) {
	sc := bufio.NewScanner(r)
	for sc.Scan() {
		entry := strings.Split(sc.Text(), ":")
		if len(entry) < fields {
			continue
		}
		if entry[0] == who || entry[2] == who {
			return entry, nil
		}
	}
	return nil, sc.Err()
}
