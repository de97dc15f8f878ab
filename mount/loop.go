package mount

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// attachLoop attaches file to a free loop device. The kernel frees the device when
// the last one who has it open, a mount of it included, is gone: the caller closes
// it when it is mounted. It needs Linux 5.8.
func attachLoop(file string, readOnly, direct bool) (*os.File, error) {
	mode := os.O_RDWR
	if readOnly {
		mode = os.O_RDONLY
	}
	back, err := os.OpenFile(file, mode|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("option loop: %w", err)
	}
	defer back.Close()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("option loop: %w", err)
	}
	defer control.Close()

	config := unix.LoopConfig{Fd: uint32(back.Fd())}
	config.Info.Flags = unix.LO_FLAGS_AUTOCLEAR
	if readOnly {
		config.Info.Flags |= unix.LO_FLAGS_READ_ONLY
	}
	if direct {
		config.Info.Flags |= unix.LO_FLAGS_DIRECT_IO
	}
	// The name is for people (losetup shows it); its last byte stays NUL.
	copy(config.Info.File_name[:len(config.Info.File_name)-1], file)

	// Between asking for a free device and taking it another process can take it.
	const tries = 128
	for range tries {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fmt.Errorf("option loop: find a free loop device: %w", err)
		}
		dev, err := os.OpenFile("/dev/loop"+strconv.Itoa(n), mode|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("option loop: %w", err)
		}
		err = unix.IoctlLoopConfigure(int(dev.Fd()), &config)
		if err == nil {
			return dev, nil
		}
		dev.Close()
		if !errors.Is(err, unix.EBUSY) {
			return nil, fmt.Errorf("option loop: attach %s to a loop device: %w", file, err)
		}
	}
	return nil, fmt.Errorf("option loop: no loop device stayed free: %w", unix.EBUSY)
}
