package containerd

import (
	"archive/tar"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/holdfast-shim/holdfast/tests/harness"
)

// pauseName is the image that holds a pod's namespaces.
const pauseName = "holdfast.test/pause:latest"

// configCRI has the CRI plugin do with what the build machines have: no loopback
// of a network plugin's, no capability to lower an OOM score. The containers'
// network is a plugin's that makes none. Containerd 2 reads it as its own.
func (d *daemon) configCRI() string {
	return fmt.Sprintf(`
[plugins."io.containerd.nri.v1.nri"]
disable = true
socket_path = %[4]q
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = %[1]q
restrict_oom_score_adj = true
disable_apparmor = true
disable_hugetlb_controller = true
netns_mounts_under_state_dir = true
stream_server_address = "127.0.0.1"
stream_server_port = "0"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = %[2]q
conf_dir = %[3]q
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
default_runtime_name = "runc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
Root = %[5]q
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.holdfast]
runtime_type = "io.containerd.holdfast.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.holdfast.options]
ConfigPath = %[6]q
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.section]
runtime_type = "io.containerd.holdfast.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.section.options]
Root = %[5]q
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.path]
runtime_type = "io.containerd.runc.v2"
runtime_path = %[7]q
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.path.options]
Root = %[5]q
`, pauseName, filepath.Join(d.dir, "cni"), filepath.Join(d.dir, "net.d"), filepath.Join(d.dir, "nri.sock"), filepath.Dir(d.runtimeRoot()), d.path("options.toml"), d.path(harness.ShimName))
}

// dirsCRI are the directories that the plugin keeps of each pod and container.
func (d *daemon) dirsCRI() []string {
	var dirs []string
	for _, top := range []string{"root", "state"} {
		for _, kind := range []string{"sandboxes", "containers", "netns"} {
			found, _ := filepath.Glob(filepath.Join(d.dir, top, "io.containerd.*cri*", kind)) // the pattern is well-formed
			dirs = append(dirs, found...)
		}
	}
	return dirs
}

// kubelet is one, as far as its daemon can tell.
type kubelet struct {
	*daemon
	api cri.RuntimeServiceClient
}

