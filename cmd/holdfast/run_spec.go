package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/holdfast-shim/holdfast/client"
)

// defaultTerm is a terminal that every program knows.
const defaultTerm = "TERM=xterm"

// configure returns the text of config.json and the directory that is to be
// mounted as root file system; an empty one means a new one of busybox, which
// has been made at fresh.
func configure(o *runOptions, fresh string) (config []byte, rootfs string, err error) {
	if o.Bundle != "" {
		return configureBundle(o)
	}
	rootfs = o.Rootfs
	if rootfs == "" {
		rootfs = fresh
	}
	s := client.DefaultSpec(namespace, o.ID, o.Args...)
	s.Hostname = o.ID
	s.Root.Readonly = o.ReadOnly
	s.Linux.CgroupsPath = cgroupsPath(o.ID)
	p := s.Process
	p.Terminal = o.Terminal
	if o.Terminal {
		p.Env = append(p.Env, term())
	}
	p.Env = mergeEnv(p.Env, o.Env)
	if o.Cwd != "" {
		p.Cwd = o.Cwd
	}
	if o.User != "" {
		if p.User, err = lookUpUser(rootfs, o.User); err != nil {
			return nil, "", err
		}
	}
	limit(o, s.Linux.Resources)
	config, err = s.JSON()
	return config, rootfs, err
}

// cgroupsPath has no directory that containers share: the runtime would leave it.
func cgroupsPath(id string) string { return "/" + namespace + "-" + id }

func term() string {
	if t := os.Getenv("TERM"); t != "" {
		return "TERM=" + t
	}
	return defaultTerm
}

// mergeEnv adds the settings of more, which win.
func mergeEnv(env, more []string) []string {
	at := make(map[string]int)
	var merged []string
	for _, kv := range append(env[:len(env):len(env)], more...) {
		k, _, _ := strings.Cut(kv, "=")
		if i, seen := at[k]; seen {
			merged[i] = kv
			continue
		}
		at[k] = len(merged)
		merged = append(merged, kv)
	}
	return merged
}

// limit adds the limits that the flags ask for.
func limit(o *runOptions, r *client.SpecResources) {
	if o.Memory > 0 {
		r.Memory = &client.SpecMemory{Limit: &o.Memory}
	}
	if o.CPUs > 0 {
		period, quota := uint64(cpuPeriod), int64(o.CPUs*cpuPeriod)
		r.CPU = &client.SpecCPU{Period: &period, Quota: &quota}
	}
	if o.Pids > 0 {
		r.Pids = &client.SpecPids{Limit: o.Pids}
	}
}

// object is a JSON object whose fields this tool does not all know.
type object = map[string]any

// configureBundle takes the bundle's config.json as it is, but for what the
// flags say, for paths that are relative to the bundle, and for the terminal,
// which must be what the shim is told.
func configureBundle(o *runOptions) ([]byte, string, error) {
	path := filepath.Join(o.Bundle, "config.json")
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, "", fmt.Errorf("bundle: %w", err)
	}
	var c object
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber() // a limit near 2^63 is not a float
	if err := dec.Decode(&c); err != nil {
		return nil, "", fmt.Errorf("bundle: %s: %w", path, err)
	}
	if c == nil {
		return nil, "", fmt.Errorf("bundle: %s: not an object", path)
	}
	config, rootfs, err := editConfig(c, o)
	if err != nil {
		return nil, "", fmt.Errorf("bundle: %s: %w", path, err)
	}
	return config, rootfs, nil
}

func editConfig(c object, o *runOptions) ([]byte, string, error) {
	root, err := child(c, "root")
	if err != nil {
		return nil, "", err
	}
	rootfs, _ := root["path"].(string)
	if rootfs == "" && o.Rootfs == "" {
		return nil, "", errors.New("no root.path")
	}
	if !filepath.IsAbs(rootfs) {
		rootfs = filepath.Join(o.Bundle, rootfs)
	}
	if o.Rootfs != "" {
		rootfs = o.Rootfs
	}
	root["path"] = "rootfs"
	if o.ReadOnly {
		root["readonly"] = true
	}
	linux, err := child(c, "linux")
	if err != nil {
		return nil, "", err
	}
	if p, _ := linux["cgroupsPath"].(string); p == "" {
		linux["cgroupsPath"] = cgroupsPath(o.ID)
	}
	process, err := child(c, "process")
	if err != nil {
		return nil, "", err
	}
	process["terminal"] = o.Terminal
	if len(o.Args) > 0 {
		process["args"] = o.Args
		delete(process, "commandLine")
	}
	if len(o.Env) > 0 {
		env, err := texts(process["env"])
		if err != nil {
			return nil, "", fmt.Errorf("process.env: %w", err)
		}
		process["env"] = mergeEnv(env, o.Env)
	}
	if o.Cwd != "" {
		process["cwd"] = o.Cwd
	}
	if o.User != "" {
		if process["user"], err = lookUpUser(rootfs, o.User); err != nil {
			return nil, "", err
		}
	}
	if err := limitConfig(linux, o); err != nil {
		return nil, "", err
	}
	if err := absoluteSources(c, o.Bundle); err != nil {
		return nil, "", err
	}
	text, err := json.Marshal(c)
	return text, rootfs, err
}

// limitConfig puts the limits of the flags over the bundle's own.
func limitConfig(linux object, o *runOptions) error {
	var r client.SpecResources
	limit(o, &r)
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	var ours object
	if err := json.Unmarshal(text, &ours); err != nil || len(ours) == 0 {
		return err
	}
	theirs, err := child(linux, "resources")
	if err != nil {
		return err
	}
	for k, v := range ours {
		theirs[k] = v
	}
	return nil
}

// absoluteSources makes the sources of bind mounts, which may be relative to
// their bundle, independent of it.
func absoluteSources(c object, bundle string) error {
	if c["mounts"] == nil {
		return nil
	}
	mounts, ok := c["mounts"].([]any)
	if !ok {
		return errors.New("mounts is not a list")
	}
	for _, m := range mounts {
		mount, ok := m.(object)
		if !ok {
			return errors.New("mounts holds what is not an object")
		}
		source, _ := mount["source"].(string)
		options, err := texts(mount["options"])
		if err != nil {
			return fmt.Errorf("mounts: options: %w", err)
		}
		if source == "" || filepath.IsAbs(source) || !isBind(mount["type"], options) {
			continue
		}
		mount["source"] = filepath.Join(bundle, source)
	}
	return nil
}

func isBind(kind any, options []string) bool {
	if kind == "bind" {
		return true
	}
	for _, o := range options {
		if o == "bind" || o == "rbind" {
			return true
		}
	}
	return false
}

// child is the object at key, which is made when it is not there.
func child(o object, key string) (object, error) {
	switch v := o[key].(type) {
	case nil:
		c := object{}
		o[key] = c
		return c, nil
	case object:
		return v, nil
	}
	return nil, fmt.Errorf("%s is not an object", key)
}

// texts is a list of strings; nothing is an empty one.
func texts(v any) ([]string, error) {
	if v == nil {
		return nil, nil
	}
	list, ok := v.([]any)
	if !ok {
		return nil, errors.New("not a list")
	}
	var all []string
	for _, item := range list {
		s, ok := item.(string)
		if !ok {
			return nil, errors.New("holds what is not a string")
		}
		all = append(all, s)
	}
	return all, nil
}
