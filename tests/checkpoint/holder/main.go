// Command holder runs in a container, counts on its standard output and holds what
// criu writes down only when it is allowed to:
//
//	holder lock FILE    a lock of the file
//	holder unix SOCKET  a connection to a datagram socket outside the container,
//	                    which gets the numbers too
//	holder tcp ADDRESS  both ends of a TCP connection to that address of its own;
//	                    what goes in at one end is what is counted at the other
package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) != 3 {
		fail(fmt.Errorf("want a kind and a name, not %q", os.Args[1:]))
	}
	err := fmt.Errorf("unknown kind %q", os.Args[1])
	switch os.Args[1] {
	case "lock":
		err = lock(os.Args[2])
	case "unix":
		err = unix(os.Args[2])
	case "tcp":
		err = tcp(os.Args[2])
	}
	fail(err)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "holder:", err)
	os.Exit(1)
}

// count writes numbers for ever.
func count(w io.Writer) error {
	for i := 1; ; i++ {
		if _, err := fmt.Fprintln(w, i); err != nil {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func lock(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	defer f.Close()
	return count(os.Stdout)
}

func unix(path string) error {
	conn, err := net.Dial("unixgram", path)
	if err != nil {
		return err
	}
	return count(io.MultiWriter(conn, os.Stdout))
}

func tcp(address string) error {
	config := net.ListenConfig{}
	config.SetMultipathTCP(false) // which criu knows nothing of
	l, err := config.Listen(context.Background(), "tcp", address)
	if err != nil {
		return err
	}
	in, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return err
	}
	out, err := l.Accept()
	if err != nil {
		return err
	}
	errs := make(chan error, 2)
	go func() { errs <- count(in) }()
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			fmt.Println(lines.Text())
		}
		errs <- lines.Err()
	}()
	return <-errs
}
