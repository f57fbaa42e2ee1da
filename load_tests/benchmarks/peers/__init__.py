"""The programs that the engine is compared with."""
