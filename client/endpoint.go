package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/holdfast-shim/holdfast/proto/bootstrap"
)

// Endpoint is where and how a shim is spoken to. As JSON it is the bundle's
// bootstrap.json and the answer of DialectJSON.
type Endpoint struct {
	Version  int    `json:"version,omitempty"`
	Address  string `json:"address,omitempty"`
	Protocol string `json:"protocol,omitempty"`
}

// ErrAnswer says that what `start` printed is not an endpoint this daemon takes.
var ErrAnswer = errors.New("not an answer of start")

// The highest version of the Task API that a daemon takes from a shim.
const (
	jsonMaxVersion      = 2
	bootstrapMaxVersion = 3
)

// ParseAnswer reads what `start` printed on stdout and stderr, as a daemon of
// that dialect does, but refuses what that daemon would fail on a moment later:
// an address that is no unix socket's path, or a protocol that is not ttrpc.
func ParseAnswer(d Dialect, out []byte) (Endpoint, error) {
	e, err := parseAnswer(d, out)
	if err != nil {
		return Endpoint{}, err
	}
	switch path, isUnix := strings.CutPrefix(e.Address, "unix://"); {
	case !strings.EqualFold(e.Protocol, "ttrpc"):
		return Endpoint{}, fmt.Errorf("%w: protocol %q in %q", ErrAnswer, e.Protocol, out)
	case !isUnix || !filepath.IsAbs(path) || strings.ContainsAny(path, "\x00\n"):
		return Endpoint{}, fmt.Errorf("%w: address %q in %q", ErrAnswer, e.Address, out)
	}
	return e, nil
}

func parseAnswer(d Dialect, out []byte) (Endpoint, error) {
	bare := Endpoint{Version: 2, Address: string(bytes.TrimSpace(out)), Protocol: "ttrpc"}
	switch d {
	case DialectAddress:
		return bare, nil
	case DialectJSON:
		return parseJSON(out, bare, jsonMaxVersion)
	case DialectBootstrap:
		var r bootstrap.BootstrapResult
		if err := r.Unmarshal(out); err != nil {
			return parseJSON(out, bare, bootstrapMaxVersion)
		}
		if r.Version > bootstrapMaxVersion {
			return Endpoint{}, fmt.Errorf("%w: version %d", ErrAnswer, r.Version)
		}
		return Endpoint{Version: int(r.Version), Address: r.Address, Protocol: r.Protocol}, nil
	}
	return Endpoint{}, fmt.Errorf("%w: unknown dialect %d", ErrAnswer, d)
}

// parseJSON falls back to the bare address for what is not JSON with a version
// of at least 2, as the daemons do for shims older than themselves.
func parseJSON(out []byte, bare Endpoint, highest int) (Endpoint, error) {
	var e Endpoint
	if err := json.Unmarshal(out, &e); err != nil || e.Version < 2 {
		return bare, nil
	}
	if e.Version > highest {
		return Endpoint{}, fmt.Errorf("%w: version %d", ErrAnswer, e.Version)
	}
	return e, nil
}

// path is the endpoint's socket.
func (e Endpoint) path() string { return strings.TrimPrefix(e.Address, "unix://") }

// save writes bootstrap.json into the bundle, at once or not at all.
func (e Endpoint) save(b *Bundle) error {
	data, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("save endpoint: %w", err)
	}
	p := filepath.Join(b.Path, "bootstrap.json")
	if err := os.WriteFile(p+".new", data, 0o644); err != nil {
		return fmt.Errorf("save endpoint: %w", err)
	}
	if err := os.Rename(p+".new", p); err != nil {
		return fmt.Errorf("save endpoint: %w", err)
	}
	return nil
}

// loadEndpoint finds a bundle's shim as a restarted daemon of that dialect does:
// the oldest by the shim's own file `address`, the others by the bootstrap.json
// that the daemon wrote, or else by `address` too.
func loadEndpoint(d Dialect, b *Bundle) (Endpoint, error) {
	if d != DialectAddress {
		data, err := os.ReadFile(filepath.Join(b.Path, "bootstrap.json"))
		if err == nil {
			return ParseAnswer(d, data)
		}
		if !errors.Is(err, os.ErrNotExist) {
			return Endpoint{}, fmt.Errorf("load endpoint: %w", err)
		}
	}
	data, err := os.ReadFile(filepath.Join(b.Path, "address"))
	if err != nil {
		return Endpoint{}, fmt.Errorf("load endpoint: %w", err)
	}
	return ParseAnswer(DialectAddress, data)
}
