package wkt

import "time"

// Now is the present moment.
func Now() *Timestamp { return Time(time.Now()) }

// Time gives t as a Timestamp. The zero time becomes the first second of year 1,
// as containerd's own code has it, and AsTime brings it back.
func Time(t time.Time) *Timestamp {
	return &Timestamp{Seconds: t.Unix(), Nanos: int32(t.Nanosecond())}
}

// AsTime gives m in UTC. An absent Timestamp is the zero time.
func (m *Timestamp) AsTime() time.Time {
	if m == nil {
		return time.Time{}
	}
	return time.Unix(m.Seconds, int64(m.Nanos)).UTC()
}
