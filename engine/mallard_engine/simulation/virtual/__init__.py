"""Virtual time: clock, event loop, and a store client that runs on them."""
