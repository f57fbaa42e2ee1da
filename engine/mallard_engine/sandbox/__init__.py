"""The robots of the market `sandbox`: drivers, shops and an operator that bring about endings."""
