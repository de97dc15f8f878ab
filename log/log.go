package log

import (
	"io"
	"time"

	"go.uber.org/zap/zapcore"
)

// Logger writes records with the fields it was made with. The zero of it is
// not usable: see [New] and [Discard].
type Logger struct {
	core zapcore.Core
}

// New makes a logger that writes records of level and above to w, one Write a
// line. w must be safe for concurrent use.
func New(w io.Writer, level zapcore.Level) *Logger {
	encoder := zapcore.NewJSONEncoder(zapcore.EncoderConfig{
		TimeKey:        "time",
		LevelKey:       "level",
		MessageKey:     "msg",
		LineEnding:     zapcore.DefaultLineEnding,
		EncodeLevel:    zapcore.LowercaseLevelEncoder,
		EncodeTime:     zapcore.RFC3339NanoTimeEncoder,
		EncodeDuration: zapcore.StringDurationEncoder,
	})
	return &Logger{core: zapcore.NewCore(encoder, zapcore.AddSync(w), level)}
}

// Discard makes a logger that writes nothing.
func Discard() *Logger { return &Logger{core: zapcore.NewNopCore()} }

// With makes a logger whose records also carry fields.
func (l *Logger) With(fields ...zapcore.Field) *Logger {
	return &Logger{core: l.core.With(fields)}
}

// Level is how much a scale of containerd's lets through: info is 0, debug -4,
// trace -8, warn 4, error 8, fatal 10, panic 12, and what lies between belongs
// to the one below it (BootstrapParams.log_level).
func Level(containerd int) zapcore.Level {
	switch {
	case containerd < 0:
		return zapcore.DebugLevel
	case containerd < 4:
		return zapcore.InfoLevel
	case containerd < 8:
		return zapcore.WarnLevel
	default:
		return zapcore.ErrorLevel
	}
}

// Debug writes a record that only -debug shows.
func (l *Logger) Debug(msg string, fields ...zapcore.Field) {
	l.write(zapcore.DebugLevel, msg, fields)
}

// Info writes a record of what the shim does.
func (l *Logger) Info(msg string, fields ...zapcore.Field) { l.write(zapcore.InfoLevel, msg, fields) }

// Warn writes a record of something that went wrong and was coped with.
func (l *Logger) Warn(msg string, fields ...zapcore.Field) { l.write(zapcore.WarnLevel, msg, fields) }

// Error writes a record of something that somebody should look at.
func (l *Logger) Error(msg string, fields ...zapcore.Field) {
	l.write(zapcore.ErrorLevel, msg, fields)
}

func (l *Logger) write(level zapcore.Level, msg string, fields []zapcore.Field) {
	if !l.core.Enabled(level) {
		return
	}
	// A log that cannot be written has nowhere to say so.
	_ = l.core.Write(zapcore.Entry{Level: level, Time: time.Now(), Message: msg}, fields)
}

// String is a field with a text.
func String(key, value string) zapcore.Field {
	return zapcore.Field{Key: key, Type: zapcore.StringType, String: value}
}

// Int is a field with a number.
func Int(key string, value int) zapcore.Field {
	return zapcore.Field{Key: key, Type: zapcore.Int64Type, Integer: int64(value)}
}

// Duration is a field with a span of time.
func Duration(key string, value time.Duration) zapcore.Field {
	return zapcore.Field{Key: key, Type: zapcore.DurationType, Integer: int64(value)}
}

// Err is the field "error".
func Err(err error) zapcore.Field {
	return zapcore.Field{Key: "error", Type: zapcore.ErrorType, Interface: err}
}
