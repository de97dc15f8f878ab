package main

import (
	"path"

	gogo "github.com/gogo/protobuf/proto"
	"github.com/gogo/protobuf/protoc-gen-gogo/descriptor"
	"github.com/gogo/protobuf/protoc-gen-gogo/generator"
	plugin "github.com/gogo/protobuf/protoc-gen-gogo/plugin"
	"github.com/gogo/protobuf/vanity"

	_ "github.com/gogo/protobuf/plugin/marshalto"
	_ "github.com/gogo/protobuf/plugin/size"
	_ "github.com/gogo/protobuf/plugin/unmarshal"
)

// options turns on what we want of gogo and off what needs its runtime.
func options(files []*descriptor.FileDescriptorProto) {
	for _, set := range []func(*descriptor.FileDescriptorProto){
		vanity.TurnOnMarshalerAll,
		vanity.TurnOnStable_MarshalerAll,
		vanity.TurnOnSizerAll,
		vanity.TurnOnUnmarshalerAll,
		vanity.TurnOffGoGettersAll,
		vanity.TurnOffGoStringerAll,
		vanity.TurnOffGoEnumStringerAll,
		vanity.TurnOffGoUnrecognizedAll,
		vanity.TurnOffGoUnkeyedAll,
		vanity.TurnOffGoSizecacheAll,
	} {
		vanity.ForEachFile(files, set)
	}
}

// generate runs gogo once per Go package, that is per folder, and returns what
// it wrote by the .proto file's name. Gogo ends the program itself when it finds
// a fault.
func generate(files []*descriptor.FileDescriptorProto) map[string]string {
	options(files)
	var folders []string
	members := map[string][]string{}
	for _, f := range files {
		dir := path.Dir(f.GetName())
		if members[dir] == nil {
			folders = append(folders, dir)
		}
		members[dir] = append(members[dir], f.GetName())
	}
	out := map[string]string{}
	for _, dir := range folders {
		g := generator.New()
		g.Request = &plugin.CodeGeneratorRequest{
			FileToGenerate: members[dir],
			Parameter:      gogo.String("paths=source_relative"),
			ProtoFile:      files,
		}
		g.CommandLineParameters(g.Request.GetParameter())
		g.WrapTypes()
		g.SetPackageNames()
		g.BuildTypeNameMap()
		g.GenerateAllFiles()
		for i, f := range g.Response.File {
			out[members[dir][i]] = f.GetContent()
		}
	}
	return out
}
