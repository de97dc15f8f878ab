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
	level     zapcore.Level  // HOLDFAST_LOG_LEVEL, on containerd's scale
}

func readSettings(getenv func(string) string) (s settings, err error) {
	if s.deadlines, err = runc.DeadlinesFromEnv(getenv); err != nil {
		return s, err
	}
	const drain = "HOLDFAST_DRAIN_TIMEOUT"
	if value := getenv(drain); value != "" {
		if s.drain, err = time.ParseDuration(value); err != nil || s.drain <= 0 {
			return s, fmt.Errorf("%s=%q: want a duration above zero, as 10s", drain, value)
		}
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
