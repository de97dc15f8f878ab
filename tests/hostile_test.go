package tests

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/ttrpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/tests/harness"
	"github.com/holdfast-shim/holdfast/usage"
)

// TestAShimBearsAnyPeerOnItsSocket has every kind of peer do its worst while a
// container runs and another client is served all along. What they cost is given
// back when they have gone. HOLDFAST_HOSTILE_SEED plays a failure's story again.
func TestAShimBearsAnyPeerOnItsSocket(t *testing.T) {
	seed := number(t, "HOLDFAST_HOSTILE_SEED", rand.Uint64())
	d := harness.New(t)
	c := d.Run("sleep", "1000")
	shim := c.HoldShim()
	v := &victim{t: t, d: d, c: c, socket: strings.TrimPrefix(c.Shim.Endpoint.Address, "unix://")}
	files := func() int { return len(harness.Names(fmt.Sprintf("/proc/%d/fd", shim.Pid()))) }
	// What is made once and kept is not a leak.
	c.ExecOutput("first", "true")
	v.collect()
	filesBefore, goroutinesBefore, memoryBefore := files(), goroutines(t, d, shim), anonymous(t, shim)

	for i, attack := range []struct {
		name string
		by   func(*victim, *rand.Rand)
	}{
		{"random bytes", (*victim).randomBytes},
		{"frames that are none", (*victim).badFrames},
		{"requests of other bytes", (*victim).garbageInFrames},
		{"half a message and no more", (*victim).halfMessages},
		{"a peer that never reads", (*victim).neverReads},
		{"connections that come and go", (*victim).comeAndGo},
		{"connections that stay and say nothing", (*victim).idleFlood},
	} {
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		served := v.serveAllAlong()
		attack.by(v, rng)
		served()
		if status, out := c.ExecOutput("x", "echo", "well"); status != 0 || out != "well\n" {
			t.Errorf("exec: status %d, %q", status, out)
		}
		v.leave()
		d.Eventually("the shim's files", func() error {
			if n := files(); n > filesBefore {
				return fmt.Errorf("%d files, before %d", n, filesBefore)
			}
			return nil
		})
		t.Logf("%s: %d KiB of memory", attack.name, anonymous(t, shim)>>10)
		if t.Failed() {
			t.Fatalf("%s: play it again with HOLDFAST_HOSTILE_SEED=%d", attack.name, seed)
		}
	}
	d.Eventually("the shim's goroutines", func() error {
		if n := goroutines(t, d, shim); n > goroutinesBefore {
			return fmt.Errorf("%d goroutines, before %d", n, goroutinesBefore)
		}
		return nil
	})
	// The race detector has a memory of its own, which can grow to gigabytes.
	if !harness.RaceEnabled {
		v.wantMemoryBack(shim, memoryBefore)
	}
	c.Finish()
}

// victim is a shim with a container in it.
type victim struct {
	t      *testing.T
	d      *harness.Daemon
	c      *harness.Container
	socket string

	conns []net.Conn // of the present attack
}

// dial opens a connection of a peer's; leave closes it.
func (v *victim) dial() net.Conn {
	v.t.Helper()
	conn, err := net.Dial("unix", v.socket)
	if err != nil {
		v.t.Fatal(err)
	}
	v.conns = append(v.conns, conn)
	return conn
}

// leave ends what an attack has opened.
func (v *victim) leave() {
	for _, c := range v.conns {
		c.Close()
	}
	v.conns = nil
}

