"""fault_test: a test of a fault, in a short and in a long version."""

def fault_test(name, trials, long_trials, **arguments):
    """Makes test `name` with `trials` trials, and `name`_long, tagged "slow", with `long_trials`."""
    native.cc_test(
        name = name,
        env = {"KVP_FAULT_TRIALS": str(trials)},
        size = "medium",
        **arguments
    )
    native.cc_test(
        name = name + "_long",
        env = {"KVP_FAULT_TRIALS": str(long_trials)},
        size = "enormous",
        tags = ["slow"],
        **arguments
    )
