"""fuzz_test: a decoder of outside bytes, under a fuzzer and as a test."""

def fuzz_test(name, deps, srcs = None, mutations = 20000, **arguments):
    """Makes test `name` of NAME.cc, which defines LLVMFuzzerTestOneInput, and of the inputs in corpus/NAME/.

    With --config=fuzz it is a libFuzzer binary, which tests/fuzz/run.sh runs. Without, it replays the inputs and then
    goes through a fixed number of seeded mutations of them.

    Args:
      name: the target's, and the corpus folder's.
      deps: the decoder and what the target needs beside it.
      srcs: other sources than NAME.cc.
      mutations: how many a plain test goes through.
      **arguments: as of cc_test.
    """
    corpus = native.glob(["corpus/%s/*" % name])
    native.cc_test(
        name = name,
        size = "small",
        linkstatic = True,
        srcs = srcs or [name + ".cc"],
        args = [
            "-mutations=%d" % mutations,
            native.package_name() + "/corpus/" + name,
        ],
        data = corpus,
        deps = deps + select({
            ":fuzzing": [":libfuzzer"],
            "//conditions:default": [":replay_main"],
        }),
        **arguments
    )
