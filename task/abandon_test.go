package task

import "testing"

func TestShimWithAContainerIsNotAbandoned(t *testing.T) {
	s, _ := service(t)
	c := hold(t, s)
	if s.Abandon() {
		t.Fatal("abandoned with a container")
	}
	s.forget(c)
	if !s.Abandon() {
		t.Fatal("not abandoned without one")
	}
	if err := s.reserve(c); err == nil {
		t.Error("a container was taken by an abandoned shim")
	}
}
