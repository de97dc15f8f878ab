package scenario

import (
	"fmt"
	"os"
	"strings"
)

// Block is a step of a story.
type Block struct {
	Line     int      // of the file where it begins
	Comments []string // with their #
	Commands []string
	Result   []string // what came of the commands
}

const dashes = "----"

// Read reads a file.
func Read(path string) ([]Block, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	blocks, err := Parse(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s:%w", path, err)
	}
	return blocks, nil
}

// Parse reads the text of a file. An error begins with the line's number.
func Parse(text string) ([]Block, error) {
	var (
		blocks []Block
		b      Block
		result bool // after the dashes
	)
	end := func() {
		if len(b.Comments)+len(b.Commands) > 0 {
			blocks = append(blocks, b)
		}
		b, result = Block{}, false
	}
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimRight(line, " \t\r")
		switch {
		case line == "":
			if len(b.Commands) > 0 && !result {
				return nil, fmt.Errorf("%d: commands without %s and a result", i+1, dashes)
			}
			end()
			continue
		case b.Line == 0:
			b.Line = i + 1
		}
		switch {
		case line == dashes:
			if result || len(b.Commands) == 0 {
				return nil, fmt.Errorf("%d: %s without commands", i+1, dashes)
			}
			result = true
		case result:
			b.Result = append(b.Result, line)
		case strings.HasPrefix(line, "#"):
			if len(b.Commands) > 0 {
				return nil, fmt.Errorf("%d: a comment stands before the commands", i+1)
			}
			b.Comments = append(b.Comments, line)
		default:
			b.Commands = append(b.Commands, line)
		}
	}
	if len(b.Commands) > 0 && !result {
		return nil, fmt.Errorf("%d: commands without %s and a result", b.Line, dashes)
	}
	end()
	return blocks, nil
}

// Format is the text that Parse reads.
func Format(blocks []Block) string {
	var s strings.Builder
	for i, b := range blocks {
		if i > 0 {
			s.WriteString("\n")
		}
		for _, lines := range [][]string{b.Comments, b.Commands} {
			for _, line := range lines {
				s.WriteString(line + "\n")
			}
		}
		if len(b.Commands) > 0 {
			s.WriteString(dashes + "\n")
		}
		for _, line := range b.Result {
			s.WriteString(line + "\n")
		}
	}
	return s.String()
}
