package bundle

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// ExitRecord is how a container's init ended. The shim writes it as soon as it
// knows, so that `delete` can tell the truth when the shim has died since.
type ExitRecord struct {
	Pid      int       // as seen by the shim
	Status   uint32    // exit code, or 128 + the number of the signal that ended it
	ExitedAt time.Time // when the shim learned of it
}

// Write puts the record into the bundle dir, replacing an earlier one.
func (r ExitRecord) Write(dir string) error {
	// By hand: this is on the way of an exit, which should cost nothing.
	b := make([]byte, 0, 96)
	b = append(b, `{"pid":`...)
	b = strconv.AppendInt(b, int64(r.Pid), 10)
	b = append(b, `,"status":`...)
	b = strconv.AppendUint(b, uint64(r.Status), 10)
	b = append(b, `,"exited_at":"`...)
	b = r.ExitedAt.UTC().AppendFormat(b, time.RFC3339Nano)
	b = append(b, "\"}\n"...)
	return write(dir, ExitFile, b)
}

// ReadExitRecord returns the record in the bundle dir. The error is
// [io/fs.ErrNotExist] when there is none and [ErrCorrupt] when it cannot be
// believed.
func ReadExitRecord(dir string) (ExitRecord, error) {
	b, err := read(dir, ExitFile, small)
	if err != nil {
		return ExitRecord{}, fmt.Errorf("read the exit record: %w", err)
	}
	r, err := ParseExitRecord(b)
	if err != nil {
		return ExitRecord{}, fmt.Errorf("read the exit record in %s: %w", dir, err)
	}
	return r, nil
}

// ParseExitRecord is the pure half of [ReadExitRecord]. Half a record is no
// record: every field must be there.
func ParseExitRecord(b []byte) (ExitRecord, error) {
	var raw struct {
		Pid      *int       `json:"pid"`
		Status   *uint32    `json:"status"`
		ExitedAt *time.Time `json:"exited_at"`
	}
	if err := json.Unmarshal(b, &raw); err != nil {
		return ExitRecord{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	switch {
	case raw.Pid == nil || *raw.Pid <= 0:
		return ExitRecord{}, fmt.Errorf("%w: no pid", ErrCorrupt)
	case raw.Status == nil:
		return ExitRecord{}, fmt.Errorf("%w: no status", ErrCorrupt)
	case raw.ExitedAt == nil || raw.ExitedAt.IsZero():
		return ExitRecord{}, fmt.Errorf("%w: no time", ErrCorrupt)
	}
	return ExitRecord{Pid: *raw.Pid, Status: *raw.Status, ExitedAt: raw.ExitedAt.UTC()}, nil
}
