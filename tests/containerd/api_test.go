package containerd

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

// dial connects to containerd's own API, for what ctr has no command for. The
// connection closes with the test.
func (d *daemon) dial() *grpc.ClientConn {
	d.t.Helper()
	conn, err := grpc.NewClient("unix://"+d.socket(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { conn.Close() })
	return conn
}

// ctx is for one call: it names the namespace and ends with the test's patience.
func (d *daemon) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	d.t.Cleanup(cancel)
	return metadata.AppendToOutgoingContext(ctx, "containerd-namespace", d.namespace)
}
