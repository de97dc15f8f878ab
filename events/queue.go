package events

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/holdfast-shim/holdfast/log"
	"github.com/holdfast-shim/holdfast/proto"
	"github.com/holdfast-shim/holdfast/proto/types"
	"github.com/holdfast-shim/holdfast/proto/wkt"
)

const (
	// sendFirst and sendMost bound an attempt: a daemon that has the connection
	// and does not answer is dialed anew after it. Every attempt may be one more
	// copy of the event for a daemon that was only slow, so each is given twice
	// as long as the one before. One that has died is noticed at once.
	sendFirst = 10 * time.Second
	sendMost  = 5 * time.Minute
	// retryFirst and retryMost bound the pauses between attempts.
	retryFirst = 20 * time.Millisecond
	retryMost  = time.Second
)

// Limit is how many events may wait before the queue is [Queue.Full].
const Limit = 1 << 15

// Sender delivers one event. An error means that it may not have arrived and
// is to be sent again, unless it carries the gRPC code InvalidArgument: then
// the daemon has seen it and will never take it.
type Sender interface {
	Send(context.Context, *types.Envelope) error
	Close() error
}

// Queue holds the events that were not delivered yet, oldest first. An event
// is taken off it only when the daemon has answered for it, so one whose
// answer was lost may arrive twice, and none is lost. See the package's comment
// for what bounds it.
type Queue struct {
	namespace string
	sender    Sender
	log       *log.Logger
	cancel    context.CancelFunc
	wake      chan struct{} // holds one token when there is something to send
	ended     chan struct{}

	mu      sync.Mutex // guards the fields below
	waiting []*types.Envelope
	once    map[string]struct{} // what PublishOnce put there, and what of that was not tried yet; nil if nothing
	empty   chan struct{}       // closed while nothing waits
}

// New makes a queue for the events of one containerd namespace. It takes over
// sender and owns one goroutine until Close.
func New(namespace string, sender Sender, l *log.Logger) *Queue {
	ctx, cancel := context.WithCancel(context.Background())
	q := &Queue{
		namespace: namespace,
		sender:    sender,
		log:       l,
		cancel:    cancel,
		wake:      make(chan struct{}, 1),
		ended:     make(chan struct{}),
		empty:     make(chan struct{}),
	}
	close(q.empty)
	go q.run(ctx)
	return q
}

// Publish puts an event at the end of the queue, with the present time. It
// does not block. Order is the order of the calls: who needs two events in
// order calls Publish for both under one lock.
func (q *Queue) Publish(topic string, event proto.Message) { q.publish(topic, event, false) }

// PublishOnce is Publish, unless the very same event waits already and was not
// tried to be sent yet: then its reader will learn nothing from a second one. It
// is for what may happen any number of times while containerd is away.
func (q *Queue) PublishOnce(topic string, event proto.Message) { q.publish(topic, event, true) }

func (q *Queue) publish(topic string, event proto.Message, once bool) {
	packed, err := proto.Pack(event)
	if err != nil {
		// Only a message that grows while it is encoded can fail.
		q.log.Error("event cannot be encoded", log.String("topic", topic), log.Err(err))
		return
	}
	e := &types.Envelope{Timestamp: wkt.Now(), Namespace: q.namespace, Topic: topic, Event: packed}
	q.mu.Lock()
	if once && !q.firstOfItsKind(e) {
		q.mu.Unlock()
		return
	}
	if len(q.waiting) == 0 {
		q.empty = make(chan struct{})
	}
	q.waiting = append(q.waiting, e)
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// firstOfItsKind writes e down as one that waits once, unless it is already. The
// lock is held.
func (q *Queue) firstOfItsKind(e *types.Envelope) bool {
	key := onceKey(e)
	if _, waits := q.once[key]; waits {
		return false
	}
	if q.once == nil {
		q.once = make(map[string]struct{})
	}
	q.once[key] = struct{}{}
	return true
}

func onceKey(e *types.Envelope) string { return e.Topic + string(e.Event.Value) }

// Full reports whether [Limit] events wait. They are still taken; but who makes
// things happen on containerd's behalf should refuse to while it hears of none.
func (q *Queue) Full() bool { return q.Len() >= Limit }

// Len is the number of events that were not delivered yet.
func (q *Queue) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)
}

// Flush waits until everything published before was delivered, or for ctx.
func (q *Queue) Flush(ctx context.Context) error {
	q.mu.Lock()
	empty := q.empty
	q.mu.Unlock()
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close stops delivering, whatever still waits, and closes the sender.
func (q *Queue) Close() error {
	q.cancel()
	<-q.ended
	return q.sender.Close()
}

func (q *Queue) run(ctx context.Context) {
	defer close(q.ended)
	for {
		select {
		case <-q.wake:
		case <-ctx.Done():
			return
		}
		for e := q.first(); e != nil; e = q.first() {
			if !q.deliver(ctx, e) {
				return
			}
			q.pop()
		}
	}
}

func (q *Queue) first() *types.Envelope {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		return nil
	}
	e := q.waiting[0]
	if q.once != nil {
		if delete(q.once, onceKey(e)); len(q.once) == 0 {
			q.once = nil
		}
	}
	return e
}

func (q *Queue) pop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting[0] = nil
	q.waiting = q.waiting[1:]
	if len(q.waiting) == 0 {
		q.waiting = nil // what a long absence made it grow to is given back
		close(q.empty)
	}
}

// deliver sends e until the daemon has answered for it; false when ctx ended.
func (q *Queue) deliver(ctx context.Context, e *types.Envelope) bool {
	limit := sendFirst
	for pause, said := retryFirst, false; ; pause = min(2*pause, retryMost) {
		attempt, cancel := context.WithTimeout(ctx, limit)
		err := q.sender.Send(attempt, e)
		if attempt.Err() != nil {
			limit = min(2*limit, sendMost)
		}
		cancel()
		if err == nil {
			return true
		}
		if refused(err) {
			q.log.Error("containerd refuses an event, which is given up", log.String("topic", e.Topic), log.Err(err))
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		if !said {
			q.log.Warn("event not delivered, trying again", log.String("topic", e.Topic), log.Err(err))
			said = true
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return false
		}
	}
}

// refused reports an answer that no later attempt changes.
func refused(err error) bool {
	var s interface{ GRPCStatus() *status.Status }
	return errors.As(err, &s) && s.GRPCStatus().Code() == codes.InvalidArgument
}
