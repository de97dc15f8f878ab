package containerd

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// imageName is what the tests' image is called when it is imported.
const imageName = "holdfast.test/busybox:latest"

// importImage gives the daemon an image of busybox and unpacks it into
// snapshots of the overlayfs snapshotter.
func (d *daemon) importImage() {
	d.t.Helper()
	im, err := busybox(d.rootfs)
	if err != nil {
		d.t.Fatal(err)
	}
	d.imports(im)
}

func (d *daemon) imports(im image) {
	d.t.Helper()
	path := filepath.Join(d.dir, "image.tar")
	if err := writeImage(path, im); err != nil {
		d.t.Fatal(err)
	}
	d.must("image", "import", "--snapshotter", "overlayfs", path)
}

// imageArgs are the arguments of `ctr run` for a container from the image.
func (d *daemon) imageArgs(flags []string, id string, args ...string) []string {
	d.expect(id)
	all := []string{"run", "--fifo-dir", d.fifos(), "--snapshotter", "overlayfs"}
	all = append(append(all, flags...), imageName, id)
	return append(all, args...)
}

// runImage starts a container from the image in the background.
func (d *daemon) runImage(flags []string, id string, args ...string) int {
	d.t.Helper()
	d.must(d.imageArgs(append([]string{"-d"}, flags...), id, args...)...)
	return d.shimOf(id)
}

// descriptor is one of the OCI image specification.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Platform    map[string]string `json:"platform,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// image is what writeImage writes.
type image struct {
	name   string
	layers [][]byte       // as tar files
	config map[string]any // of the process
}

// busybox is an image of the root filesystem, and over it a layer that adds one
// file and hides another, so that a container's root is an overlay of several
// directories.
func busybox(rootfs string) (image, error) {
	base, err := layer(func(w *tar.Writer) error { return addTree(w, rootfs) })
	if err != nil {
		return image{}, err
	}
	top, err := layer(func(w *tar.Writer) error {
		if err := addFile(w, "etc/motd", "from the upper layer\n"); err != nil {
			return err
		}
		// The whiteout of the image specification.
		return addFile(w, "etc/.wh.hosts", "")
	})
	return image{imageName, [][]byte{base, top}, map[string]any{"Env": []string{"PATH=/bin"}, "Cmd": []string{"sh"}}}, err
}

// writeImage writes an OCI image layout as a tar file.
func writeImage(path string, im image) error {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	blob := func(mediaType string, content []byte) (descriptor, error) {
		sum := hexSum(content)
		err := addFile(w, "blobs/sha256/"+sum, string(content))
		return descriptor{MediaType: mediaType, Digest: "sha256:" + sum, Size: len(content)}, err
	}
	document := func(mediaType string, v any) (descriptor, error) {
		content, err := json.Marshal(v)
		if err != nil {
			return descriptor{}, err
		}
		return blob(mediaType, content)
	}

	var layers []descriptor
	var diffs []string
	for _, content := range im.layers {
		l, err := blob("application/vnd.oci.image.layer.v1.tar", content)
		if err != nil {
			return err
		}
		layers = append(layers, l)
		diffs = append(diffs, l.Digest) // not compressed, so the same
	}
	config, err := document("application/vnd.oci.image.config.v1+json", map[string]any{
		"architecture": runtime.GOARCH,
		"os":           "linux",
		"config":       im.config,
		"rootfs":       map[string]any{"type": "layers", "diff_ids": diffs},
	})
	if err != nil {
		return err
	}
	manifest, err := document("application/vnd.oci.image.manifest.v1+json", map[string]any{
		"schemaVersion": 2, "config": config, "layers": layers,
	})
	if err != nil {
		return err
	}
	manifest.Platform = map[string]string{"architecture": runtime.GOARCH, "os": "linux"}
	manifest.Annotations = map[string]string{"io.containerd.image.name": im.name}
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": []descriptor{manifest}})
	if err != nil {
		return err
	}
	if err := addFile(w, "index.json", string(index)); err != nil {
		return err
	}
	if err := addFile(w, "oci-layout", `{"imageLayoutVersion":"1.0.0"}`); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return os.WriteFile(path, out.Bytes(), 0o600)
}

func hexSum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func layer(fill func(*tar.Writer) error) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	if err := fill(w); err != nil {
		return nil, err
	}
	err := w.Close()
	return out.Bytes(), err
}

func addFile(w *tar.Writer, name, content string) error {
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
		return err
	}
	_, err := io.WriteString(w, content)
	return err
}

// addTree adds what is below dir.
func addTree(w *tar.Writer, dir string) error {
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		link := ""
		if info.Mode().Type() == fs.ModeSymlink {
			if link, err = os.Readlink(path); err != nil {
				return err
			}
		}
		h, err := tar.FileInfoHeader(info, link)
		if err != nil {
			return err
		}
		if h.Name, err = filepath.Rel(dir, path); err != nil {
			return err
		}
		h.Uname, h.Gname = "", ""
		if err := w.WriteHeader(h); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if !info.Mode().IsRegular() {
			return nil
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(w, f)
		return err
	})
}
