package main

import (
	"os"

	"github.com/holdfast-shim/holdfast/version"
)

func versionCommand() command {
	return command{
		name:    "version",
		summary: "print the version",
		run: func(args []string) int {
			if len(args) > 0 {
				return trouble("version takes no arguments")
			}
			if err := version.Write(os.Stdout, "holdfast"); err != nil {
				return trouble("version: %v", err)
			}
			return exitOK
		},
	}
}
