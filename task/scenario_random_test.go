package task

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// teller makes a story up as it goes, out of what makes sense where it stands.
type teller struct {
	*rand.Rand
	p *player
}

// choice is something that may come next, the likelier the greater its weight.
type choice struct {
	weight int
	line   func() string
}

func (t *teller) next() string {
	ids := []string{"c1", "c1", "c2"}
	execs := []string{"e1", "e2", "e3"}
	id, exec := t.one(ids), t.one(execs)
	choices := []choice{
		{4, func() string {
			return "create " + id + t.one([]string{"", "", "", " shared", " restored", " shared restored"})
		}},
		{8, func() string { return "start " + id }},
		{8, func() string { return words("exec", id, exec) }},
		{12, func() string { return words("start", id, exec) }},
		{3, func() string { return "wait " + id }},
		{3, func() string { return words("wait", id, exec) }},
		{2, func() string { return words("state", id, t.one([]string{"", exec})) }},
		{1, func() string { return "pids " + id }},
		{1, func() string { return "connect " + id }},
		{1, func() string { return "update " + id }},
		{1, func() string { return "pause " + id }},
		{1, func() string { return words("checkpoint", id, t.one([]string{"", "exit"})) }},
		{2, func() string { return "resume " + id }},
		{2, func() string { return words("kill", id, t.one([]string{"", exec})) }},
		{1, func() string { return words("kill", id, t.one([]string{"9", "15"}), "all") }},
		{3, func() string { return "delete " + id }},
		{3, func() string { return words("delete", id, exec) }},
		{3, func() string {
			verb := t.one([]string{"create", "restore", "start", "start", "exec", "exec", "delete", "kill", "pause", "resume", "update", "checkpoint"})
			return "runtime " + verb + " " + t.one([]string{"ok", "stuck", "stuck-after", "stuck-after", "fails", "fails-after", "nothing"})
		}},
		{2, func() string {
			return t.one([]string{"hold", "let"}) + " " + t.one([]string{"adopt", "group", "exits"})
		}},
		{2, func() string { return "daemon " + t.one([]string{"takes", "takes", "away", "stalls", "forgets"}) }},
		{1, func() string { return "advance " + t.one([]string{"1ms", "1s", "11s", "65s"}) }},
		{1, func() string { return "report " + id }},
	}
	// What waits for the world is likelier to come than what clients think of.
	for _, r := range t.p.pending() {
		choices = append(choices, choice{1, func() string { return "cancel " + r.text }})
	}
	w := t.p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.parked {
		choices = append(choices, choice{10, func() string {
			return "release " + c.String() + t.one([]string{"", "", "", " fails"})
		}})
	}
	for _, s := range w.souls {
		switch {
		case !s.ended && !s.box.frozen:
			verb := "exit"
			if t.IntN(4) == 0 {
				choices = append(choices, choice{6, func() string { return words("oom", s.box.id, s.exec) }})
				break
			}
			choices = append(choices, choice{8, func() string { return words(verb, s.box.id, s.exec, fmt.Sprint(t.IntN(4))) }})
		case s.ended && s.adopted && !s.sent:
			choices = append(choices, choice{12, func() string { return words("deliver", s.box.id, s.exec) }})
		}
	}
	total := 0
	for _, c := range choices {
		total += c.weight
	}
	n := t.IntN(total)
	for _, c := range choices {
		if n -= c.weight; n < 0 {
			line := c.line()
			if t.IntN(6) == 0 && !strings.HasPrefix(line, "advance") {
				line = "& " + line
			}
			return line
		}
	}
	panic("unreachable")
}

func (t *teller) one(of []string) string { return of[t.IntN(len(of))] }
