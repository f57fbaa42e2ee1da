"""The ports of what has happened: the log, and the webhooks that it is posted to."""
