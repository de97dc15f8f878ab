package main

import (
	"encoding/xml"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPlotsAreWellFormedAndShowWhatWasMeasured(t *testing.T) {
	r := &report{
		Shims: []*shim{{Name: "ours"}, {Name: "theirs & <others>"}},
		Rows: []row{
			{Key: "memory.rss", Label: "RSS", Unit: "MB", Values: map[string]spread{"ours": {Median: 7.25}, "theirs & <others>": {Median: 14.5}}},
			{Key: "memory.threads", Label: "threads", Values: map[string]spread{"ours": {Median: 6}}},
		},
	}
	dir := t.TempDir()
	if err := r.writeSVG(dir); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "memory.svg"))
	if err != nil {
		t.Fatal(err)
	}
	bars, words := 0, ""
	for d := xml.NewDecoder(strings.NewReader(string(text))); ; {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			if token.Name.Local == "rect" {
				bars++
			}
		case xml.CharData:
			words += string(token)
		}
	}
	if want := 1 + 2 + 3; bars != want { // the ground, the legend, the values
		t.Errorf("%d rectangles, want %d", bars, want)
	}
	for _, want := range []string{"RSS, MB", "7.25", "14.5", "threads", "theirs & <others>"} {
		if !strings.Contains(words, want) {
			t.Errorf("%q is not in the picture", want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "stdout.svg")); !os.IsNotExist(err) {
		t.Errorf("a plot of nothing: %v", err)
	}
}
