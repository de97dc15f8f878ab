package stdio

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Setup is what [Open] needs besides the paths.
type Setup struct {
	Owner         Owner
	ID, Namespace string // what a logger is told of its container: for an exec, the exec's id

	// Start starts a logger in a process group of its own, one that outlives
	// this process. Nil: there are no loggers.
	Start func(*Program) (Child, error)
	Ready time.Duration // how long a logger may take to become ready; 0: 30 s
	// Report is told what happens later: a logger's end before that of the
	// output, that it had to be killed, a file that cannot be written. It is
	// called from any goroutine and may be nil.
	Report func(error)
}

// Owner is the uid and gid that own a container's pipes (IoUid and IoGid of
// the runtime options). The zero leaves them to root.
type Owner struct{ UID, GID int }

// Streams is the stdio of one process. Its life: [Open]; the runtime is given
// [Streams.Child] (or the console socket of [Streams.Listen]); [Streams.Started]
// when the runtime has done its work; [Streams.Ended] when the process has ended;
// [Streams.Drain] and [Streams.Close] at the end, with [Streams.Release] between them
// for a process whose children may live on.
//
// It owns its descriptors and the relays of its streams, which end by themselves
// at the stream's end or at Close.
type Streams struct {
	paths   Paths
	report  func(error)    // see Setup
	outputs []*output      // set by Open, and with a terminal by Started
	loggers []*logger      // set by Open
	moves   sync.WaitGroup // of the relays of outputs
	closing sync.Once
	gone    chan struct{} // closed when nobody will come any more who wants the outputs
	goes    sync.Once     // for gone

	mu     sync.Mutex  // guards everything below, and outputs with a terminal; never held while bytes move or a file is closed
	stdin  *input      // nil: none, or over
	child  [3]*os.File // the container's ends, until Started
	term   *terminal   // nil without a terminal, or before its master came
	size   winsize     // asked for before the master came
	socket *consoleSocket
	moving bool // the relays were started
	closed bool

	ended atomic.Bool // the process has ended
}

// input moves a fifo, or the file that stands in its place, into the container.
type input struct {
	fifo *ends
	pipe *os.File // to the container; nil with a terminal, whose master outlives stdin
	r    *relay
}

// output moves a container's output to where it is wanted: one of fifo, file
// and log.
type output struct {
	fifo *ends
	file *os.File
	log  *logPipe
	r    *relay // nil until there is a source; and for ever if the container writes to log itself

	waste *relay // goes on reading when the sink has failed
	cut   bool   // see Cut
}

func (o *output) sink() *os.File {
	switch {
	case o.fifo != nil:
		return o.fifo.w
	case o.log != nil:
		return o.log.w
	}
	return o.file
}

// closeSource ends what moves from it.
func (o *output) closeSource() {
	if o.r == nil {
		return
	}
	o.r.src.Close()
	o.r.wake()
	if o.waste != nil {
		o.waste.wake()
	}
}

// finish lets go of the writing end when everything was moved: that is the
// reader's EOF, if no stream shares the fifo. While the reader is away with
// bytes unread, the reading end stays open, because the last close of a fifo
// throws its bytes away. It reports whether a reader may come that has to be let in.
func (o *output) finish() (late bool) {
	o.r.src.Close()
	o.sink().Close()
	if o.fifo == nil {
		return false
	}
	if o.fifo.met && unread(o.fifo.r) == 0 {
		o.fifo.r.Close()
		return false
	}
	return true
}

