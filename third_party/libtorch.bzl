"""LibTorch as a repository: Debian's package by default, any other from --repo_env=LIBTORCH=DIR.

DIR is the folder that holds include/ and lib/, as a Python wheel's torch/ folder or an unpacked libtorch archive
does. With a CUDA build of LibTorch there, the CUDA libraries are linked too.
"""

_BUILD = """
package(default_visibility = ["//visibility:public"])

cc_library(
    name = "torch",
    {attributes}
)
"""

def _libtorch_repository_impl(repository_ctx):
    directory = repository_ctx.os.environ.get("LIBTORCH", "")
    if not directory:
        attributes = 'linkopts = ["-ltorch", "-ltorch_cpu", "-lc10"],'
        repository_ctx.file("BUILD", _BUILD.format(attributes = attributes))
        return
    root = repository_ctx.path(directory)
    if not root.get_child("include").exists or not root.get_child("lib").exists:
        fail("LIBTORCH=%s: no include/ and lib/ folders there" % directory)
    repository_ctx.symlink(root.get_child("include"), "include")
    library = str(root.get_child("lib"))
    names = ["torch", "torch_cpu", "c10"]
    if root.get_child("lib").get_child("libtorch_cuda.so").exists:
        names += ["torch_cuda", "c10_cuda"]
    linkopts = ["-L" + library, "-Wl,-rpath," + library, "-Wl,--no-as-needed"] + ["-l" + name for name in names]
    attributes = "\n    ".join([
        'hdrs = glob(["include/**"]),',
        'includes = ["include", "include/torch/csrc/api/include"],',
        "linkopts = %s," % repr(linkopts),
    ])
    repository_ctx.file("BUILD", _BUILD.format(attributes = attributes))

libtorch_repository = repository_rule(
    implementation = _libtorch_repository_impl,
    environ = ["LIBTORCH"],
    local = True,
)
