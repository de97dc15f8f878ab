package mount

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// layer is one lower directory of an overlay.
type layer struct {
	raw  string // as in the option: ':', ',' and '\' behind a backslash
	data bool   // it follows "::": only file data is looked up in it
}

func (l layer) path() string { return unescape(l.raw) }

// overlay is the data of an overlay mount, its directories set apart.
type overlay struct {
	lower       []layer // uppermost first
	upper, work string  // as in the options; empty when there is none
	rest        []string
}

// parseOverlay parts the data. Like the kernel it takes the last of options that
// are given twice.
func parseOverlay(data []string) overlay {
	var ov overlay
	for _, d := range data {
		for len(d) > 0 {
			var one string
			one, d = nextOption(d)
			switch key, value, _ := strings.Cut(one, "="); key {
			case "":
			case "lowerdir":
				ov.lower = splitLayers(value)
			case "lowerdir+":
				ov.lower = append(ov.lower, layer{raw: escape(value)})
			case "datadir+":
				ov.lower = append(ov.lower, layer{raw: escape(value), data: true})
			case "upperdir":
				ov.upper = value
			case "workdir":
				ov.work = value
			default:
				ov.rest = append(ov.rest, one)
			}
		}
	}
	return ov
}

// splitLayers parts the value of lowerdir: by ":", and by "::" where the layers
// begin that hold data only.
func splitLayers(list string) []layer {
	var layers []layer
	start, data := 0, false
	add := func(end int) {
		if end > start {
			layers = append(layers, layer{raw: list[start:end], data: data})
		}
	}
	for i := 0; i < len(list); i++ {
		switch list[i] {
		case '\\':
			i++
		case ':':
			add(i)
			if i+1 < len(list) && list[i+1] == ':' {
				data = true
				i++
			}
			start = i + 1
		}
	}
	add(len(list))
	return layers
}

// options writes the data for mount(2).
func (ov *overlay) options() string {
	var b strings.Builder
	for _, r := range ov.rest {
		b.WriteString(r)
		b.WriteByte(',')
	}
	if ov.upper != "" {
		b.WriteString("upperdir=" + ov.upper + ",")
	}
	if ov.work != "" {
		b.WriteString("workdir=" + ov.work + ",")
	}
	b.WriteString("lowerdir=")
	for i, l := range ov.lower {
		switch {
		case i == 0:
		case l.data:
			b.WriteString("::")
		default:
			b.WriteByte(':')
		}
		b.WriteString(l.raw)
	}
	return b.String()
}

// params writes the data for fsconfig(2), one layer at a time. There a layer's path
// is taken as it is, while those of upperdir and workdir are unescaped as in
// mount(2).
func (ov *overlay) params() []param {
	ps := make([]param, 0, len(ov.rest)+len(ov.lower)+2)
	for _, r := range ov.rest {
		ps = append(ps, newParam(r))
	}
	for _, l := range ov.lower {
		key := "lowerdir+"
		if l.data {
			key = "datadir+"
		}
		ps = append(ps, param{key: key, value: l.path()})
	}
	if ov.upper != "" {
		ps = append(ps, param{key: "upperdir", value: ov.upper})
	}
	if ov.work != "" {
		ps = append(ps, param{key: "workdir", value: ov.work})
	}
	return ps
}

// createOverlay mounts an overlay by the shortest way its options allow.
func (m *Mount) createOverlay(dir *rootDir, o *options) (attached bool, err error) {
	if o.idmapped() {
		return m.createOverlayIDMapped(dir, o)
	}
	if data := o.joined(); fits(data) == nil {
		return m.createByMount(dir, m.Source, o, data)
	}
	ov := parseOverlay(o.data)
	if appendsLayers() {
		return m.createByLayers(dir, o, ov)
	}
	return m.createByShortNames(dir, o, ov)
}

// appendsLayers says whether overlay takes its layers one by one: Linux 6.7.
func appendsLayers() bool {
	fd, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	// Up to 6.4 overlay has the old interface, which takes any option until the
	// superblock is made.
	if unix.FsconfigSetFlag(fd, "no-such-option-of-overlay") == nil {
		return false
	}
	return unix.FsconfigSetString(fd, "lowerdir+", "/") == nil
}