// Open opens what p names, makes the pipes, and starts the loggers and waits
// until they are ready. Nothing moves yet. An error names the stream and leaves
// nothing open; it is [ErrInvalid] or [ErrLogger] where it is about these.
func Open(ctx context.Context, p Paths, set Setup) (_ *Streams, err error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	if set.Report == nil {
		set.Report = func(error) {}
	}
	if p.Stdin != "" || p.Stdout != "" || p.Stderr != "" {
		silent.prepare()
	}
	s := &Streams{paths: p, report: set.Report, gone: make(chan struct{})}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if p.Stdin != "" {
		if err := s.openInput(p.Stdin, set.Owner); err != nil {
			return nil, fmt.Errorf("stdin: %w", err)
		}
	}
	for i, path := range p.outputs() {
		if path == "" {
			continue
		}
		if err := s.openOutput(i, path, set.Owner); err != nil {
			return nil, fmt.Errorf("%s: %w", outputNames[i], err)
		}
	}
	for _, l := range s.loggers {
		if set.Start == nil {
			return nil, fmt.Errorf("%w: %q: there are none here", ErrLogger, l.uri)
		}
		if err := l.start(ctx, &set); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Terminal reports whether the process gets a pty: then it is started with
// the console socket of Listen instead of the descriptors of Child.
func (s *Streams) Terminal() bool { return s.paths.Terminal }

func (s *Streams) openInput(path string, owner Owner) error {
	fifo, file, err := openPath(path, os.O_RDONLY)
	if err != nil {
		return err
	}
	if fifo == nil {
		fifo = &ends{r: file}
	}
	s.stdin = &input{fifo: fifo}
	if s.paths.Terminal {
		return nil
	}
	ours, theirs, err := pipe(false, owner)
	if err != nil {
		return err
	}
	s.child[0] = theirs
	s.stdin.pipe = ours
	s.stdin.r = newRelay(fifo.r, ours)
	return nil
}

// openOutput opens the path of stdout (0) or stderr (1).
func (s *Streams) openOutput(i int, path string, owner Owner) error {
	t, err := parse(path)
	if err != nil {
		return err
	}
	o := new(output)
	switch {
	case t.isLogger():
		l := s.logger(path, t)
		if o.log, s.child[1+i], err = newLogPipe(l, s.paths.Terminal, owner); err != nil {
			return err
		}
		l.pipes[i] = o.log
	case t.scheme == schemeFile:
		o.fifo, o.file, err = openFile(t.path)
	default:
		o.fifo, o.file, err = openPath(t.path, os.O_WRONLY|os.O_APPEND)
	}
	if err != nil {
		return err
	}
	s.outputs = append(s.outputs, o)
	if s.paths.Terminal || o.log != nil {
		return nil
	}
	ours, theirs, err := pipe(true, owner)
	if err != nil {
		return err
	}
	s.child[1+i] = theirs
	o.r = newRelay(ours, o.sink())
	return nil
}

// logger is the one of that URI: the same for both outputs is one program.
func (s *Streams) logger(uri string, t target) *logger {
	for _, l := range s.loggers {
		if l.uri == uri {
			return l
		}
	}
	l := &logger{uri: uri, target: t, limits: usualLimits}
	s.loggers = append(s.loggers, l)
	return l
}

// Child starts the relays of a process without a terminal, unless they were, and
// returns the descriptors it is to be started with, nil where there is no stream.
// They stay the Streams's and are good until Started.
//
// Outputs are moved from Started on: until then it may be the runtime that
// writes, about its own failure, and that is for its error (see Unmoved), not
// for the container's reader. A runtime that has more to say than a pipe holds
// is not left waiting: then they are moved at once.
func (s *Streams) Child() (stdin, stdout, stderr *os.File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.paths.Terminal && !s.moving {
		s.startLocked()
	}
	return s.child[0], s.child[1], s.child[2]
}

// Unmoved takes what was written to the outputs since Child and was not moved:
// of a runtime that has failed, its last words.
func (s *Streams) Unmoved() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	var words []byte
	for _, o := range s.outputs {
		if o.r != nil && !s.paths.Terminal {
			words = append(words, take(o.r.src)...)
		}
	}
	return words
}

// Started closes the descriptors of Child: from now on the stream's other end
// is in the container alone. With a terminal it takes the pty's master from
// the console socket, where the runtime has put it by now.
func (s *Streams) Started() error {
	term, err := s.receive()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closeChildLocked()
	s.closeSocketLocked()
	if err != nil {
		return err
	}
	if term == nil {
		for _, o := range s.outputs {
			if o.r != nil {
				o.begin()
			}
		}
		return nil
	}
	if s.closed {
		term.close()
		return nil
	}
	s.term = term
	if s.size != (winsize{}) {
		if err := term.resize(s.size); err != nil {
			return err
		}
	}
	if len(s.outputs) == 0 {
		// Somebody has to read a pty, or the container blocks on it.
		null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
		if err != nil {
			return fmt.Errorf("discard the terminal's output: %w", err)
		}
		s.outputs = append(s.outputs, &output{file: null})
	}
	if s.stdin != nil {
		s.stdin.r = newRelay(s.stdin.fifo.r, term.master)
		s.stdin.r.pty, s.stdin.r.forGood = term.master, s.ended.Load
	}
	for _, o := range s.outputs {
		o.r = newRelay(term.master, o.sink())
		o.r.pty, o.r.forGood = term.master, s.ended.Load
	}
	s.startLocked()
	return nil
}

// receive takes the master from the console socket, if there is one. The lock is not
// held: a runtime may have kept the master to itself, and who resizes the terminal
// or closes the streams meanwhile, with the container's lock held, waits for nothing.
func (s *Streams) receive() (*terminal, error) {
	s.mu.Lock()
	socket := s.socket
	s.mu.Unlock()
	if socket == nil {
		return nil, nil
	}
	return socket.accept()
}

func (s *Streams) startLocked() {
	s.moving = true
	if in := s.stdin; in != nil {
		in.r.copies = s.paths.Terminal
		// EPIPE: the container reads no more; closed: CloseInput or Close.
		in.r.start(func(error) { s.endInput(in) })
	}
	for _, o := range s.outputs {
		if o.r == nil {
			continue
		}
		// A pty gives a few KiB at a time at most: copying them is cheaper than
		// what splice makes of it, which takes pages for a whole pipe each time.
		o.r.copies = s.paths.Terminal
		s.moves.Add(1)
		o.r.done = func(err error) { s.moved(o, err) }
		go func() {
			if !s.paths.Terminal {
				o.hold()
			}
			o.r.work()
		}()
	}
}

// moved is the end of o's relay. Was it the sink that failed, with err, then what
// comes is thrown away until the end: that must neither block nor kill who
// writes. That the last reader of a fifo has gone (see Release) is no news.
func (s *Streams) moved(o *output, err error) {
	end := func(error) {
		s.endOutput(o)
		s.moves.Done()
	}
	if err == nil || s.over() {
		end(nil)
		return
	}
	if !errors.Is(err, unix.EPIPE) && !s.wasCut(o) {
		s.report(fmt.Errorf("output is lost from now on: %w", &os.PathError{Op: "write", Path: o.sink().Name(), Err: err}))
	}
	o.sink().Close()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		end(nil)
		return
	}
	waste := newRelay(o.r.src, null)
	waste.copies, waste.pty, waste.forGood = true, o.r.pty, o.r.forGood
	s.mu.Lock()
	o.waste = waste
	s.mu.Unlock()
	waste.start(func(error) {
		null.Close()
		end(nil)
	})
}

