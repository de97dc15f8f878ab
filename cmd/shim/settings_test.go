package main

import (
	"strings"
	"testing"
	"time"

	"go.uber.org/zap/zapcore"
)

func env(kv ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(kv); i += 2 {
			if kv[i] == name {
				return kv[i+1]
			}
		}
		return ""
	}
}

func TestSettingsOfTheEnvironment(t *testing.T) {
	s, err := readSettings(env("HOLDFAST_DRAIN_TIMEOUT", "3s", "HOLDFAST_LOGGER_TIMEOUT", "9s", "HOLDFAST_IDLE_TIMEOUT", "1h", "HOLDFAST_LOG_LEVEL", "-4", "HOLDFAST_RUNC_TIMEOUT_KILL", "7s"))
	if err != nil || s.drain != 3*time.Second || s.ready != 9*time.Second || s.idle != time.Hour || s.level != zapcore.DebugLevel || s.deadlines.Kill != 7*time.Second {
		t.Errorf("got %+v, %v", s, err)
	}
	if s, err = readSettings(env()); err != nil || s.drain != 0 || s.level != zapcore.InfoLevel {
		t.Errorf("of nothing: %+v, %v", s, err)
	}
}

func TestBadSettingIsNamed(t *testing.T) {
	for name, values := range map[string][]string{
		"HOLDFAST_DRAIN_TIMEOUT":  {"soon", "-1s", "0s"},
		"HOLDFAST_LOGGER_TIMEOUT": {"soon", "-1s", "0s"},
		"HOLDFAST_IDLE_TIMEOUT":   {"soon", "-1s", "0s"},
		"HOLDFAST_LOG_LEVEL":      {"debug"},
		"HOLDFAST_RUNC_TIMEOUT":   {"x", "0"},
	} {
		for _, value := range values {
			if _, err := readSettings(env(name, value)); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%s=%s: %v", name, value, err)
			}
		}
	}
}

func FuzzSettings(f *testing.F) {
	f.Add("10s", "1m", "-4")
	f.Add("soon", "0s", "debug")
	f.Fuzz(func(t *testing.T, drain, runtime, level string) {
		names := map[string]string{"HOLDFAST_DRAIN_TIMEOUT": drain, "HOLDFAST_RUNC_TIMEOUT": runtime, "HOLDFAST_LOG_LEVEL": level}
		s, err := readSettings(func(name string) string { return names[name] })
		if err == nil {
			if s.drain < 0 || s.deadlines.Kill < 0 || (drain != "") != (s.drain > 0) {
				t.Errorf("%v: %+v", names, s)
			}
			return
		}
		for name, value := range names {
			if value != "" && strings.Contains(err.Error(), name) {
				return
			}
		}
		t.Errorf("%v: an error that names nothing that was set: %v", names, err)
	})
}
