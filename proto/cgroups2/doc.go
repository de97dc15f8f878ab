// Package cgroups2 owns io.containerd.cgroups.v2.Metrics, the answer of Stats on a
// machine with the unified control groups.
//
// It never reads a file.
package cgroups2