// over reports whether Close was called.
func (s *Streams) over() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// hold waits until the runtime has done its work (begin), until it has written
// half of what a pipe holds, or until the stream is closed.
func (o *output) hold() {
	if conn, err := o.r.src.SyscallConn(); err == nil {
		_ = conn.Read(func(fd uintptr) bool { return unreadFd(int(fd)) >= smallPipe/2 })
	}
	_ = o.r.src.SetReadDeadline(time.Time{})
}

// begin ends hold. A relay that runs already takes it for a pause of its writer.
func (o *output) begin() { _ = o.r.src.SetReadDeadline(time.Unix(1, 0)) }

// endInput closes the container's stdin, which it sees as EOF.
func (s *Streams) endInput(in *input) {
	in.fifo.close()
	if in.pipe != nil {
		in.pipe.Close()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if in.r != nil {
		in.r.wake()
	}
	if s.stdin == in {
		s.stdin = nil
	}
}

func (s *Streams) endOutput(o *output) {
	s.mu.Lock()
	s.closeTerminalLocked()
	s.mu.Unlock()
	if o.finish() {
		go o.fifo.knock(s.gone)
	}
}

// CloseStdin gives up the writing end of stdin's fifo that is held here: when
// the clients have closed theirs and all was moved, the container sees EOF.
func (s *Streams) CloseStdin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stdin != nil {
		s.stdin.fifo.w.Close()
	}
}

