"""What a node reads and writes of streams: pushes, events, and the webhooks that follow them."""
