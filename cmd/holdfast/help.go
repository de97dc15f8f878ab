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
				c.writeHelp(os.Stdout)
				return exitOK
			}
			return trouble("unknown command %q: holdfast help lists them", args[0])
		},
	}
}

func (c command) writeHelp(w io.Writer) {
	fmt.Fprintf(w, "usage: holdfast %s %s\n\n%s.\n", c.name, c.usage, c.summary)
	if c.flags != nil {
		fmt.Fprintln(w, "\nFlags, with one dash or two:")
		f := c.flags()
		f.SetOutput(w)
		f.PrintDefaults()
	}
	if c.notes != "" {
		fmt.Fprint(w, "\n", c.notes)
	}
}

func writeHelp(w io.Writer) {
	fmt.Fprint(w, "holdfast runs containers through the shim containerd-shim-holdfast-v2, and shows those of a node.\n\nusage: holdfast COMMAND\n\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-9s %s\n", c.name, c.summary)
	}
}
