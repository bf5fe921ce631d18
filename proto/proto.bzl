"""kvp_proto_library: a .proto file to a C++ library, through the system's protoc and gRPC plugin."""

def kvp_proto_library(name, src, deps = [], imports = [], grpc = False, visibility = None):
    """A cc_library of the messages, and of the services where grpc is set, of one .proto file.

    Args:
      name: the library's name.
      src: the .proto file, in this package.
      deps: kvp_proto_library targets whose messages it uses.
      imports: the .proto files that it imports, in this package.
      grpc: whether it defines services.
      visibility: as usual.
    """
    stem = src[:-len(".proto")]
    outs = [stem + ".pb.h", stem + ".pb.cc"]
    command = "/usr/bin/protoc --cpp_out=$(GENDIR) -I. $(location %s)" % src
    if grpc:
        outs += [stem + ".grpc.pb.h", stem + ".grpc.pb.cc"]
        command += " --grpc_out=$(GENDIR) --plugin=protoc-gen-grpc=/usr/bin/grpc_cpp_plugin"
    native.genrule(
        name = name + "_sources",
        srcs = [src] + imports,
        outs = outs,
        cmd = command,
    )
    native.cc_library(
        name = name,
        srcs = [out for out in outs if out.endswith(".cc")],
        hdrs = [out for out in outs if out.endswith(".h")],
        visibility = visibility,
        deps = deps + ["//third_party:grpc" if grpc else "//third_party:protobuf"],
    )
