package version

import (
	"io"
	"runtime"
)

// The build stamps these with
//
//	-ldflags "-X github.com/holdfast-shim/holdfast/version.Version=v1.2.3
//	          -X github.com/holdfast-shim/holdfast/version.Revision=0123abcd"
//
// They are variables only because the linker can set nothing else.
var (
	// Version is the release, or "dev" for a build that nobody stamped.
	Version = "dev"
	// Revision is the commit that was built; empty when unknown.
	Revision = ""
)

// Write prints the version of program in the lines that containerd's own
// shims answer -v with, which some installers parse.
func Write(w io.Writer, program string) error {
	_, err := io.WriteString(w, program+":\n"+
		"  Version:  "+Version+"\n"+
		"  Revision: "+Revision+"\n"+
		"  Go version: "+runtime.Version()+"\n\n")
	return err
}