// Drain waits until every byte that the process had written when Drain was
// called is in its fifo or was read by its logger, at most for limit. It reports
// whether that came to be.
//
// Of a fifo that was enlarged no more counts than it would have held: there are
// clients (ctr 1.6) that close their end as soon as Delete answers and lose what
// they have not read.
//
// It does not wait for EOF: a child that outlives the process may hold the
// stream for ever, and what that one writes goes on being moved.
func (s *Streams) Drain(limit time.Duration) bool {
	stop := make(chan struct{})
	timer := time.AfterFunc(limit, func() { close(stop) })
	defer timer.Stop()
	outputs := s.all()
	marks := make([]int64, len(outputs))
	for i, o := range outputs {
		if o.r != nil {
			marks[i] = o.r.mark()
		}
	}
	for i, o := range outputs {
		if o.r != nil && !o.r.drained(marks[i], stop) {
			return false
		}
		if o.log != nil && !o.log.drained(stop) {
			return false
		}
		if o.fifo != nil && o.r != nil && !o.fifo.caughtUp(o.r, marks[i], stop) {
			return false
		}
	}
	return true
}

func (s *Streams) all() []*output {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.outputs
}

// Wait waits until every output has ended, which may be long after the process
// if it left a child with them. It ends early when Close is called.
func (s *Streams) Wait() {
	s.mu.Lock()
	outputs := s.outputs
	if !s.moving {
		outputs = nil
	}
	s.mu.Unlock()
	for _, o := range outputs {
		if o.r == nil {
			o.log.wait()
		}
	}
	s.moves.Wait()
}

// Release lets go of the reading ends that are held here: the process was
// deleted, so whoever wants what its children still write has the fifo open.
// When the last of these goes, the rest is thrown away.
func (s *Streams) Release() {
	s.goes.Do(func() { close(s.gone) })
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.outputs {
		if o.fifo != nil {
			o.fifo.r.Close()
		}
	}
}

// Cut gives those who read the fifos their end, though somebody still has the outputs:
// what comes from now on is thrown away. It is for a process that was deleted, after
// Release: containerd's clients go on reading until that end.
func (s *Streams) Cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.outputs {
		if o.fifo != nil {
			o.cut = true
			o.fifo.w.Close() // which its relay finds when there is something to move
		}
	}
}

func (s *Streams) wasCut(o *output) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return o.cut
}

// Ended is to be called when the process has ended, as often as one likes: from now on
// it is the end of a terminal that nobody has it open. Before, whoever let go of it may
// come back, as init systems do.
func (s *Streams) Ended() {
	s.ended.Store(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.term != nil {
		_ = s.term.master.SetReadDeadline(time.Unix(1, 0)) // has the relay look again
	}
}

// Resize sets the size of the terminal, now or as soon as there is one.
// Without a terminal, and after the end, it does nothing.
func (s *Streams) Resize(width, height uint16) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.paths.Terminal || s.closed {
		return nil
	}
	s.size = winsize{width: width, height: height}
	if s.term == nil {
		return nil
	}
	return s.term.resize(s.size)
}

// Size is the size that was last asked for: zero before there was any.
func (s *Streams) Size() (width, height uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.size.width, s.size.height
}

// CloseInput ends stdin whatever its writers do. The outputs go on.
func (s *Streams) CloseInput() {
	s.mu.Lock()
	in := s.stdin
	s.mu.Unlock()
	if in != nil {
		s.endInput(in)
	}
}

// Close closes everything that is held, and waits for the end of the loggers:
// they have 11 s to finish before they are killed. What a fifo holds stays
// readable for those who have it open. Close may be called more than once; each
// call returns when all is done.
func (s *Streams) Close() {
	s.closing.Do(func() {
		s.closeFiles()
		var loggers sync.WaitGroup
		for _, l := range s.loggers {
			loggers.Go(l.end)
		}
		loggers.Wait()
	})
}

func (s *Streams) closeFiles() {
	s.goes.Do(func() { close(s.gone) })
	s.CloseInput()
	for _, o := range s.closeSources() {
		switch {
		case o.file != nil:
			o.file.Close()
		case o.fifo != nil:
			o.fifo.close()
		case o.log.w != nil:
			o.log.w.Close()
		}
	}
}

// closeSources closes all but where the outputs go, which it returns.
func (s *Streams) closeSources() []*output {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.closeChildLocked()
	s.closeSocketLocked()
	for _, o := range s.outputs {
		o.closeSource()
	}
	s.closeTerminalLocked()
	return s.outputs
}

func (s *Streams) closeTerminalLocked() {
	if s.term != nil {
		s.term.close()
		s.term = nil
	}
}

func (s *Streams) closeChildLocked() {
	for i, f := range s.child {
		if f != nil {
			f.Close()
			s.child[i] = nil
		}
	}
}

func (e *ends) close() {
	e.w.Close()
	e.r.Close()
}
