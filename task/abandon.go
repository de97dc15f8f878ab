package task

// Abandon reports whether the service holds no container, and if so takes none
// from then on: the shim may end though nobody has asked it to.
func (s *Service) Abandon() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.containers) > 0 {
		return false
	}
	s.closing = true
	return true
}
