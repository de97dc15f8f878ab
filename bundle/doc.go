// Package bundle knows what lies in a container's bundle, the directory that
// containerd makes for one container and that the shim runs in.
//
// It owns the names of the files there, the formats of those the shim writes
// (address, options.json, runtime, exit.json) and the little that the shim
// reads of config.json, and the rule for ids that become parts of file names.
// Writing is atomic: a reader sees the old content, or none, or the new one
// whole. Reading is bounded and refuses what is not a regular file, so that
// nothing found in a bundle can make a reader hang or grow.
//
// It never decides what a missing or broken file means: it says so with an error
// that [errors.Is] can tell ([io/fs.ErrNotExist], [ErrCorrupt]), and the caller
// decides. It never removes a bundle; that is containerd's.
package bundle
