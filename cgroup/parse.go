package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// errLine is what is wrong with a line that is not of the form its file has.
var errLine = errors.New("malformed line")

// number reads a counter. Some of the kernel's can be below zero for a moment; that
// counts as zero.
func number(b []byte) (uint64, error) {
	n, err := strconv.ParseUint(string(b), 10, 64)
	if err != nil && len(b) > 1 && b[0] == '-' {
		if _, nerr := strconv.ParseUint(string(b[1:]), 10, 64); nerr == nil || errors.Is(nerr, strconv.ErrRange) {
			return 0, nil
		}
	}
	return n, err
}

// parseFlat reads a flat keyed file, lines of "key value" (memory.stat), and calls
// set for each. The key is good for the time of the call.
func parseFlat(b []byte, set func(key []byte, value uint64)) error {
	for line := range bytes.Lines(b) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			continue
		}
		key, value, ok := bytes.Cut(line, []byte{' '})
		if !ok {
			return fmt.Errorf("%q: %w", line, errLine)
		}
		n, err := number(value)
		if err != nil {
			return fmt.Errorf("%q: %w", line, errLine)
		}
		set(key, n)
	}
	return nil
}

// parseWords calls each for the words of each line that has any. They are good for
// the time of the call.
func parseWords(b []byte, each func(words [][]byte) error) error {
	var words [][]byte
	for line := range bytes.Lines(b) {
		words = words[:0]
		for w := range bytes.FieldsSeq(line) {
			words = append(words, w)
		}
		if len(words) == 0 {
			continue
		}
		if err := each(words); err != nil {
			return fmt.Errorf("%q: %w", bytes.TrimSpace(line), err)
		}
	}
	return nil
}

// pair parts a word of a nested keyed file, "key=value".
func pair(word []byte) (key, value []byte, ok bool) {
	return bytes.Cut(word, []byte{'='})
}

// device is a block device's number.
type device struct {
	major, minor uint64
}

// parseDevice reads "8:16".
func parseDevice(b []byte) (device, bool) {
	major, minor, ok := bytes.Cut(b, []byte{':'})
	if !ok {
		return device{}, false
	}
	a, err := strconv.ParseUint(string(major), 10, 32)
	if err != nil {
		return device{}, false
	}
	i, err := strconv.ParseUint(string(minor), 10, 32)
	if err != nil {
		return device{}, false
	}
	return device{a, i}, true
}

// parsePartitions reads /proc/partitions: the names of block devices in /dev. Of a
// device with two names the first counts.
func parsePartitions(b []byte) (map[device]string, error) {
	names := make(map[device]string)
	header := true
	err := parseWords(b, func(words [][]byte) error {
		if header {
			header = false
			return nil
		}
		if len(words) < 4 {
			return errLine
		}
		major, err := strconv.ParseUint(string(words[0]), 10, 32)
		if err != nil {
			return errLine
		}
		minor, err := strconv.ParseUint(string(words[1]), 10, 32)
		if err != nil {
			return errLine
		}
		d := device{major, minor}
		if _, dup := names[d]; !dup {
			names[d] = "/dev/" + string(words[3])
		}
		return nil
	})
	return names, err
}
