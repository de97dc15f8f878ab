package main

import (
	"fmt"
	"strconv"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/holdfast-shim/holdfast/bootstrap"
	"github.com/holdfast-shim/holdfast/log"
	"github.com/holdfast-shim/holdfast/runc"
)

// settings is what the environment may change of a shim. Start reads them too,
// so that a bad value fails there, where somebody is told.
type settings struct {
	deadlines runc.Deadlines // HOLDFAST_RUNC_TIMEOUT, HOLDFAST_RUNC_TIMEOUT_<VERB>
	drain     time.Duration  // HOLDFAST_DRAIN_TIMEOUT: how long Delete waits for output to be read; 0: the default
	ready     time.Duration  // HOLDFAST_LOGGER_TIMEOUT: how long a logger may take to become ready; 0: the default
	idle      time.Duration  // HOLDFAST_IDLE_TIMEOUT: how long a shim stays without a container; 0: the default
	level     zapcore.Level  // HOLDFAST_LOG_LEVEL, on containerd's scale
}

func readSettings(getenv func(string) string) (s settings, err error) {
	if s.deadlines, err = runc.DeadlinesFromEnv(getenv); err != nil {
		return s, err
	}
	if s.drain, err = readDuration(getenv, "HOLDFAST_DRAIN_TIMEOUT"); err != nil {
		return s, err
	}
	if s.ready, err = readDuration(getenv, "HOLDFAST_LOGGER_TIMEOUT"); err != nil {
		return s, err
	}
	if s.idle, err = readDuration(getenv, "HOLDFAST_IDLE_TIMEOUT"); err != nil {
		return s, err
	}
	level := 0
	if value := getenv(bootstrap.LogLevelEnv); value != "" {
		if level, err = strconv.Atoi(value); err != nil {
			return s, fmt.Errorf("%s=%q: want a number, as -4 for debug", bootstrap.LogLevelEnv, value)
		}
	}
	s.level = log.Level(level)
	return s, nil
}

// readDuration is 0 for a variable that is not set.
func readDuration(getenv func(string) string, name string) (time.Duration, error) {
	value := getenv(name)
	if value == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(value)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%s=%q: want a duration above zero, as 10s", name, value)
	}
	return d, nil
}
