package cgroup

import (
	"os"
	"strconv"
	"strings"
	"sync"
)

// hugePages are the sizes of the machine's huge pages as they are called in the names
// of hugetlb's files: "2MB", "1GB". They do not change while it runs.
var hugePages struct {
	once  sync.Once
	sizes []string
}

func hugePageSizes() []string {
	hugePages.once.Do(func() {
		entries, err := os.ReadDir("/sys/kernel/mm/hugepages")
		if err != nil {
			return
		}
		for _, e := range entries {
			if size, ok := hugePageSize(e.Name()); ok {
				hugePages.sizes = append(hugePages.sizes, size)
			}
		}
	})
	return hugePages.sizes
}

// hugePageSize turns a name like "hugepages-2048kB" into "2MB".
func hugePageSize(name string) (string, bool) {
	kb, ok := strings.CutPrefix(name, "hugepages-")
	if !ok {
		return "", false
	}
	if kb, ok = strings.CutSuffix(kb, "kB"); !ok {
		return "", false
	}
	n, err := strconv.ParseUint(kb, 10, 64)
	if err != nil {
		return "", false
	}
	switch {
	case n >= 1<<20:
		return strconv.FormatUint(n>>20, 10) + "GB", true
	case n >= 1<<10:
		return strconv.FormatUint(n>>10, 10) + "MB", true
	}
	return strconv.FormatUint(n, 10) + "KB", true
}
