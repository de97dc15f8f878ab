package main

import (
	"debug/elf"
	"fmt"
	"os"
	"strings"
)

// strippedSize is the size in bytes that the ELF file at path has, or would
// have, without symbols and debug information.
func strippedSize(path string) (int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	f, err := elf.Open(path)
	if err != nil {
		return 0, fmt.Errorf("size of %s: %w", path, err)
	}
	defer f.Close()
	size := info.Size()
	for _, s := range f.Sections {
		if s.Flags&elf.SHF_ALLOC == 0 && strippable(s.Name) {
			size -= int64(s.FileSize)
		}
	}
	return size, nil
}

func strippable(section string) bool {
	return section == ".symtab" || section == ".strtab" ||
		strings.HasPrefix(section, ".debug_") || strings.HasPrefix(section, ".zdebug_")
}

// sizes weighs the binaries.
func (b *bench) sizes() error {
	return b.each(func(d *daemon) error {
		size, err := strippedSize(d.shim.Path)
		if err == nil {
			b.add("size.binary", d, float64(size)/1e6)
		}
		return err
	})
}
