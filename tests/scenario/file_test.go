package scenario

import (
	"reflect"
	"strings"
	"testing"
)

const story = `# A story.

# It begins.
create c1
start c1
----
create c1: pid 1

delete c1
----
`

func TestAStoryIsReadAndWrittenAsItIs(t *testing.T) {
	blocks, err := Parse(story)
	if err != nil {
		t.Fatal(err)
	}
	want := []Block{
		{Line: 1, Comments: []string{"# A story."}},
		{Line: 3, Comments: []string{"# It begins."}, Commands: []string{"create c1", "start c1"}, Result: []string{"create c1: pid 1"}},
		{Line: 9, Commands: []string{"delete c1"}},
	}
	if !reflect.DeepEqual(blocks, want) {
		t.Errorf("got %+v", blocks)
	}
	if got := Format(blocks); got != story {
		t.Errorf("written as\n%s", got)
	}
}

func TestWhatIsNoStoryIsRefusedWithItsLine(t *testing.T) {
	for text, line := range map[string]string{
		"create c1\n\n----\n":          "2",
		"\n----\n":                     "2",
		"create c1\n----\nx\n----\n":   "4",
		"create c1":                    "1",
		"create c1\n# late\n----\nx\n": "2",
	} {
		_, err := Parse(text)
		if err == nil || !strings.HasPrefix(err.Error(), line+":") {
			t.Errorf("%q: %v, want line %s", text, err, line)
		}
	}
}
