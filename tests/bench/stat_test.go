package main

import (
	"math"
	"testing"
)

func TestMedianLiesBetweenTheMiddleTwo(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{7}, 7},
		{[]float64{3, 1, 2}, 2},
		{[]float64{4, 1, 3, 2}, 2.5},
	} {
		if got := median(c.values); got != c.want {
			t.Errorf("median of %v: %v, want %v", c.values, got, c.want)
		}
	}
	if got := median(nil); !math.IsNaN(got) {
		t.Errorf("median of nothing: %v", got)
	}
}

func TestQuantileDoesNotReorderItsInput(t *testing.T) {
	values := []float64{30, 10, 20, 0, 40}
	for q, want := range map[float64]float64{0: 0, 0.1: 4, 0.5: 20, 0.9: 36, 1: 40} {
		if got := quantile(values, q); math.Abs(got-want) > 1e-9 {
			t.Errorf("quantile %v: %v, want %v", q, got, want)
		}
	}
	if values[0] != 30 {
		t.Errorf("the samples were sorted in place: %v", values)
	}
}

func TestNumbersAreShort(t *testing.T) {
	for v, want := range map[float64]string{0.123: "0.12", 9.876: "9.88", 12.34: "12.3", -33.51: "-33.5", 1640.2: "1640"} {
		if got := short(v); got != want {
			t.Errorf("%v: %q, want %q", v, got, want)
		}
	}
}
