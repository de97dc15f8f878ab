package tests

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/tests/harness"
)

// A ttrpc server that is told to end may close a connection together with the answer
// that it has just been handed. On a machine with much to do, as here, some of these
// had none. A ttrpc client may take an answer that comes right before the connection's
// end for none, so the bytes are what counts.
func TestShutdownIsAnsweredBeforeTheShimEnds(t *testing.T) {
	const lanes, each = 16, 5
	d := harness.New(t)
	var group errgroup.Group
	for lane := range lanes {
		group.Go(func() error {
			var errs []error
			for i := range each {
				errs = append(errs, shutDownEmpty(d, fmt.Sprintf("empty-%d-%d", lane, i)))
			}
			return errors.Join(errs...)
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}

// shutDownEmpty starts a shim without a container and reads its answer to Shutdown.
func shutDownEmpty(d *harness.Daemon, id string) error {
	b, err := d.NewBundle(id, []byte("{}"))
	if err != nil {
		return err
	}
	s, err := d.Launcher.Start(d.Ctx(), b, nil)
	if err != nil {
		return err
	}
	conn, err := net.Dial("unix", strings.TrimPrefix(s.Endpoint.Address, "unix://"))
	if err != nil {
		return err
	}
	defer conn.Close()
	ask, err := requestFrame(1, task.ServiceV3, "Shutdown", nil)
	if err != nil {
		return err
	}
	if _, err := conn.Write(ask); err != nil {
		return err
	}
	got, err := io.ReadAll(conn)
	if err == nil && (len(got) < 10 || got[8] != 2 || 10+int(binary.BigEndian.Uint32(got)) != len(got)) {
		err = fmt.Errorf("answered %q", got)
	}
	if err != nil {
		err = fmt.Errorf("shut down %s: %w", id, err)
	}
	<-s.Closed()
	return errors.Join(err, b.Delete())
}
