package wkt_test

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/holdfast-shim/holdfast/proto/wkt"
)

func TestTimeIsTheOfficialTimestamp(t *testing.T) {
	for _, at := range []time.Time{
		{},
		time.Unix(0, 0),
		time.Unix(0, -1),
		time.Date(1969, 12, 31, 23, 59, 59, 999999999, time.FixedZone("", 3600)),
		time.Date(2262, 4, 12, 0, 0, 0, 0, time.UTC), // past what nanoseconds alone can hold
		time.Date(9999, 12, 31, 23, 59, 59, 1, time.UTC),
		time.Now(),
	} {
		got, want := wkt.Time(at), timestamppb.New(at)
		if got.Seconds != want.Seconds || got.Nanos != want.Nanos {
			t.Errorf("%v: %d s %d ns, want %d s %d ns", at, got.Seconds, got.Nanos, want.Seconds, want.Nanos)
		}
		back := got.AsTime()
		if !back.Equal(at) || back.Location() != time.UTC || back.IsZero() != at.IsZero() {
			t.Errorf("%v came back as %v", at, back)
		}
	}
}

func TestAnAbsentTimestampIsTheZeroTime(t *testing.T) {
	var none *wkt.Timestamp
	if at := none.AsTime(); !at.IsZero() {
		t.Error(at)
	}
}

func TestNowIsNow(t *testing.T) {
	before := time.Now().Round(0)
	at := wkt.Now().AsTime()
	if after := time.Now().Round(0); at.Before(before) || at.After(after) {
		t.Errorf("%v is not between %v and %v", at, before, after)
	}
}

func TestAnyIsWhatFollowsTheLastSlash(t *testing.T) {
	for url, want := range map[string]bool{
		"a.B":         true,
		"host/a.B":    true,
		"host/p/a.B":  true,
		"/a.B":        true,
		"a.B/":        false,
		"xa.B":        false,
		"":            false,
		"host/a.B.C":  false,
		"a.B/a.C":     false,
		"host/xx.a.B": false,
	} {
		if got := (&wkt.Any{TypeUrl: url}).Is("a.B"); got != want {
			t.Errorf("%q: %v", url, got)
		}
	}
	var none *wkt.Any
	if none.Is("a.B") || none.Is("") {
		t.Error("a nil Any is of a type")
	}
}