// serveAllAlong has a client of good will ask until the returned function is called.
func (v *victim) serveAllAlong() func() {
	v.t.Helper()
	stop := make(chan struct{})
	var asking sync.WaitGroup
	asking.Go(func() {
		for {
			answersEverything(v.t, v.d, v.c)
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	return func() {
		close(stop)
		asking.Wait()
		// Those that come meanwhile are served too.
		v.newcomer()
	}
}

// newcomer is another client that connects. Where there were as many connections as
// there may be, the shim may not have seen yet that they are gone.
func (v *victim) newcomer() {
	v.t.Helper()
	v.d.Eventually("a client that comes", func() error {
		conn, err := net.Dial("unix", v.socket)
		if err != nil {
			return err
		}
		other := ttrpc.NewClient(conn)
		defer other.Close()
		_, err = task.NewClient(other, 3).Connect(v.d.Ctx(), &task.ConnectRequest{})
		return err
	})
}

// wantMemoryBack waits until the shim takes what it did before. The Go runtime gives
// memory back in its own time, after collections.
func (v *victim) wantMemoryBack(shim *client.Hold, before int) {
	v.t.Helper()
	const slack = 8 << 20
	v.d.Eventually("the shim's memory", func() error {
		v.collect()
		n := anonymous(v.t, shim)
		if n > before+slack {
			return fmt.Errorf("%d bytes, before %d", n, before)
		}
		v.t.Logf("%d KiB of memory, before %d", n>>10, before>>10)
		return nil
	})
}

// collect has the shim allocate as much as makes its runtime collect garbage.
func (v *victim) collect() {
	v.t.Helper()
	for range 8 {
		_, err := v.c.Shim.Task.State(v.d.Ctx(), &task.StateRequest{Id: strings.Repeat("x", 1<<20-1<<10)})
		v.d.WantCode("state of a long name", err, codes.NotFound)
	}
}

func message(typ byte, stream uint32, body []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
	b = binary.BigEndian.AppendUint32(b, stream)
	return append(append(b, typ, 0), body...)
}

// requestFrame is a frame with a request.
func requestFrame(stream uint32, service, method string, payload []byte) ([]byte, error) {
	body, err := proto.Marshal(&ttrpc.Request{Service: service, Method: method, Payload: payload})
	return message(1, stream, body), err
}

func (v *victim) request(stream uint32, service, method string, payload []byte) []byte {
	v.t.Helper()
	frame, err := requestFrame(stream, service, method, payload)
	if err != nil {
		v.t.Fatal(err)
	}
	return frame
}

func (v *victim) wait(stream uint32) []byte {
	payload, err := (&task.WaitRequest{Id: v.c.ContainerID}).Marshal()
	if err != nil {
		v.t.Fatal(err)
	}
	return v.request(stream, task.ServiceV2, "Wait", payload)
}

// send writes what the shim may or may not want to read to its end.
func (v *victim) send(c net.Conn, b []byte) {
	v.t.Helper()
	if err := c.SetWriteDeadline(time.Now().Add(harness.Patience)); err != nil {
		v.t.Fatal(err)
	}
	if _, err := c.Write(b); errors.Is(err, os.ErrDeadlineExceeded) {
		v.t.Errorf("the shim does not read on: %v", err)
	}
}

// hears takes whatever the shim says, until the connection ends.
func hears(c net.Conn) { go io.Copy(io.Discard, c) }

func (v *victim) randomBytes(rng *rand.Rand) {
	for range 50 {
		c := v.dial()
		hears(c)
		b := make([]byte, rng.IntN(5000))
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		v.send(c, b)
	}
}

func (v *victim) badFrames(rng *rand.Rand) {
	state, err := (&task.StateRequest{Id: v.c.ContainerID}).Marshal()
	if err != nil {
		v.t.Fatal(err)
	}
	good := func(stream uint32) []byte { return v.request(stream, task.ServiceV3, "State", state) }
	long := make([]byte, 4<<20+1)
	for _, frames := range [][][]byte{
		{v.wait(1), message(3, 1, []byte("data to a call that is under way")), message(3, 1, nil)},
		{v.wait(1), v.wait(1), v.wait(3), v.wait(1)},
		{message(3, 1, []byte("data to no call")), good(3)},
		{good(0), good(2), good(1 << 31), good(1<<32 - 1), good(1)},
		{message(2, 1, []byte("an answer")), message(0, 1, nil), message(255, 1, long[:100]), good(1)},
		{message(1, 1, long), good(3)},
		{v.request(1, "no.such.Service", "State", state), v.request(3, task.ServiceV2, "NoSuchMethod", state), v.request(5, "", "", nil)},
		{v.request(1, strings.Repeat("s", 1<<20), strings.Repeat("m", 1<<20), nil)},
		{message(1, 1, nil), message(1, 3, []byte{0xff}), message(1, 5, []byte("\x0a\xff\xff\xff\xff\x7f"))},
		{message(1, 1, []byte("\x28\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))}, // a time-out of minus one
	} {
		c := v.dial()
		hears(c)
		for _, f := range frames {
			v.send(c, f)
		}
		// The same, broken somewhere.
		c = v.dial()
		hears(c)
		all := []byte(strings.Join(texts(frames), ""))
		for range 5 {
			all[rng.IntN(min(len(all), 200))] = byte(rng.Uint32())
		}
		v.send(c, all)
	}
}

func texts(frames [][]byte) []string {
	var all []string
	for _, f := range frames {
		all = append(all, string(f))
	}
	return all
}

// methods are those of the Task API, but for what ends or stops a container when it
// is asked for well.
func methods() []string {
	var names []string
	for m := range reflect.TypeFor[task.Service]().Methods() {
		if m.Name != "Shutdown" && m.Name != "Kill" && m.Name != "Delete" && m.Name != "Pause" {
			names = append(names, m.Name)
		}
	}
	return names
}

func (v *victim) garbageInFrames(rng *rand.Rand) {
	seeds := [][]byte{nil, {0}, {0xff}, []byte("\x0a\x02c1"), []byte("\x0a\xff\xff\xff\x0f"), []byte("\x0b\x0b\x0b"), []byte("\x0a\x03\xff\xfe\x00")}
	for _, method := range methods() {
		for _, service := range []string{task.ServiceV2, task.ServiceV3} {
			c := v.dial()
			hears(c)
			for i := range uint32(20) {
				b := append([]byte(nil), seeds[rng.IntN(len(seeds))]...)
				for range rng.IntN(40) {
					b = append(b, byte(rng.Uint32()))
				}
				v.send(c, v.request(2*i+1, service, method, b))
			}
		}
	}
}

func (v *victim) halfMessages(*rand.Rand) {
	whole := v.wait(1)
	for i := range whole {
		v.send(v.dial(), whole[:i])
	}
	// What they promise costs nothing before it comes.
	for range 50 {
		v.send(v.dial(), message(1, 1, make([]byte, 4<<20))[:100])
	}
	v.send(v.dial(), []byte("\xff\xff\xff\xff\x00\x00\x00\x01\x01\x00"))
}

func (v *victim) neverReads(*rand.Rand) {
	c := v.dial()
	payload, err := (&task.StateRequest{Id: v.c.ContainerID}).Marshal()
	if err != nil {
		v.t.Fatal(err)
	}
	const enough = 1 << 16 // far more than the kernel's buffers hold
	for i := range uint32(enough) {
		if err := c.SetWriteDeadline(time.Now().Add(3 * time.Second)); err != nil {
			v.t.Fatal(err)
		}
		if _, err := c.Write(v.request(2*i+1, task.ServiceV3, "State", payload)); err != nil {
			return
		}
	}
	v.t.Errorf("%d requests were taken from a peer that reads no answer", enough)
}

func (v *victim) comeAndGo(*rand.Rand) {
	for i := range 1000 {
		c, err := net.Dial("unix", v.socket)
		if err != nil {
			v.t.Fatal(err)
		}
		if i%2 == 0 {
			v.send(c, v.wait(1))
		}
		c.Close()
	}
}

// idleFlood opens more connections than a shim has at most.
func (v *victim) idleFlood(*rand.Rand) {
	for range 1200 {
		v.dial()
	}
	v.newcomer()
	v.leave()
	// Those who have said something are not sent away for others: there are as many
	// as there may be, and who was there before them is still served.
	for range 1200 {
		v.send(v.dial(), make([]byte, 10))
	}
	served := 0
	for _, c := range v.conns {
		if _, err := io.ReadFull(c, make([]byte, 10)); err == nil {
			served++
		}
	}
	if served == 0 || served > 1024 {
		v.t.Errorf("%d of %d connections are served at a time", served, len(v.conns))
	}
	answersEverything(v.t, v.d, v.c)
	v.leave()
}

// anonymous is a process's memory of its own, in bytes.
func anonymous(t *testing.T, p *client.Hold) int {
	t.Helper()
	u, err := usage.Of(p.Pid())
	if err != nil {
		t.Fatal(err)
	}
	return int(u.Anonymous)
}