// startCRI starts a containerd with an image of busybox for a kubelet.
func startCRI(t *testing.T, env ...string) *kubelet {
	t.Helper()
	d := startFor(t, kubernetes, env...)
	k := &kubelet{d, cri.NewRuntimeServiceClient(d.dial())}
	pause, err := layer(func(w *tar.Writer) error {
		b, err := os.ReadFile(filepath.Join(d.rootfs, "bin", "busybox"))
		if err != nil {
			return err
		}
		if err := w.WriteHeader(&tar.Header{Name: "busybox", Mode: 0o755, Size: int64(len(b))}); err != nil {
			return err
		}
		_, err = w.Write(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	d.imports(image{pauseName, [][]byte{pause}, map[string]any{"Entrypoint": []string{"/busybox", "sleep", "1000000"}}})
	d.importImage()
	k.ready()
	return k
}

// layOutCRI writes what the configuration speaks of: plugins that make an address
// up and nothing else, and a runtime's options.
func (d *daemon) layOutCRI() error {
	plugin := `#!/bin/sh
case $CNI_COMMAND in
ADD) echo '{"cniVersion":"0.4.0","interfaces":[{"name":"'$CNI_IFNAME'","sandbox":"'$CNI_NETNS'"}],"ips":[{"version":"4","interface":0,"address":"10.0.0.2/24"}]}' ;;
VERSION) echo '{"cniVersion":"0.4.0","supportedVersions":["0.3.1","0.4.0"]}' ;;
esac
`
	for path, f := range map[string]struct {
		text string
		mode os.FileMode
	}{
		"cni/none":               {plugin, 0o755},
		"cni/loopback":           {plugin, 0o755},
		"options.toml":           {fmt.Sprintf("Root = %q\n", filepath.Dir(d.runtimeRoot())), 0o644},
		"net.d/10-none.conflist": {`{"cniVersion":"0.4.0","name":"none","plugins":[{"type":"none"}]}`, 0o644},
	} {
		path = filepath.Join(d.dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(f.text), f.mode); err != nil {
			return err
		}
	}
	return nil
}

// ready waits until the plugin serves and knows the images and the network.
func (k *kubelet) ready() {
	k.t.Helper()
	images := cri.NewImageServiceClient(k.dial())
	k.eventually("the CRI plugin is ready", func() error {
		s, err := k.api.Status(k.ctx(), &cri.StatusRequest{}, grpc.WaitForReady(true))
		if err != nil {
			return err
		}
		for _, c := range s.Status.Conditions {
			if !c.Status && (c.Type == cri.RuntimeReady || c.Type == cri.NetworkReady) {
				return fmt.Errorf("%w: %s: %s", errNotYet, c.Type, c.Message)
			}
		}
		for _, name := range []string{imageName, pauseName} {
			r, err := images.ImageStatus(k.ctx(), &cri.ImageStatusRequest{Image: &cri.ImageSpec{Image: name}})
			if err != nil {
				return err
			}
			if r.Image == nil {
				return fmt.Errorf("%w: no image %s", errNotYet, name)
			}
		}
		return nil
	})
}

// sandbox is a pod.
type sandbox struct {
	k      *kubelet
	id     string
	config *cri.PodSandboxConfig
}

// pod runs a pod on the host's network.
func (k *kubelet) pod(name string) *sandbox {
	k.t.Helper()
	p, err := k.tryPod(name, "", cri.NamespaceMode_NODE)
	if err != nil {
		k.t.Fatal(err)
	}
	return p
}

// tryPod is pod for any goroutine, for a handler of the daemon's configuration
// and a network.
func (k *kubelet) tryPod(name, handler string, network cri.NamespaceMode) (*sandbox, error) {
	p := &sandbox{k: k, config: &cri.PodSandboxConfig{
		Metadata:     &cri.PodSandboxMetadata{Name: name, Uid: name + "-uid", Namespace: "default"},
		LogDirectory: filepath.Join(k.dir, "logs", name),
		Linux: &cri.LinuxPodSandboxConfig{
			CgroupParent: "/" + k.scope,
			SecurityContext: &cri.LinuxSandboxSecurityContext{
				NamespaceOptions: &cri.NamespaceOption{Network: network, Pid: cri.NamespaceMode_CONTAINER},
			},
		},
	}}
	if network != cri.NamespaceMode_NODE {
		p.config.Hostname = name
	}
	r, err := k.api.RunPodSandbox(k.ctx(), &cri.RunPodSandboxRequest{Config: p.config, RuntimeHandler: handler})
	if err != nil {
		return nil, fmt.Errorf("run pod %s: %w", name, err)
	}
	p.id = r.PodSandboxId
	k.expect(p.id)
	return p, nil
}

// run starts a container of the pod and returns its id.
func (p *sandbox) run(name string, args ...string) string {
	p.k.t.Helper()
	return p.runWith(name, nil, args...)
}

// runWith is run with an edited configuration.
func (p *sandbox) runWith(name string, edit func(*cri.ContainerConfig), args ...string) string {
	p.k.t.Helper()
	id, err := p.tryRun(name, edit, args...)
	if err != nil {
		p.k.t.Fatal(err)
	}
	return id
}

// tryRun is runWith for any goroutine.
func (p *sandbox) tryRun(name string, edit func(*cri.ContainerConfig), args ...string) (string, error) {
	config := &cri.ContainerConfig{
		Metadata: &cri.ContainerMetadata{Name: name},
		Image:    &cri.ImageSpec{Image: imageName},
		Command:  args,
		LogPath:  name + ".log",
		Linux:    &cri.LinuxContainerConfig{Resources: &cri.LinuxContainerResources{}, SecurityContext: &cri.LinuxContainerSecurityContext{NamespaceOptions: p.config.Linux.SecurityContext.NamespaceOptions}},
	}
	if edit != nil {
		edit(config)
	}
	r, err := p.k.api.CreateContainer(p.k.ctx(), &cri.CreateContainerRequest{PodSandboxId: p.id, Config: config, SandboxConfig: p.config})
	if err != nil {
		return "", fmt.Errorf("create %s: %w", name, err)
	}
	if _, err := p.k.api.StartContainer(p.k.ctx(), &cri.StartContainerRequest{ContainerId: r.ContainerId}); err != nil {
		return "", fmt.Errorf("start %s: %w", name, err)
	}
	return r.ContainerId, nil
}

// remove stops and removes the pod with all its containers.
func (p *sandbox) remove() {
	p.k.t.Helper()
	if err := p.tryRemove(); err != nil {
		p.k.t.Fatal(err)
	}
}

// tryRemove is remove for any goroutine.
func (p *sandbox) tryRemove() error {
	if _, err := p.k.api.StopPodSandbox(p.k.ctx(), &cri.StopPodSandboxRequest{PodSandboxId: p.id}); err != nil {
		return fmt.Errorf("stop pod: %w", err)
	}
	if _, err := p.k.api.RemovePodSandbox(p.k.ctx(), &cri.RemovePodSandboxRequest{PodSandboxId: p.id}); err != nil {
		return fmt.Errorf("remove pod: %w", err)
	}
	return nil
}

// execSync runs a command in a container as a probe does.
func (k *kubelet) execSync(id string, args ...string) (*cri.ExecSyncResponse, error) {
	return k.api.ExecSync(k.ctx(), &cri.ExecSyncRequest{ContainerId: id, Cmd: args, Timeout: int64(patience / time.Second)})
}

// wantExec fails the test unless the command prints and exits as wanted.
func (k *kubelet) wantExec(id string, code int32, stdout string, args ...string) {
	k.t.Helper()
	r, err := k.execSync(id, args...)
	if err != nil || r.ExitCode != code || string(r.Stdout) != stdout {
		k.t.Errorf("exec %q: %v, %v; want exit code %d and %q", args, r, err, code, stdout)
	}
}

func (k *kubelet) statusOf(id string) *cri.ContainerStatus {
	k.t.Helper()
	r, err := k.api.ContainerStatus(k.ctx(), &cri.ContainerStatusRequest{ContainerId: id})
	if err != nil {
		k.t.Fatal(err)
	}
	return r.Status
}

// exited waits until a container has ended and returns how.
func (k *kubelet) exited(id string) *cri.ContainerStatus {
	k.t.Helper()
	var s *cri.ContainerStatus
	k.eventually("the container has ended", func() error {
		if s = k.statusOf(id); s.State != cri.ContainerState_CONTAINER_EXITED {
			return fmt.Errorf("%w: it is %v", errNotYet, s.State)
		}
		return nil
	})
	return s
}

// stopContainer gives a container so many seconds to end.
func (k *kubelet) stopContainer(id string, grace int64) {
	k.t.Helper()
	if _, err := k.api.StopContainer(k.ctx(), &cri.StopContainerRequest{ContainerId: id, Timeout: grace}); err != nil {
		k.t.Fatal(err)
	}
}

// logged are the lines of a container's log, as "stdout text".
func (p *sandbox) logged(name string) ([]string, error) {
	b, err := os.ReadFile(filepath.Join(p.config.LogDirectory, name+".log"))
	var lines []string
	for line := range strings.Lines(string(b)) {
		// TIME STREAM TAGS TEXT
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 4)
		if len(f) == 4 {
			lines = append(lines, f[1]+" "+f[3])
		}
	}
	return lines, err
}

// waitLog waits until a container has logged all of these.
func (p *sandbox) waitLog(name string, want ...string) {
	p.k.t.Helper()
	p.k.eventually(fmt.Sprintf("%s has logged %q", name, want), func() error {
		lines, err := p.logged(name)
		if err != nil {
			return err
		}
		for _, w := range want {
			if !strings.Contains("\n"+strings.Join(lines, "\n")+"\n", "\n"+w+"\n") {
				return fmt.Errorf("%w: %q", errNotYet, lines)
			}
		}
		return nil
	})
}
