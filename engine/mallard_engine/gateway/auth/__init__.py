"""Who may call: tokens and their keys, revoked tokens, one-time codes of pages, origins."""
