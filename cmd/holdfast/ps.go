package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-shim/holdfast/client"
)

// psOptions are the flags of `holdfast ps`.
type psOptions struct {
	choice
	JSON bool
}

func psCommand() command {
	return command{
		name:    "ps",
		summary: "list the node's containers and what their shims take",
		usage:   "[FLAGS]",
		flags:   func() *flag.FlagSet { return psFlagSet(&psOptions{}) },
		notes: `Every shim is asked, whichever kind it is and whichever containerd it belongs to;
nothing is taken from the daemon. MEMORY is anonymous memory: what a shim adds to the
node. In STATUS, "no shim" is a container whose shim has died, "no task" one that its
shim does not have, and "no answer" one whose shim has not answered in time.
`,
		run: psMain,
	}
}

func psFlagSet(o *psOptions) *flag.FlagSet {
	f := flag.NewFlagSet("ps", flag.ContinueOnError)
	o.bind(f)
	f.BoolVar(&o.JSON, "json", false, "print a JSON array, with all there is to know")
	return f
}

func psMain(args []string) int {
	var o psOptions
	f := psFlagSet(&o)
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		return helpCommand().run([]string{"ps"})
	} else if err != nil {
		return trouble("ps: %v", err)
	}
	if f.NArg() > 0 {
		return trouble("ps: takes no arguments, only flags: %q", f.Args())
	}
	if os.Geteuid() != 0 {
		return trouble("ps: must be root")
	}
	bundles, err := o.bundles()
	if err != nil {
		return trouble("ps: %v", err)
	}
	sights := lookAtAll(bundles, o.Patience)
	if o.JSON {
		err = writeJSON(os.Stdout, sights)
	} else {
		err = writeTable(os.Stdout, sights)
	}
	if err != nil {
		return trouble("ps: %v", err)
	}
	return exitOK
}

// lookWidth is how many shims are asked at a time, so that a few that are stuck
// do not hold up the rest.
const lookWidth = 16

// lookAtAll gives each shim that patience, and keeps the order. A container that has
// gone meanwhile is left out.
func lookAtAll(bundles []*client.Bundle, patience time.Duration) []sight {
	sights := make([]sight, len(bundles))
	var group errgroup.Group
	group.SetLimit(lookWidth)
	for i, b := range bundles {
		group.Go(func() error {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			sights[i] = look(ctx, b, nil)
			return nil
		})
	}
	_ = group.Wait() // a look never fails
	return slices.DeleteFunc(sights, func(v sight) bool {
		_, err := os.Stat(v.Bundle)
		return v.Status != "running" && os.IsNotExist(err)
	})
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func writeTable(w io.Writer, sights []sight) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NAMESPACE\tCONTAINER\tSTATUS\tPID\tSHIM\tMEMORY\tTHREADS\tPROGRAM")
	for _, v := range sights {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s", v.Namespace, v.ID, v.Status, number(v.Pid))
		if s := v.Shim; s != nil {
			fmt.Fprintf(t, "\t%d\t%s\t%d\t%s\n", s.Pid, megabytes(s.AnonymousBytes), s.Threads, s.name())
		} else {
			fmt.Fprint(t, "\t-\t-\t-\t-\n")
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, line := range sums(sights) {
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}

// sums says of each kind of shim how many there are and what they take, each
// counted once.
func sums(sights []sight) []string {
	type sum struct {
		shims, containers int
		bytes             int64
	}
	kinds := map[string]*sum{}
	seen := map[int]bool{}
	for _, v := range sights {
		if v.Shim == nil {
			continue
		}
		k := kinds[v.Shim.name()]
		if k == nil {
			k = new(sum)
			kinds[v.Shim.name()] = k
		}
		k.containers++
		if !seen[v.Shim.Pid] {
			seen[v.Shim.Pid] = true
			k.shims++
			k.bytes += v.Shim.AnonymousBytes
		}
	}
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		k := kinds[name]
		lines = append(lines, fmt.Sprintf("%s of %s with %s: %s, %s each",
			count(k.shims, "shim"), name, count(k.containers, "container"), megabytes(k.bytes), megabytes(k.bytes/int64(k.shims))))
	}
	if len(lines) > 0 {
		lines = append([]string{""}, lines...)
	}
	return lines
}

func number(n int) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprint(n)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, strings.TrimSuffix(what, "s"))
}

func megabytes(bytes int64) string { return fmt.Sprintf("%.2f MB", float64(bytes)/1e6) }
