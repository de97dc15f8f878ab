package tests

import (
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/tests/harness"
)

// A daemon's log shows a shim's as its own, and its errors alarm people.
func TestClientsThatGoAwayBeforeTheirAnswerAreNoErrors(t *testing.T) {
	d := harness.New(t)
	c := d.Create("sleep", "1000")
	c.Start()
	v := &victim{t: t, d: d, c: c, socket: strings.TrimPrefix(c.Shim.Endpoint.Address, "unix://")}
	payload, err := (&task.StateRequest{Id: c.ContainerID}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		conn, err := net.Dial("unix", v.socket)
		if err != nil {
			t.Fatal(err)
		}
		// It asks and takes no answer: the shim cannot send what it has read the
		// question of, and gives the connection up.
		if err := conn.(*net.UnixConn).CloseRead(); err != nil {
			t.Fatal(err)
		}
		ask := v.request(1, task.ServiceV3, "State", payload)
		d.Eventually("the shim gives the connection up", func() error {
			if _, err := conn.Write(ask); err == nil {
				return errors.New("it takes requests")
			}
			return nil
		})
		conn.Close()
	}
	v.newcomer()
	c.Finish()
	told := false
	for line := range strings.Lines(d.ShimLog.String()) {
		if !strings.HasPrefix(line, "{") || strings.Contains(line, `"level":"error"`) || strings.Contains(line, `"level":"warn"`) {
			t.Errorf("in the shim's log: %s", line)
		}
		told = told || strings.Contains(line, `"msg":"ttrpc"`)
	}
	if !told {
		t.Error("no client was gone before its answer: the test has shown nothing")
	}
}
