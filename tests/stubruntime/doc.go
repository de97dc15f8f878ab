// Command stubruntime is an OCI runtime that fails on demand. It takes a
// runtime's command line, does what its configuration says for the verb and
// otherwise becomes the real runtime by exec(2), so that it can stand where
// runc stands in any test.
//
// The configuration is JSON. It is read anew by each call, so a test can change
// it while containers live, from the first of these that exists:
//
//   - the file that the environment variable STUBRUNTIME_CONFIG names
//   - stubruntime.json in the working directory, which is the bundle
//   - stubruntime.json beside the stub's binary
//
// Without one it is the real runtime. Its fields, all optional:
//
//	runtime   the real runtime; "runc"
//	calls     a file that gets a line of JSON for each call: verb, args (with
//	          argv[0]), dir, env and pid
//	drop      arguments that are left out of what the real runtime gets
//	verbs     what to do, by verb; "*" is for verbs that have no entry
//
// An entry's fields are done in this order, those that are there:
//
//	times     do the rest for the first so many calls of the verb only; the calls
//	          are counted in <configuration>.<verb>.count
//	after     true: the real runtime does its work first, as a child, and the
//	          faults come when it has ended
//	mark      create this file: the call has come this far
//	delay     wait for a Go duration
//	until     wait until this file exists
//	stdout    print this text on standard output
//	stderr    print this text on standard error
//	spew      print so many bytes on standard error
//	log       append this text to the file of --log as it is, garbage or not
//	error     append a JSON line with this message at level error to the file of
//	          --log, and print the message on standard error, as runc does
//	orphan    leave a child in the process group that holds all of the stdio open
//	          and sleeps, and write its pid to this file; it ends by itself after
//	          ten minutes
//	hang      true: go no further; SIGTERM does not help
//	signal    die of the signal with this number
//	exit      exit with this code; 0 is success without having done anything
//
// In stdout, stderr, log and error, {last} stands for the call's last argument.
// With after but neither signal nor exit, the real runtime's exit code is
// passed on. Relative paths are the working directory's.
package main
