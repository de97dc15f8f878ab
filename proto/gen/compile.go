package main

import (
	"context"
	"io/fs"
	"path/filepath"
	"sort"
	"strings"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/linker"
	"github.com/bufbuild/protocompile/protoutil"
	gogo "github.com/gogo/protobuf/proto"
	"github.com/gogo/protobuf/protoc-gen-gogo/descriptor"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

// find lists the .proto files below root, as paths relative to it, sorted.
func find(root string) ([]string, error) {
	var files []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".proto") {
			return err
		}
		rel, err := filepath.Rel(root, path)
		files = append(files, filepath.ToSlash(rel))
		return err
	})
	sort.Strings(files)
	return files, err
}

// compile parses and links the files and gives their descriptors in gogo's
// types, each after all that it imports.
func compile(root string, names []string) ([]*descriptor.FileDescriptorProto, error) {
	c := protocompile.Compiler{
		Resolver:       &protocompile.SourceResolver{ImportPaths: []string{root}},
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	linked, err := c.Compile(context.Background(), names...)
	if err != nil {
		return nil, err
	}
	var (
		out  []*descriptor.FileDescriptorProto
		done = map[string]bool{}
	)
	var add func(name string) error
	add = func(name string) error {
		if done[name] {
			return nil
		}
		done[name] = true
		fd := linked.FindFileByPath(name).(linker.Result)
		for i := range fd.Imports().Len() {
			if err := add(fd.Imports().Get(i).Path()); err != nil {
				return err
			}
		}
		converted, err := convert(protoutil.ProtoFromFileDescriptor(fd))
		out = append(out, converted)
		return err
	}
	for _, name := range names {
		if err := add(name); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// convert brings a descriptor into gogo's types, which are older than proto3's
// `optional`: such a field becomes a plain one, so absent and zero are one in
// Go. Both read the same from the wire.
func convert(fd *descriptorpb.FileDescriptorProto) (*descriptor.FileDescriptorProto, error) {
	fd = proto.Clone(fd).(*descriptorpb.FileDescriptorProto)
	for _, m := range fd.GetMessageType() {
		plain(m)
	}
	b, err := proto.Marshal(fd)
	if err != nil {
		return nil, err
	}
	out := new(descriptor.FileDescriptorProto)
	return out, gogo.Unmarshal(b, out)
}

// plain removes the oneofs that the compiler made up for optional fields. They
// come after all real ones, so no index moves.
func plain(m *descriptorpb.DescriptorProto) {
	for _, f := range m.GetField() {
		if f.GetProto3Optional() {
			m.OneofDecl = m.OneofDecl[:f.GetOneofIndex()]
			break
		}
	}
	for _, f := range m.GetField() {
		if f.GetProto3Optional() {
			f.Proto3Optional, f.OneofIndex = nil, nil
		}
	}
	for _, n := range m.GetNestedType() {
		plain(n)
	}
}
