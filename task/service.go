package task

import (
	"context"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/holdfast-shim/holdfast/log"
	"github.com/holdfast-shim/holdfast/process"
	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/proto/wkt"
	"github.com/holdfast-shim/holdfast/reaper"
	"github.com/holdfast-shim/holdfast/runc"
)

// Config is what a [Service] works with. Everything in it stays the caller's.
type Config struct {
	Namespace string
	Version   string
	Reaper    *reaper.Reaper
	Events    publisher
	Log       *log.Logger
	Deadlines runc.Deadlines
	Drain     time.Duration // how long Delete waits for the stdio; 0: 10 s
	Ready     time.Duration // how long a logger may take to become ready; 0: 30 s
	Idle      time.Duration // how long the shim stays without a container; 0: 1 min
	Shutdown  func()        // called once, when the shim may end
}

// Service is the Task API of one shim. It serves the containers of one group.
type Service struct {
	Config
	once    sync.Once // for Config.Shutdown
	machine machine

	mu         sync.Mutex // guards the map; never held together with a container's lock
	containers map[string]*container
	answers    deletions
	asked      bool // Shutdown came while a container was there
	closing    bool // no container is taken any more

	idle     *idleTimer
	retiring atomic.Bool   // Retire was called
	look     chan struct{} // holds a token when somebody's init has ended since Retire
}

var _ task.Service = (*Service)(nil)

// New makes a service without containers.
func New(c Config) *Service {
	if c.Drain == 0 {
		c.Drain = 10 * time.Second
	}
	if c.Idle == 0 {
		c.Idle = time.Minute
	}
	s := &Service{
		Config:     c,
		containers: make(map[string]*container),
		look:       make(chan struct{}, 1),
	}
	s.machine = &node{config: &s.Config}
	s.mu.Lock() // the timer may be short
	s.idle = newIdleTimer(c.Idle, s.abandon)
	s.mu.Unlock()
	return s
}

// Containers is the number of containers that were not deleted.
func (s *Service) Containers() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.containers)
}

func (s *Service) container(id string) (*container, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.containers[id]
	if c == nil {
		return nil, notFound("container", id)
	}
	return c, nil
}

// process returns the process of a request with its container's lock held.
func (s *Service) process(id, execID string) (*container, *process.Process, error) {
	c, err := s.container(id)
	if err != nil {
		return nil, nil, err
	}
	c.mu.Lock()
	p := c.find(execID)
	// An init that is still being made can be undone: until then it is not there.
	if p != nil && p.State() != process.Deleted && c.init.State() != process.Added {
		return c, p, nil
	}
	c.mu.Unlock()
	if execID == "" {
		return nil, nil, notFound("container", id)
	}
	return nil, nil, notFound("process", execID)
}

// making returns the container of that id if it is still being made, or nil.
func (s *Service) making(id string) *container {
	c, err := s.container(id)
	if err != nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.init.State() != process.Added {
		return nil
	}
	return c
}

// Connect tells the pids of the shim and of the container's init. It is also how
// `start` asks whether the group has a shim: one that holds no container then
// stays long enough for the one to come.
func (s *Service) Connect(_ context.Context, r *task.ConnectRequest) (*task.ConnectResponse, error) {
	s.mu.Lock()
	if len(s.containers) == 0 && !s.closing {
		s.idle.idle()
	}
	s.mu.Unlock()
	resp := &task.ConnectResponse{ShimPid: uint32(os.Getpid()), Version: s.Version}
	if c, p, err := s.process(r.Id, ""); err == nil {
		resp.TaskPid = uint32(p.Pid())
		c.mu.Unlock()
	}
	return resp, nil
}

// Shutdown ends the shim if it holds no container, or if now is set. A container
// that is being made is nobody's any more when it is asked for in its name.
func (s *Service) Shutdown(_ context.Context, r *task.ShutdownRequest) (*wkt.Empty, error) {
	if c := s.making(r.Id); c != nil {
		c.giveUp()
	}
	s.mu.Lock()
	if len(s.containers) > 0 && !r.Now {
		s.asked = true
		s.mu.Unlock()
		return &wkt.Empty{}, nil
	}
	s.closing = true
	s.mu.Unlock()
	s.once.Do(s.Config.Shutdown)
	return &wkt.Empty{}, nil
}

// Retire returns when no container has an init that lives or is being made, and none
// is taken from the call on: the way a signal ends a shim, which must not leave
// running containers alone.
func (s *Service) Retire() {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	s.retiring.Store(true)
	for !s.quiet() {
		<-s.look
	}
}

// lookQuiet tells Retire to look again. It is called with a container's lock
// held, so it only leaves a note.
func (s *Service) lookQuiet() {
	if !s.retiring.Load() {
		return
	}
	select {
	case s.look <- struct{}{}:
	default:
	}
}

func (s *Service) quiet() bool {
	s.mu.Lock()
	all := make([]*container, 0, len(s.containers))
	for _, c := range s.containers {
		all = append(all, c)
	}
	s.mu.Unlock()
	for _, c := range all {
		c.mu.Lock()
		runs := c.init.State() < process.Stopped && !c.unmade()
		c.mu.Unlock()
		if runs {
			return false
		}
	}
	return true
}

// reserve takes the id for a container that is being made.
func (s *Service) reserve(c *container) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return status.Error(codes.Unavailable, "the shim is shutting down")
	}
	if s.containers[c.id] != nil {
		return status.Errorf(codes.AlreadyExists, "container %q: already exists", c.id)
	}
	s.containers[c.id] = c
	s.idle.busy()
	s.answers.drop(c.id)
	return nil
}

func (s *Service) forget(c *container) {
	s.mu.Lock()
	if s.containers[c.id] == c {
		delete(s.containers, c.id)
		if len(s.containers) == 0 {
			s.idle.idle()
		}
	}
	s.mu.Unlock()
	s.lookQuiet() // it may have been one that failed to be made
}

// undone forgets a container whose Create failed. If its client has given up on
// it and asked the shim to end meanwhile, it will not ask again (containerd 6860).
func (s *Service) undone(c *container) {
	s.forget(c)
	s.mu.Lock()
	end := s.asked && len(s.containers) == 0
	if end {
		s.closing = true
	}
	s.mu.Unlock()
	if end {
		s.once.Do(s.Config.Shutdown)
	}
}
