// Command gen makes the Go code of our .proto files. `make proto` runs it as
// `go run ./proto/gen` from the top of the repository; go.mod pins all it uses, and
// no protoc is needed.
//
// protocompile parses the files; gogo/protobuf's generator, run as a library with its
// marshal, unmarshal and size plugins, writes Go; then everything that would tie
// the code to a protobuf runtime is taken out: init functions, registration,
// descriptors, maps of enum names. What is left is plain structs with methods,
// standing on proto/internal/pb alone. The same input gives the same bytes.
//
// It never goes into a shim.
package main
