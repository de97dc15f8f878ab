package runc

import (
	"strings"
	"testing"
	"time"
)

func TestDeadlinesFromEnv(t *testing.T) {
	env := map[string]string{}
	get := func(name string) string { return env[name] }
	d, err := DeadlinesFromEnv(get)
	if err != nil || d != (Deadlines{}) {
		t.Fatalf("with nothing set: %+v, %v", d, err)
	}
	env["HOLDFAST_RUNC_TIMEOUT"] = "90s"
	env["HOLDFAST_RUNC_TIMEOUT_KILL"] = "1m30.5s"
	if d, err = DeadlinesFromEnv(get); err != nil {
		t.Fatal(err)
	}
	for v := range verbCount {
		want := 90 * time.Second
		if v == verbKill {
			want = 90500 * time.Millisecond
		}
		if got := d.of(v); got != want {
			t.Errorf("%s: %s, want %s", v, got, want)
		}
	}
}

func TestEveryVerbHasAVariableAndAFieldOfItsOwn(t *testing.T) {
	for v := range verbCount {
		name := "HOLDFAST_RUNC_TIMEOUT_" + strings.ToUpper(v.String())
		d, err := DeadlinesFromEnv(func(n string) string {
			if n == name {
				return "7s"
			}
			return ""
		})
		if err != nil {
			t.Fatal(err)
		}
		for w := range verbCount {
			want := verbs[w].limit
			if v == w {
				want = 7 * time.Second
			}
			if got := d.of(w); got != want || got <= 0 {
				t.Errorf("with %s, %s has %s, want %s", name, w, got, want)
			}
		}
	}
}

func TestABadDeadlineNamesItsVariable(t *testing.T) {
	for _, name := range []string{"HOLDFAST_RUNC_TIMEOUT", "HOLDFAST_RUNC_TIMEOUT_CREATE", "HOLDFAST_RUNC_TIMEOUT_FEATURES"} {
		for _, value := range []string{"30", "x", "-1s", "0", "0s", "1y", " "} {
			_, err := DeadlinesFromEnv(func(n string) string {
				if n == name {
					return value
				}
				return ""
			})
			if err == nil || !strings.Contains(err.Error(), name+"=") {
				t.Errorf("%s=%q: %v", name, value, err)
			}
		}
	}
}
