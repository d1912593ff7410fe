"""The test suite: `battery` holds the checks that every problem must pass, `strategies` the inputs, `oracles` the slow truth."""
