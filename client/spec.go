package client

import (
	"encoding/json"
	"path"
)

// Spec is the part of an OCI runtime configuration that this package writes.
// Fields left out are the runtime's defaults. It is meant for writing: a
// config.json made elsewhere may hold more than this can carry.
type Spec struct {
	Version     string            `json:"ociVersion"`
	Process     *SpecProcess      `json:"process,omitempty"`
	Root        SpecRoot          `json:"root"`
	Hostname    string            `json:"hostname,omitempty"`
	Mounts      []SpecMount       `json:"mounts,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Linux       SpecLinux         `json:"linux"`
}

// SpecProcess is an OCI process: init's in a Spec, or the whole spec of an exec.
type SpecProcess struct {
	Terminal        bool         `json:"terminal,omitempty"`
	ConsoleSize     *SpecSize    `json:"consoleSize,omitempty"`
	User            SpecUser     `json:"user"`
	Args            []string     `json:"args"`
	Env             []string     `json:"env,omitempty"`
	Cwd             string       `json:"cwd"`
	Capabilities    *SpecCaps    `json:"capabilities,omitempty"`
	Rlimits         []SpecRlimit `json:"rlimits,omitempty"`
	NoNewPrivileges bool         `json:"noNewPrivileges,omitempty"`
	OOMScoreAdj     *int         `json:"oomScoreAdj,omitempty"`
}

// SpecSize is a terminal's size in characters.
type SpecSize struct {
	Height uint32 `json:"height"`
	Width  uint32 `json:"width"`
}

// SpecUser is who a process runs as; ids are the container's.
type SpecUser struct {
	UID            uint32   `json:"uid"`
	GID            uint32   `json:"gid"`
	AdditionalGids []uint32 `json:"additionalGids,omitempty"`
}

// SpecCaps are a process's capability sets by name (CAP_…).
type SpecCaps struct {
	Bounding    []string `json:"bounding,omitempty"`
	Effective   []string `json:"effective,omitempty"`
	Inheritable []string `json:"inheritable,omitempty"`
	Permitted   []string `json:"permitted,omitempty"`
	Ambient     []string `json:"ambient,omitempty"`
}

// SpecRlimit is one resource limit, in the unit of the resource.
type SpecRlimit struct {
	Type string `json:"type"`
	Hard uint64 `json:"hard"`
	Soft uint64 `json:"soft"`
}

// SpecRoot is the container's root directory, relative to the bundle.
type SpecRoot struct {
	Path     string `json:"path"`
	Readonly bool   `json:"readonly,omitempty"`
}

// SpecMount is a mount made inside the container by the runtime.
type SpecMount struct {
	Destination string   `json:"destination"`
	Type        string   `json:"type,omitempty"`
	Source      string   `json:"source,omitempty"`
	Options     []string `json:"options,omitempty"`
}

// SpecLinux is what of a Spec only Linux has.
type SpecLinux struct {
	Namespaces    []SpecNamespace `json:"namespaces,omitempty"`
	CgroupsPath   string          `json:"cgroupsPath,omitempty"`
	Resources     *SpecResources  `json:"resources,omitempty"`
	MaskedPaths   []string        `json:"maskedPaths,omitempty"`
	ReadonlyPaths []string        `json:"readonlyPaths,omitempty"`
}

// SpecNamespace is a kernel namespace: a new one, or the one at Path.
type SpecNamespace struct {
	Type string `json:"type"`
	Path string `json:"path,omitempty"`
}

// SpecResources are limits of the container's cgroup. It is also what Update
// takes, as JSON in an Any.
type SpecResources struct {
	Devices []SpecDevice `json:"devices,omitempty"`
	Memory  *SpecMemory  `json:"memory,omitempty"`
	CPU     *SpecCPU     `json:"cpu,omitempty"`
	Pids    *SpecPids    `json:"pids,omitempty"`
}

// SpecDevice is a rule of the device cgroup.
type SpecDevice struct {
	Allow  bool   `json:"allow"`
	Type   string `json:"type,omitempty"`
	Major  *int64 `json:"major,omitempty"`
	Minor  *int64 `json:"minor,omitempty"`
	Access string `json:"access,omitempty"`
}

// SpecMemory limits memory, in bytes.
type SpecMemory struct {
	Limit *int64 `json:"limit,omitempty"`
	Swap  *int64 `json:"swap,omitempty"`
}

// SpecCPU limits CPU time: Quota microseconds of each Period microseconds.
type SpecCPU struct {
	Shares *uint64 `json:"shares,omitempty"`
	Quota  *int64  `json:"quota,omitempty"`
	Period *uint64 `json:"period,omitempty"`
}

// SpecPids limits the number of tasks.
type SpecPids struct {
	Limit int64 `json:"limit"`
}

// DefaultPath is the PATH that a container's process gets unless told otherwise.
const DefaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// DefaultSpec is a container like the one `ctr run` makes: its own pid, ipc,
// uts, mount and network namespaces, the usual pseudo filesystems, containerd's
// default capabilities, masked and read-only paths, and the cgroup
// /<namespace>/<id>. Its root is the bundle's rootfs. args is the command and
// its arguments.
//
// It raises no limit of the caller's, so it works without CAP_SYS_RESOURCE as
// long as the caller may have 1024 open files.
func DefaultSpec(namespace, id string, args ...string) *Spec {
	return &Spec{
		Version: "1.0.2",
		Process: DefaultProcess(args...),
		Root:    SpecRoot{Path: "rootfs"},
		Mounts: []SpecMount{
			{"/proc", "proc", "proc", []string{"nosuid", "noexec", "nodev"}},
			{"/dev", "tmpfs", "tmpfs", []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
			{"/dev/pts", "devpts", "devpts", []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
			{"/dev/shm", "tmpfs", "shm", []string{"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}},
			{"/dev/mqueue", "mqueue", "mqueue", []string{"nosuid", "noexec", "nodev"}},
			{"/sys", "sysfs", "sysfs", []string{"nosuid", "noexec", "nodev", "ro"}},
			{"/run", "tmpfs", "tmpfs", []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		},
		Linux: SpecLinux{
			Namespaces: []SpecNamespace{
				{Type: "pid"}, {Type: "ipc"}, {Type: "uts"}, {Type: "mount"}, {Type: "network"},
			},
			CgroupsPath: path.Join("/", namespace, id),
			Resources:   &SpecResources{Devices: []SpecDevice{{Allow: false, Access: "rwm"}}},
			MaskedPaths: []string{
				"/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
				"/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
			},
			ReadonlyPaths: []string{
				"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
			},
		},
	}
}

// DefaultProcess is init's process in DefaultSpec, and a good spec of an exec.
func DefaultProcess(args ...string) *SpecProcess {
	return &SpecProcess{
		Args: args,
		Env:  []string{DefaultPath},
		Cwd:  "/",
		Capabilities: &SpecCaps{
			Bounding: defaultCaps(), Effective: defaultCaps(), Permitted: defaultCaps(),
		},
		Rlimits:         []SpecRlimit{{Type: "RLIMIT_NOFILE", Hard: 1024, Soft: 1024}},
		NoNewPrivileges: true,
	}
}

// defaultCaps are containerd's (oci/spec.go).
func defaultCaps() []string {
	return []string{
		"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD",
		"CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP",
		"CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
	}
}

// JSON is the text of config.json.
func (s *Spec) JSON() ([]byte, error) { return json.Marshal(s) }

// Namespace returns the spec's namespace of that type, or nil.
func (s *Spec) Namespace(kind string) *SpecNamespace {
	for i := range s.Linux.Namespaces {
		if s.Linux.Namespaces[i].Type == kind {
			return &s.Linux.Namespaces[i]
		}
	}
	return nil
}

// Annotate sets an annotation; the shim's grouping goes by these.
func (s *Spec) Annotate(key, value string) {
	if s.Annotations == nil {
		s.Annotations = make(map[string]string)
	}
	s.Annotations[key] = value
}

// The annotations by which containers share a shim (containerd's runc v2 shim;
// the first one wins).
const (
	GroupAnnotation   = "io.containerd.runc.v2.group"
	SandboxAnnotation = "io.kubernetes.cri.sandbox-id"
)
