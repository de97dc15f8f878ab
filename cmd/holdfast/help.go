package main

import (
	"fmt"
	"io"
	"os"
)

func helpCommand() command {
	return command{
		name:    "help",
		summary: "tell how the tool or a command is used",
		usage:   "[COMMAND]",
		run: func(args []string) int {
			if len(args) == 0 {
				writeHelp(os.Stdout)
				return exitOK
			}
			for _, c := range commands() {
				if c.name != args[0] {
					continue
				}
				fmt.Printf("usage: holdfast %s %s\n\n%s.\n", c.name, c.usage, c.summary)
				if c.name == "run" {
					fmt.Print("\n", runHelp())
				}
				return exitOK
			}
			return trouble("unknown command %q: holdfast help lists them", args[0])
		},
	}
}

func writeHelp(w io.Writer) {
	fmt.Fprint(w, "holdfast runs containers through the shim containerd-shim-holdfast-v2.\n\nusage: holdfast COMMAND\n\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-9s %s\n", c.name, c.summary)
	}
}
