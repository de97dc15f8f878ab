// Package cgroups1 owns io.containerd.cgroups.v1.Metrics, the answer of Stats on a
// machine with the first version of control groups.
//
// It never reads a file.
package cgroups1