// createByLayers gives the kernel one layer after the other. Paths that are too
// long for one option go by a descriptor's name.
func (m *Mount) createByLayers(dir *rootDir, o *options, ov overlay) (attached bool, err error) {
	var fds fdNames
	defer fds.close()
	params := ov.params()
	for i := range params {
		p := &params[i]
		if len(p.value) <= mostValue {
			continue
		}
		path := p.value
		switch p.key {
		case "lowerdir+", "datadir+":
		case "upperdir", "workdir":
			path = unescape(path)
		default:
			continue
		}
		name, err := fds.add(path)
		if err != nil {
			return false, fmt.Errorf("option %s: %w", p.key, err)
		}
		p.value = "/proc/self/fd/" + name
	}
	return m.createByContext(dir, m.Source, o, params)
}

// createByShortNames brings the options into one page: the lower layers relative to
// the directory they share, or else all directories by descriptor numbers. The names
// a process reads in the table of mounts are then those; the kernel itself has
// resolved them once and does not look again.
func (m *Mount) createByShortNames(dir *rootDir, o *options, ov overlay) (attached bool, err error) {
	var fds fdNames
	defer fds.close()
	cwd, data := "", ""
	if shared, short, ok := ov.relative(); ok {
		cwd, data = shared, short.options()
	}
	if cwd == "" || fits(data) != nil {
		short, err := ov.numbered(&fds)
		if err != nil {
			return false, err
		}
		cwd, data = "/proc/self/fd", short.options()
	}
	if err := fits(data); err != nil {
		return false, err
	}
	err = m.on(dir, func(path string) error {
		return inDir(cwd, func() error {
			return call("mount", unix.Mount(m.Source, path, m.Type, o.flags, data))
		})
	})
	if err != nil {
		return false, m.explain(err, m.Source, o)
	}
	return true, nil
}

// relative names the lower layers relative to the deepest directory that holds
// them all.
func (ov *overlay) relative() (cwd string, short overlay, ok bool) {
	if len(ov.lower) < 2 {
		return "", overlay{}, false
	}
	shared := filepath.Dir(filepath.Clean(ov.lower[0].path()))
	for _, l := range ov.lower {
		path := filepath.Clean(l.path())
		for !strings.HasPrefix(path, shared+"/") {
			if shared = filepath.Dir(shared); shared == "/" || shared == "." {
				return "", overlay{}, false
			}
		}
	}
	short = *ov
	short.lower = make([]layer, len(ov.lower))
	for i, l := range ov.lower {
		path := filepath.Clean(l.path())
		short.lower[i] = layer{raw: escape(path[len(shared)+1:]), data: l.data}
	}
	return shared, short, true
}

// numbered names every directory by the number of a descriptor in fds.
func (ov *overlay) numbered(fds *fdNames) (short overlay, err error) {
	short = *ov
	short.lower = make([]layer, len(ov.lower))
	for i, l := range ov.lower {
		name, err := fds.add(l.path())
		if err != nil {
			return short, fmt.Errorf("option lowerdir: %w", err)
		}
		short.lower[i] = layer{raw: name, data: l.data}
	}
	if ov.upper != "" {
		if short.upper, err = fds.add(unescape(ov.upper)); err != nil {
			return short, fmt.Errorf("option upperdir: %w", err)
		}
	}
	if ov.work != "" {
		if short.work, err = fds.add(unescape(ov.work)); err != nil {
			return short, fmt.Errorf("option workdir: %w", err)
		}
	}
	return short, nil
}

// unreachable names a directory of the overlay that cannot be opened.
func (ov *overlay) unreachable() error {
	var fds fdNames
	defer fds.close()
	_, err := ov.numbered(&fds)
	return err
}

// fdNames gives directories short names: their descriptors' numbers, good as names
// in /proc/self/fd until close.
type fdNames struct {
	fds []int
}

func (f *fdNames) add(path string) (string, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", &os.PathError{Op: "open", Path: path, Err: err}
	}
	f.fds = append(f.fds, fd)
	return strconv.Itoa(fd), nil
}

func (f *fdNames) close() {
	for _, fd := range f.fds {
		unix.Close(fd)
	}
}

// unescape takes away the backslashes that guard characters in overlay's paths.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// escape puts them there.
func escape(s string) string {
	if !strings.ContainsAny(s, `\:,`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' || s[i] == ':' || s[i] == ',' {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
