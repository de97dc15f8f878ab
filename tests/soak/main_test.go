package soak

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/holdfast-shim/holdfast/tests/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

func TestNothingIsLostInTheMidstOfChaos(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("containers need root")
	}
	length := duration(t, "HOLDFAST_SOAK")
	seed := firstSeed(t)
	sum := &summary{begun: time.Now()}
	for end := time.Now().Add(length); ; seed++ {
		ok := t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { playRound(t, seed, sum) })
		sum.rounds.Add(1)
		if !ok {
			t.Errorf("the same decisions again: HOLDFAST_SOAK_SEED=%d go test -run Chaos ./tests/soak", seed)
			break
		}
		if time.Now().After(end) {
			break
		}
	}
	t.Log(sum)
}

// duration is 0 for a variable that is not set.
func duration(t *testing.T, name string) time.Duration {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		t.Fatalf("%s=%q: want a duration, as 30m", name, text)
	}
	return d
}

func firstSeed(t *testing.T) uint64 {
	t.Helper()
	text := os.Getenv("HOLDFAST_SOAK_SEED")
	if text == "" {
		return uint64(time.Now().UnixNano())
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("HOLDFAST_SOAK_SEED=%q: want a number", text)
	}
	return seed
}
